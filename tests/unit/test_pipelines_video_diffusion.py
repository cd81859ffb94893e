import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_video_diffusion import write_parts
from torch import Tensor

from depthweave.errors import (
    DepthweaveWarning,
    MissingWeights,
    NeedsMetric,
    NotEnoughMemory,
    NotFinite,
    WrongFile,
    WrongInput,
)
from depthweave.models.registry import ModelCard
from depthweave.models.video.depthcrafter import PartsFolder, parts
from depthweave.pipelines import video_memory
from depthweave.pipelines.disparity_range import DisparityRange, FilledDisparity, disparity_range
from depthweave.pipelines.video_diffusion import DiffusionRefiner, VideoDiffusion, build
from depthweave.pipelines.video_refiner import Refiner
from depthweave.pipelines.video_settings import DiffusionSettings
from depthweave.pipelines.video_stages import PartsOnDevice
from depthweave.pipelines.video_work import VideoWork
from depthweave.types import Camera, Clip, DepthMap, Scale

FRAMES, HEIGHT, WIDTH = 7, 24, 40
SMALL = {"window": 4, "overlap": 1, "size": (16, 24), "steps": 2, "decode_chunk": 3, "encode_chunk": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def pictures(count: int = FRAMES) -> list[Tensor]:
    y, x = torch.meshgrid(torch.linspace(0, 1, HEIGHT), torch.linspace(0, 1, WIDTH), indexing="ij")
    return [torch.stack([x, y, (x + 0.1 * t).clamp(0, 1)]) for t in range(count)]


def model(folder: Path, **options: Any) -> VideoDiffusion:
    found = build(folder, device="cpu", **{**SMALL, **options})
    if not {"offload", "max_memory"} & options.keys():
        found.parts = loaded(found.parts.folders)
    return found


@cache
def loaded(folders: PartsFolder) -> PartsOnDevice:
    """Parts that are read once for all tests."""
    return PartsOnDevice(folders, torch.device("cpu"), "none")


def generated(folder: Path, work: Path, count: int = FRAMES, **options: Any) -> Tensor:
    return torch.stack(list(model(folder, **options).generate(Clip(pictures(count)), work)))


def ramp(index: int) -> Tensor:
    return torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH) * (1 - 0.05 * index)


def refined(folder: Path, work: Path, count: int = FRAMES, **options: Any) -> Tensor:
    options = {"steps": 4, **options}
    return torch.stack(list(model(folder, **options).refine_disparity(Clip(pictures(count)), ramp, work)))


def kept(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(work.rglob("*.npz"))}


def test_every_frame_gets_a_map_of_its_size(folder: Path, tmp_path: Path) -> None:
    for way in (generated, refined):
        maps = way(folder, tmp_path / way.__name__)
        assert maps.shape == (FRAMES, HEIGHT, WIDTH)
        assert maps.dtype == torch.float32
        assert 0 <= float(maps.min()) < float(maps.max()) <= 1


def test_single_frame(folder: Path, tmp_path: Path) -> None:
    assert generated(folder, tmp_path / "a", 1).shape == (1, HEIGHT, WIDTH)
    assert refined(folder, tmp_path / "b", 1).shape == (1, HEIGHT, WIDTH)


def test_seed_decides(folder: Path, tmp_path: Path) -> None:
    first = refined(folder, tmp_path / "a")
    assert torch.equal(first, refined(folder, tmp_path / "b"))
    assert not torch.allclose(first, refined(folder, tmp_path / "c", seed=1), atol=1e-3)


def test_runs_are_averaged_over_seeds(folder: Path, tmp_path: Path) -> None:
    single = [refined(folder, tmp_path / str(seed), seed=seed) for seed in (3, 4)]
    both = refined(folder, tmp_path / "both", seed=3, runs=2)
    assert torch.allclose(both, (single[0] + single[1]) / 2, atol=1e-6)


def test_work_of_other_settings_is_not_used(folder: Path, tmp_path: Path) -> None:
    generated(folder, tmp_path / "used", seed=1)
    assert torch.equal(generated(folder, tmp_path / "used"), generated(folder, tmp_path / "fresh"))


@pytest.mark.parametrize("way", [generated, refined])
@pytest.mark.parametrize("stop_at", [2, 4, 5])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    way: Any, stop_at: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = way(folder, tmp_path / "whole")
    save, saved = VideoWork.save, []

    def stopping(self: VideoWork, name: str, **arrays: Tensor) -> None:
        if len(saved) == stop_at:
            raise KeyboardInterrupt
        saved.append(name)
        save(self, name, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(VideoWork, "save", stopping)
        with pytest.raises(KeyboardInterrupt):
            way(folder, tmp_path / "stopped")
    before = kept(tmp_path / "stopped")
    assert len(before) == stop_at
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "stopped").rglob("*.npz")}
    assert torch.equal(way(folder, tmp_path / "stopped"), whole)
    assert kept(tmp_path / "stopped") == kept(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_encoding_chunks_change_no_values(folder: Path, tmp_path: Path) -> None:
    first = refined(folder, tmp_path / "a", encode_chunk=1)
    assert torch.allclose(first, refined(folder, tmp_path / "b", encode_chunk=7), atol=1e-5)


def test_feed_forward_parts_change_no_values(folder: Path, tmp_path: Path) -> None:
    first = refined(folder, tmp_path / "a", feed_forward_parts=1)
    assert torch.allclose(first, refined(folder, tmp_path / "b", feed_forward_parts=5), atol=1e-5)


def test_context_takes_seams_away(folder: Path, tmp_path: Path) -> None:
    """With the whole clip as context, chunks are decoded as if together."""
    together = generated(folder, tmp_path / "a", decode_chunk=FRAMES)
    apart = generated(folder, tmp_path / "b", decode_chunk=2)
    with_context = generated(folder, tmp_path / "c", decode_chunk=2, decode_context=FRAMES)
    assert not torch.allclose(apart, together, atol=1e-4)
    assert torch.allclose(with_context, together, atol=1e-5)


@pytest.mark.parametrize("overlap", [1, 2, 3])
def test_decoded_maps_are_cross_faded(overlap: int, folder: Path, tmp_path: Path) -> None:
    """Windows of 4 frames, each decoded alone, then faded by hand."""
    options = {"overlap": overlap, "decode_chunk": 4, "back": "nearest", "size": (HEIGHT, WIDTH)}
    found = refined(folder, tmp_path, **options)
    run = model(folder, **options)
    with run.parts.using(("decoder", torch.float32)) as (decoder,):
        wanted: list[Tensor] = []
        for path in sorted((tmp_path / "run_000").glob("window_*")):
            pictures_ = decoder.decode(torch.from_numpy(np.load(path)["latents"]) / 0.18215, num_frames=_frames(path))
            maps = list((pictures_.sample / 2 + 0.5).clamp(0, 1).mean(1))
            if wanted:
                for k in range(overlap):
                    weight = k / (overlap - 1) if overlap > 1 else 0
                    wanted[k - overlap] = (1 - weight) * wanted[k - overlap] + weight * maps[k]
                maps = maps[overlap:]
            wanted += maps
    assert torch.allclose(found, torch.stack(wanted), atol=1e-5)


def _frames(path: Path) -> int:
    return len(np.load(path)["latents"])


def test_refinement_does_not_know_other_windows(folder: Path, tmp_path: Path) -> None:
    refined(folder, tmp_path / "long")
    refined(folder, tmp_path / "short", 4)
    first = np.load(tmp_path / "long" / "run_000" / "window_00000.npz")["latents"]
    assert np.allclose(first, np.load(tmp_path / "short" / "run_000" / "window_00000.npz")["latents"], atol=1e-4)


def test_latents_are_shared_in_generation_alone(folder: Path, tmp_path: Path) -> None:
    """What a window starts from: at noise level s, the result before, plus the same noise as its own."""
    from depthweave.models.video.depthcrafter import network

    seen: list[Tensor] = []
    original = network.predict_velocity

    def watching(unet: Any, noisy: Tensor, sigma: Tensor, *rest: Any, **named: Any) -> Tensor:
        seen.append(noisy.clone())
        return original(unet, noisy, sigma, *rest, **named)

    noise = torch.randn(FRAMES, 4, 2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "predict_velocity", watching)
        diffusion = model(folder, schedule="table-trailing", steps=1)
        list(diffusion.generate(Clip(pictures()), tmp_path, latents=noise[:4]))
    before = torch.from_numpy(np.load(tmp_path / "run_000" / "window_00000.npz")["latents"])
    sigma = float(seen[1][1, 0, 0, 0] / noise[0, 0, 0, 0])  # frame 4 takes noise 4 mod 4
    assert sigma == pytest.approx(14.6146, rel=1e-3)
    assert torch.allclose(seen[1][0], before[3] + sigma * noise[3], atol=1e-3)


def test_guidance_changes_the_result(folder: Path, tmp_path: Path) -> None:
    plain = refined(folder, tmp_path / "a")
    assert torch.equal(plain, refined(folder, tmp_path / "b", guidance=1.0))
    assert not torch.allclose(plain, refined(folder, tmp_path / "c", guidance=2.0), atol=1e-4)


def test_levels_by_name() -> None:
    assert DiffusionSettings().refinement_levels() == pytest.approx((1.6129, 0), rel=1e-4)
    assert DiffusionSettings(return_x0=False).refinement_levels() == pytest.approx((1.6129, 0.69321), rel=1e-4)
    assert DiffusionSettings(schedule="karras").refinement_levels() == pytest.approx((2.2691, 0), rel=1e-4)
    assert DiffusionSettings(start=4, schedule="karras").refinement_levels()[0] == pytest.approx(700)
    assert DiffusionSettings(sigma_start=1.0).refinement_levels() == (1.0, 0.0)
    assert DiffusionSettings(sigma_start=1.0, return_x0=False).refinement_levels()[1] == pytest.approx(
        0.69321, rel=1e-4
    )
    assert len(DiffusionSettings().generation_levels()) == 6
    skipped = DiffusionSettings(skip_last=True).generation_levels()
    assert skipped == pytest.approx((700, 134.85, 15.590, 0.67815, 0), rel=1e-4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schedule": "linear"}, "karras-trailing"),
        ({"stitch": "depth"}, "latents or decoded"),
        ({"back": "bicubic"}, "nearest or bilinear"),
        ({"overlap": 110}, "take 0 to 109"),
        ({"runs": 0}, "runs is 0"),
        ({"decode_chunk": 0}, "decode_chunk is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"sigma_start": 0}, "above 0"),
        ({"size": (60, 96)}, "multiples of 8"),
    ],
)
def test_wrong_settings(options: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongInput, match=says):
        DiffusionSettings(**options)


def test_wrong_levels() -> None:
    with pytest.raises(WrongInput, match="take 1 to 4"):
        DiffusionSettings(start=5).refinement_levels()
    with pytest.raises(WrongInput, match="2 steps or more"):
        DiffusionSettings(steps=1, skip_last=True).generation_levels()


def test_wrong_input(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="no frames"):
        generated(folder, tmp_path, 0)
    odd = Clip([*pictures(2), torch.zeros(3, 24, 48)])
    with pytest.raises(WrongInput, match="frame 2 has 48x24"):
        list(model(folder).generate(odd, tmp_path))
    with pytest.raises(WrongInput, match="leaves \\[0, 1\\]"):
        list(model(folder).refine_disparity(Clip(pictures(2)), lambda i: 2 * ramp(i), tmp_path))
    with pytest.raises(WrongInput, match="pictures' size"):
        list(model(folder).refine_disparity(Clip(pictures(2)), lambda _: torch.rand(8, 8), tmp_path))
    with pytest.raises(WrongInput, match="needs noise"):
        list(model(folder).generate(Clip(pictures(2)), tmp_path / "b", latents=torch.zeros(4, 4, 9, 9)))


@pytest.mark.parametrize("offload", ["cpu", "disk"])
def test_offload_changes_no_values(offload: str, folder: Path, tmp_path: Path) -> None:
    assert torch.equal(generated(folder, tmp_path / "a"), generated(folder, tmp_path / "b", offload=offload))


def test_parts_are_read_when_needed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, names = PartsFolder.read, []
    monkeypatch.setattr(PartsFolder, "read", lambda self, name, dtype: names.append(name) or read(self, name, dtype))
    for offload, wanted in (("none", 1), ("disk", 2)):
        names.clear()
        diffusion = model(folder, offload=offload)
        assert names == []
        for work in ("a", "b"):
            list(diffusion.generate(Clip(pictures(2)), tmp_path / offload / work))
        assert names == ["image_encoder", "encoder", "unet", "decoder"] * wanted


def test_half_precision_that_fails_is_repeated_in_float32(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from depthweave.models.video.depthcrafter import network

    original = network.predict_velocity

    def fragile(unet: Any, *rest: Any, **named: Any) -> Tensor:
        return original(unet, *rest, **named) * (1 if unet.dtype == torch.float32 else float("nan"))

    monkeypatch.setattr(network, "predict_velocity", fragile)
    with pytest.warns(DepthweaveWarning, match="float32"):
        maps = refined(folder, tmp_path, 2, dtype="bfloat16")
    assert bool(maps.isfinite().all())
    monkeypatch.setattr(network, "predict_velocity", lambda _unet, noisy, *_, **__: noisy * float("nan"))
    with pytest.raises(NotFinite, match="damaged"):
        refined(folder, tmp_path / "b", 2)


def test_bfloat16_is_near_float32(folder: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half = refined(folder, tmp_path / "a", dtype="bfloat16")
    assert float((half - refined(folder, tmp_path / "b")).abs().mean()) < 0.02


# -- memory


def test_estimate_is_near_what_is_measured(folder: Path, tmp_path: Path) -> None:
    """The peak of torch's allocator over a whole run, whose frames are all decoded at once."""
    options = {"size": (64, 96), "window": 6, "overlap": 2, "offload": "disk", "decode_chunk": 4, "encode_chunk": 4}
    diffusion = model(folder, **options)
    estimate = diffusion.plan(64, 96)[2]
    frames = [torch.rand(3, 64, 96) for _ in range(6)]
    list(diffusion.generate(Clip(frames), tmp_path / "warm"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        list(diffusion.generate(Clip(frames), tmp_path / "run"))
    now = peak = 0
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    assert estimate.peak == pytest.approx(peak, rel=0.2)


def test_estimate_in_words(folder: Path) -> None:
    _, _, estimate = model(folder).plan(480, 640)
    assert "4 frames at once of 24x16 px in float32" in estimate.sentence()
    for stage in ("encode", "denoise", "decode"):
        assert stage in estimate.sentence()
    assert estimate.peak == max(estimate.stages().values())
    alone = replace(estimate, keeps_all=False)
    assert alone.stages()["denoise"] == alone.denoise + alone.weights["unet"]
    together = replace(estimate, keeps_all=True)
    assert together.stages()["denoise"] == together.denoise + sum(together.weights.values())


def test_short_clips_take_less(folder: Path) -> None:
    whole, short = (model(folder, window=40).plan(24, 40, frames=frames)[2] for frames in (None, 3))
    assert short.denoise < whole.denoise / 5


def test_a_limit_shrinks_chunks_and_windows(folder: Path, tmp_path: Path) -> None:
    size = {"size": (64, 96), "window": 80, "overlap": 10, "encode_chunk": 8, "decode_chunk": 8}
    free = model(folder, offload="disk", **size).plan(64, 96)[2]
    diffusion = model(folder, max_memory=0.2 * free.peak / 1e9, **size)
    settings, _, estimate = diffusion.plan(64, 96)
    assert estimate.peak <= 0.2 * free.peak
    assert settings.decode_chunk < 8
    assert settings.window < 80
    assert diffusion.offload == "disk"
    few = [torch.rand(3, 64, 96) for _ in range(3)]
    assert len(list(diffusion.generate(Clip(few), tmp_path))) == 3
    with pytest.raises(NotEnoughMemory, match="the limit is"):
        model(folder, max_memory=0.001, **size).plan(64, 96)
    with pytest.raises(WrongInput, match="max_memory"):
        model(folder, max_memory=0)


def test_number_type_changes_before_the_window(folder: Path) -> None:
    size = {"size": (256, 384), "window": 110, "overlap": 25}
    free = model(folder, offload="disk", **size).plan(64, 96)[2]
    limit = 0.8 * free.denoise / 1e9
    settings, dtype, _ = model(folder, max_memory=limit, **size).plan(64, 96)
    assert (dtype, settings.window) == (torch.bfloat16, 110)
    settings, dtype, _ = model(folder, max_memory=limit, dtype="float32", **size).plan(64, 96)
    assert dtype == torch.float32
    assert settings.window < 110


def test_live_bytes_of_known_tensors() -> None:
    outside = torch.zeros(1000)
    with video_memory.LiveBytes() as counted:
        first = torch.ones(100)
        second = first + outside[:100]
        del first
        third = second.view(10, 10) + 1
        outside.view(10, 100)
    assert counted.peak == 4 * 200
    assert counted.now == 4 * 200
    assert float(third.sum()) == 200


# -- loading


def test_parts_from_two_folders(folder: Path, tmp_path: Path) -> None:
    both = build(unet=folder / "unet", svd=folder, device="cpu", **SMALL)
    assert torch.equal(
        torch.stack(list(both.generate(Clip(pictures(2)), tmp_path / "a"))), generated(folder, tmp_path / "b", 2)
    )


def test_loading_is_strict(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = write_parts(tmp_path / "copy")
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    save_file({key: value for key, value in state.items() if key != "conv_in.bias"}, weights)
    with pytest.raises(WrongFile, match=r"lacks 1 tensors, conv_in\.bias"):
        generated(copy, tmp_path / "a", 2)
    save_file({**state, "conv_in.bias": torch.zeros(3)}, weights)
    with pytest.raises(WrongFile, match="unet"):
        generated(copy, tmp_path / "b", 2)
    weights.write_bytes(b"nothing")
    with pytest.raises(WrongFile, match="unet"):
        generated(copy, tmp_path / "c", 2)


def test_wrong_sources(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WrongFile, match="unet, vae and image_encoder"):
        build(tmp_path)
    with pytest.raises(WrongInput, match="no option iterations"):
        build(folder, iterations=3)
    with pytest.raises(WrongInput, match="none, cpu, disk"):
        build(folder, offload="tape")
    asked = []

    def offline(repository: str, revision: str | None, _files: Any) -> Path:
        asked.append((repository, revision))
        raise MissingWeights(f"{repository} is not here.")

    monkeypatch.setattr(parts, "download_weights", offline)
    card = ModelCard("x", "video", "depthcrafter", "", "someone/else", "", None, 0, "", "", revision="abc")
    with pytest.raises(MissingWeights, match="someone/else"):
        build(card)
    with pytest.raises(MissingWeights, match="stable-video-diffusion"):
        build(unet=folder / "unet")
    assert asked == [("someone/else", "abc"), ("stabilityai/stable-video-diffusion-img2vid-xt", None)]


def test_options_stand_above_those_of_the_card(folder: Path) -> None:
    card = ModelCard("x", "video", "d", "", "hub/id", "", None, 0, "", "", settings={"runs": 3, "seed": 2, "other": 1})
    settings = build(folder, card=card, seed=5, device="cpu").settings
    assert (settings.runs, settings.seed) == (3, 5)


def test_facts(folder: Path) -> None:
    facts = model(folder).facts()
    assert (facts["device"], facts["dtype"], facts["revision"]) == ("cpu", "float32", None)
    assert facts["options"]["window"] == 4
    facts = DiffusionRefiner(model(folder, steps=None)).facts()
    assert facts["options"]["schedule"] == "table-trailing"
    assert facts["options"]["sigma"] == pytest.approx(1.6129, rel=1e-4)


# -- stage two


class Straight:
    """A diffusion model that gives back what it is given, but for a known map."""

    def __init__(self, answer: Any = None) -> None:
        self.settings = DiffusionSettings()
        self.seen: list[Tensor] = []
        self.answer = answer or (lambda found: found)

    def refine_disparity(self, clip: Clip, disparity01: Any, work: Path) -> Iterator[Tensor]:
        for index, _ in enumerate(clip):
            self.seen.append(disparity01(index))
            yield self.answer(self.seen[-1])


def refiner(diffusion: Any, **options: Any) -> DiffusionRefiner:
    found = DiffusionRefiner.__new__(DiffusionRefiner)
    found.diffusion, found.quantiles, found.reach = diffusion, (0, 1), 2
    for name, value in options.items():
        setattr(found, name, value)
    return found


def depths(count: int = 3) -> list[DepthMap]:
    values = [1 + 0.1 * t + torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(t)) for t in range(count)]
    camera = Camera(torch.tensor([[50.0, 0, 20], [0, 50, 12], [0, 0, 1]]), WIDTH, HEIGHT)
    return [DepthMap(v, torch.ones_like(v, dtype=torch.bool), None, camera, scale=Scale.METRIC) for v in values]


def test_depth_comes_back_in_its_own_scale(tmp_path: Path) -> None:
    stage_one = depths()
    diffusion = Straight()
    found = list(refiner(diffusion).refine(Clip(pictures(3)), stage_one, tmp_path))
    for map_, wanted in zip(found, stage_one, strict=True):
        assert torch.allclose(map_.values, wanted.values, rtol=1e-5)
        assert (map_.scale, map_.camera) == (Scale.METRIC, wanted.camera)
    seen = torch.stack(diffusion.seen)
    assert (float(seen.min()), float(seen.max())) == pytest.approx((0, 1), abs=1e-6)


def test_one_map_for_the_whole_clip(tmp_path: Path) -> None:
    """The nearest frame reaches 1, a frame twice as far does not."""
    near = torch.linspace(1, 2, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    stage_one = [DepthMap(near * k, near > 0) for k in (1.0, 2.0)]
    diffusion = Straight()
    list(refiner(diffusion).refine(Clip(pictures(2)), stage_one, tmp_path))
    assert float(diffusion.seen[0].max()) == pytest.approx(1)
    assert float(diffusion.seen[1].max()) == pytest.approx((0.5 - 0.25) / (1 - 0.25))


def test_refined_disparity_is_undone_by_the_same_map(tmp_path: Path) -> None:
    stage_one = [DepthMap(torch.tensor([[1.0, 4.0]]), torch.ones(1, 2, dtype=torch.bool))]
    half = refiner(Straight(lambda found: torch.full_like(found, 0.5)))
    found = next(iter(half.refine(Clip([torch.zeros(3, 1, 2)]), stage_one, tmp_path)))
    assert found.values.flatten().tolist() == pytest.approx([1.6, 1.6])  # 1 / (0.5 * (1 - 0.25) + 0.25)


def test_quantiles_leave_wrong_pixels_out() -> None:
    stage_one = depths(4)
    stage_one[1].values[0, 0] = 1e-4
    assert disparity_range(stage_one, (0, 1)).high == pytest.approx(1e4)
    assert disparity_range(stage_one, (0.005, 0.995)).high < 1.01
    limits = DisparityRange(0.25, 1.0)
    assert limits.normalized(torch.tensor([0.1, 0.25, 1.0, 7.0])).tolist() == [0, 0, 1, 1]
    assert limits.restored(torch.tensor([0.0, 1.0])).tolist() == [0.25, 1.0]


def test_invalid_pixels_take_no_part(tmp_path: Path) -> None:
    stage_one = depths(3)
    stage_one[0].values[0, 0], stage_one[0].valid[0, 0] = 1e-5, False
    diffusion = Straight()
    found = list(refiner(diffusion).refine(Clip(pictures(3)), stage_one, tmp_path))
    assert disparity_range(stage_one, (0, 1)).high <= 1
    assert not bool(found[0].valid[0, 0])
    later = disparity_range(stage_one, (0, 1)).normalized(1 / stage_one[1].values[0, 0])
    assert float(diffusion.seen[0][0, 0]) == pytest.approx(float(later))


def test_holes_are_filled_from_time_then_from_the_frame() -> None:
    values = torch.tensor([[[1.0, 2.0, 4.0]], [[10.0, 20.0, 40.0]], [[5.0, 8.0, 16.0]]])
    valid = torch.tensor([[[True, True, False]], [[False, False, False]], [[True, True, False]]])
    depth = [DepthMap(v, m) for v, m in zip(values, valid, strict=True)]
    filled = FilledDisparity(depth, 1)
    assert filled[1].flatten().tolist() == [1.0, 0.5, 0.5]  # the earlier of two neighbours, then the nearest pixel
    assert filled[2].flatten().tolist() == pytest.approx([0.2, 0.125, 0.125])
    assert FilledDisparity(depth, 0)[0].flatten().tolist() == [1.0, 0.5, 0.5]
    assert FilledDisparity(depth, 0)[1].flatten().tolist() == [0, 0, 0]


def test_wrong_first_stage(folder: Path, tmp_path: Path) -> None:
    affine = [replace(depths(1)[0], scale=Scale.UNKNOWN_SCALE_AND_SHIFT)]
    with pytest.raises(NeedsMetric, match="known shift"):
        next(refiner(Straight()).refine(Clip(pictures(1)), affine, tmp_path))
    empty = [DepthMap(torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bool))]
    with pytest.raises(WrongInput, match="is valid"):
        disparity_range(empty, (0, 1))
    with pytest.raises(WrongInput, match="same everywhere"):
        disparity_range([DepthMap(torch.ones(2, 2), torch.ones(2, 2, dtype=torch.bool))], (0, 1))
    with pytest.raises(WrongInput, match="no range"):
        DiffusionRefiner(model(folder), quantiles=(0.5, 0.5))
    with pytest.raises(WrongInput, match="reach"):
        DiffusionRefiner(model(folder), reach=-1)


def test_refiner_with_the_real_network(folder: Path, tmp_path: Path) -> None:
    stage = DiffusionRefiner(model(folder, steps=4))
    assert isinstance(stage, Refiner)
    found = list(stage.refine(Clip(pictures(3)), depths(), tmp_path))
    limits = disparity_range(depths(), (0.005, 0.995))
    inverse = torch.stack([1 / map_.values for map_ in found])
    assert limits.low - 1e-5 <= float(inverse.min()) < float(inverse.max()) <= limits.high + 1e-5
