"""Clips as samples, and single pictures that learn depth from them without truth."""

from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import PLAIN, differences, rows, run_tiny, state_of, stop_at
from torch import Tensor, nn

from depthweave import geometry, io
from depthweave.errors import WrongFile, WrongInput
from depthweave.models.mono.encoder_decoder import MonoUnet, MonoUnetConfig
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.training.augment import Augment
from depthweave.training.clip_sources import CLIPS, ClipSource
from depthweave.training.clips import RawClip, TrainingClip, augment_clip
from depthweave.training.mixture import Mixture, batches
from depthweave.training.mono import MonoRecipe, make_mono_trainee
from depthweave.training.recipe import TrainingRecipe
from depthweave.training.start import open_sources
from depthweave.worlds import Recipe, Worlds
from depthweave.worlds.files import write_worlds

OFF = Augment.off()
SIZE = (32, 64)
ALL = replace(MonoUnetConfig.nano(), pose=True, mask=True, flow=True, views=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of four frames of 64x32 px, a drive without things that move."""
    place = tmp_path_factory.mktemp("mono") / "clips"
    recipe = Recipe.read(str(files("depthweave") / "recipes" / "worlds-driving.toml"))
    written = write_worlds(Worlds(recipe, seed=4, height=32, width=64, pool=6), place, 2, frames=4, extras=True)
    assert not written.failed
    return place


@pytest.fixture(scope="module")
def source(folder: Path) -> ClipSource:
    return ClipSource(CLIPS, folder, stereo=True)


@pytest.fixture(scope="module")
def batch(source: ClipSource) -> TrainingClip:
    return TrainingClip.stack([augment_clip(source.raw(n), OFF, np.random.default_rng(n), SIZE) for n in (0, 2)])


def poses(folder: Path, clip: int) -> Tensor:
    _, world_from_camera = io.read_trajectory(folder / f"clip-{clip:06d}" / "poses.txt")
    return torch.from_numpy(world_from_camera).float()


# Sources


def test_a_sample_is_frames_in_a_row_with_what_is_known_of_the_middle_one(folder: Path, source: ClipSource) -> None:
    assert len(source) == 4  # two places in each of two clips
    raw = source.raw(3)  # the second clip, from its second frame on
    place = folder / "clip-000001"
    assert raw.frames.shape == (3, 32, 64, 3)
    for number in range(3):
        assert np.array_equal(raw.frames[number].numpy(), io.read_image(place / "left" / f"00000{number + 1}.png"))
    assert raw.second is not None
    assert raw.depth is not None
    assert raw.flow is not None
    assert raw.second_depth is not None
    assert np.array_equal(raw.second[1].numpy(), io.read_image(place / "right" / "000002.png"))
    rig = io.read_calibration(place / "calib.txt")
    assert raw.baseline_m == rig.baseline_m
    disparity, _ = io.read_pfm(place / "disparity" / "000002.pfm")
    known = disparity > 0
    expected = rig.intrinsics[0, 0] * raw.baseline_m / disparity[known]
    assert np.allclose(raw.depth.numpy()[known], expected, rtol=1e-5)
    assert bool(raw.depth.isnan()[torch.from_numpy(~known)].all())
    flow, _ = io.read_flo(place / "flow_forward" / "000002.flo")
    assert np.array_equal(raw.flow.numpy(), flow.transpose(2, 0, 1))


def test_farther_frames_and_single_ones(folder: Path) -> None:
    apart = ClipSource(CLIPS, folder, frames=1, step=1)
    assert len(apart) == 8
    assert apart.raw(5).frames.shape[0] == 1
    assert apart.raw(5).flow is None
    assert apart.raw(5).second is None
    with pytest.raises(WrongInput, match=r"no clip of .* has 5 frames; take fewer frames or a smaller step"):
        ClipSource(CLIPS, folder, step=2)
    with pytest.raises(WrongInput, match="frames is odd"):
        ClipSource(CLIPS, folder, frames=2)


def test_resized_clips_keep_their_camera_true(folder: Path) -> None:
    raw = ClipSource(CLIPS, folder, size=(16, 48), stereo=True).raw(0)
    whole = ClipSource(CLIPS, folder, stereo=True).raw(0)
    assert raw.frames.shape == (3, 16, 48, 3)
    assert raw.depth is not None
    assert raw.flow is not None
    assert raw.intrinsics[0, 0] == pytest.approx(0.75 * float(whole.intrinsics[0, 0]))
    assert raw.intrinsics[1, 1] == pytest.approx(0.5 * float(whole.intrinsics[1, 1]))
    motion = geometry.relative_pose(*poses(folder, 0)[1:3])
    known = raw.depth.isfinite()
    rigid, _ = geometry.rigid_flow(torch.where(known, raw.depth, 1.0), raw.intrinsics, motion)
    assert float((rigid - raw.flow).abs()[:, known].median()) < 0.05


def test_folders_that_are_no_clips(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="holds no clips"):
        ClipSource(CLIPS, tmp_path)
    for number in range(3):
        io.write_image(tmp_path / "walk" / f"{number}.png", np.full((32, 64, 3), 40 * number, np.uint8))
    with pytest.raises(WrongFile, match=r"walk has no calib\.txt; add one there, or in"):
        ClipSource(CLIPS, tmp_path)
    calibration = io.StereoCalibration(np.array([[50.0, 0, 31.5], [0, 50, 15.5], [0, 0, 1]]), 0.1, width=64, height=32)
    io.write_calibration(tmp_path / "calib.txt", calibration)
    raw = ClipSource(CLIPS, tmp_path).raw(0)
    assert raw.intrinsics[0].tolist() == [50, 0, 31.5]
    assert raw.depth is None
    assert raw.frames[2, 0, 0].tolist() == [80, 80, 80]
    with pytest.raises(WrongFile, match="clips without a second camera"):
        ClipSource(CLIPS, tmp_path, stereo=True)


def test_depth_follows_from_the_disparity_and_the_rig(tmp_path: Path) -> None:
    calibration = io.StereoCalibration(
        np.array([[50.0, 0, 31.5], [0, 50, 15.5], [0, 0, 1]]), 0.2, doffs_px=1.0, width=64, height=32
    )
    io.write_calibration(tmp_path / "walk" / "calib.txt", calibration)
    for side in ("left", "right"):
        io.write_image(tmp_path / "walk" / side / "0.png", np.full((32, 64, 3), 9, np.uint8))
    disparity = np.full((32, 64), 4.0, np.float32)
    disparity[0, 0] = 0
    io.write_pfm(tmp_path / "walk" / "disparity" / "0.pfm", disparity)
    raw = ClipSource(CLIPS, tmp_path, frames=1, stereo=True, size=(16, 32)).raw(0)
    assert raw.depth is not None
    assert float(raw.depth[3, 3]) == pytest.approx(50 * 0.2 / (4 + 1))
    assert raw.doffs_px == pytest.approx(0.5)
    whole = ClipSource(CLIPS, tmp_path, frames=1).raw(0)
    assert whole.depth is not None
    assert bool(whole.depth[0, 0].isnan())
    assert whole.doffs_px == 0


# Samples


def test_the_camera_follows_the_window_and_the_zoom(source: ClipSource, folder: Path) -> None:
    motion = geometry.relative_pose(*poses(folder, 0)[1:3])
    raw = replace(source.raw(0), second=None)
    settings = replace(OFF, zoom=1, zoom_range=(0.3, 0.3), mirror=1)
    sample = augment_clip(raw, settings, np.random.default_rng(3), (32, 48))
    assert sample.images.shape == (3, 3, 32, 48)
    assert float(sample.intrinsics[0, 0]) == pytest.approx(float(raw.intrinsics[0, 0]) * 48 / round(48 / np.exp(0.3)))
    swap = torch.diag(torch.tensor([-1.0, 1, 1, 1]))  # in the mirror, x turns round
    known = sample.depth.isfinite()
    depth = torch.where(known, sample.depth, 1.0)
    rigid, _ = geometry.rigid_flow(depth, sample.intrinsics, swap @ motion @ swap)
    assert float((rigid - sample.flow).abs()[:, known].median()) < 0.05
    unswapped, _ = geometry.rigid_flow(depth, sample.intrinsics, motion)
    assert float((unswapped - sample.flow).abs()[:, known].median()) > 0.05


def test_windows_by_hand(source: ClipSource) -> None:
    raw = source.raw(0)
    rows, columns = torch.meshgrid(torch.arange(32.0), torch.arange(64.0), indexing="ij")
    places = replace(raw, second=None, depth=rows, flow=torch.stack((columns, rows)))
    tops = set()
    for seed in range(8):
        sample = augment_clip(places, OFF, np.random.default_rng(seed), (16, 40))
        top, left = float(sample.depth[0, 0]), float(sample.flow[0, 0, 0])
        expected = raw.intrinsics - torch.tensor([[0, 0, left], [0, 0, top], [0, 0, 0]])
        assert torch.allclose(sample.intrinsics, expected)
        whole = raw.frames[2, int(top) : int(top) + 16, int(left) : int(left) + 40].permute(2, 0, 1)
        assert torch.equal(sample.images[2], whole.float())
        tops.add(top)
    assert len(tops) > 2


def test_in_the_mirror_the_cameras_change_places(source: ClipSource) -> None:
    raw = replace(source.raw(0), doffs_px=3.0)
    plain = augment_clip(raw, OFF, np.random.default_rng(0), SIZE)
    mirrored = augment_clip(raw, replace(OFF, mirror=1), np.random.default_rng(0), SIZE)
    assert plain.second is not None
    assert mirrored.second is not None
    assert raw.second_depth is not None
    assert torch.equal(mirrored.images, plain.second.flip(-1))
    assert torch.equal(mirrored.second, plain.images.flip(-1))
    assert torch.equal(mirrored.depth.nan_to_num(0), raw.second_depth.flip(-1).nan_to_num(0))
    assert float(mirrored.intrinsics[0, 2]) == pytest.approx(63 - (float(plain.intrinsics[0, 2]) + 3))
    assert float(mirrored.doffs_px) == 3
    assert bool(mirrored.flow.isnan().all())


def test_colours_change_for_the_network_alone(source: ClipSource) -> None:
    raw = source.raw(0)
    settings = replace(OFF, color=1, grey=1, noise=1, noise_range=(2.0, 2.0))
    sample = augment_clip(raw, settings, np.random.default_rng(1), SIZE)
    assert torch.equal(sample.images, raw.frames.permute(0, 3, 1, 2).float())
    assert not torch.allclose(sample.seen, sample.images, atol=5)
    greyed = augment_clip(raw, replace(OFF, grey=1), np.random.default_rng(1), SIZE).seen
    assert torch.equal(greyed[:, 0], greyed[:, 1])
    same = augment_clip(raw, OFF, np.random.default_rng(1), SIZE)
    assert torch.equal(same.seen, same.images)


def test_all_frames_get_the_same_colours() -> None:
    frames = torch.randint(0, 256, (1, 32, 64, 3), dtype=torch.uint8).expand(3, 32, 64, 3)
    raw = RawClip(frames.contiguous(), torch.eye(3))
    sample = augment_clip(raw, replace(OFF, color=1, permute=1), np.random.default_rng(2), SIZE)
    assert torch.equal(sample.seen[0], sample.seen[1])
    assert torch.equal(sample.seen[0], sample.seen[2])
    assert not torch.equal(sample.seen, sample.images)


def test_batches_of_clips(source: ClipSource, batch: TrainingClip) -> None:
    mixture = Mixture([source], augment=replace(OFF, mirror=0.5), crop=SIZE, seed=3)
    first, second = batches(mixture, batch=2, steps=2)
    assert isinstance(first, TrainingClip)
    assert isinstance(second, TrainingClip)
    assert len(first) == 2
    third = mixture[2]
    assert isinstance(third, TrainingClip)
    assert torch.equal(second.images[0], third.images)
    parts = batch.split(2)
    assert [len(part) for part in parts] == [1, 1]
    assert torch.equal(parts[1].target[0], batch.images[1, 1])
    with pytest.raises(WrongInput, match="2 samples of clips cannot be taken in 3 equal parts"):
        batch.split(3)
    with pytest.raises(WrongInput, match="some have none"):
        TrainingClip.stack([third, replace(third, second=None)])
    with pytest.raises(WrongInput, match="other numbers of frames"):
        TrainingClip.stack([third, replace(third, images=third.images[:1], seen=third.seen[:1], second=third.seen[:1])])
    with pytest.raises(WrongInput, match="at least one sample"):
        TrainingClip.stack([])


# Losses


class Knows(PretrainedNetwork):
    """Says what it is told: inverse depths of the target, and the camera's motion."""

    family = "mono-unet"

    def __init__(self, inverse: Tensor, before: Tensor, after: Tensor) -> None:
        super().__init__()
        self.config, self.inverse, self.motions = ALL, inverse, [before, after]
        self.factor = nn.Parameter(torch.ones(()))

    def predictions(self, images: Tensor) -> list[Tensor]:
        size = images.shape[-2:]
        smaller = [(size[0] // s, size[1] // s) for s in (1, 2, 4, 8)]
        return [self.factor * nn.functional.interpolate(self.inverse, each, mode="nearest") for each in smaller]

    def pose(self, first: Tensor, second: Tensor) -> Tensor:
        return self.motions.pop(0)


def truth(batch: TrainingClip, folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    known = batch.depth.isfinite()
    inverse = torch.where(known, 1 / torch.where(known, batch.depth, 1.0), 1 / 200)
    ways = [poses(folder, 0), poses(folder, 1)]
    before, after = (torch.stack([geometry.relative_pose(way[n], way[n + 1]) for way in ways]) for n in (0, 1))
    return inverse[:, None], before, after


def test_monodepth2_is_least_with_true_depth_and_motion(batch: TrainingClip, folder: Path) -> None:
    inverse, before, after = truth(batch, folder)
    recipe = MonoRecipe("monodepth2", sizes=1, smoothness=0)

    def loss(inverse: Tensor, before: Tensor, after: Tensor) -> float:
        torch.manual_seed(0)
        knows = Knows(inverse, before, after)
        return float(make_mono_trainee(knows, recipe)(batch).terms["photometric"].detach())

    true = loss(inverse, before, after)
    plane = inverse.median().expand_as(inverse)
    assert true < 0.8 * loss(plane, before, after)
    backward = [geometry.invert_pose(each) for each in (before, after)]
    assert true < 0.8 * loss(inverse, *backward)
    # Scale cannot be seen: half the depth and half the way are the same picture.
    half = [each.clone() for each in (before, after)]
    for each in half:
        each[:, :3, 3] /= 2
    assert loss(2 * inverse, *half) == pytest.approx(true, abs=1e-4)


def test_the_measured_error_needs_no_scale(batch: TrainingClip, folder: Path) -> None:
    inverse, before, after = truth(batch, folder)
    knows = Knows(inverse / 7, before, after)
    found = make_mono_trainee(knows, MonoRecipe("monodepth2", sizes=1))(batch)
    assert float(found.terms["abs-rel"]) == pytest.approx(0, abs=1e-5)
    _, shown, known, _ = batch.shown(0)
    assert torch.allclose(found.disparity[0][known], shown[known], rtol=1e-4)
    parts = found.terms["photometric"] + found.terms["smoothness"]
    assert torch.allclose(found.loss, parts)


def test_monodepth_is_least_with_the_true_disparities_of_both_views(batch: TrainingClip, source: ClipSource) -> None:
    views = []
    for number, place in enumerate((0, 2)):
        raw = source.raw(place)
        assert raw.second_depth is not None
        views.append(torch.stack([1 / each.nan_to_num(200.0) for each in (batch.depth[number], raw.second_depth)]))
    inverse = torch.stack(views)
    recipe = MonoRecipe("monodepth", sizes=1, smoothness=0)

    def terms(inverse: Tensor) -> dict[str, float]:
        knows = Knows(inverse, torch.eye(4), torch.eye(4))
        return {name: float(value.detach()) for name, value in make_mono_trainee(knows, recipe)(batch).terms.items()}

    true = terms(inverse)
    plane = terms(inverse.flatten(1).median(1).values[:, None, None, None].expand_as(inverse))
    assert true["photometric"] < 0.9 * plane["photometric"]
    assert plane["consistency"] == pytest.approx(0, abs=1e-6)
    wrong = inverse.clone()
    wrong[:, 1] *= 2  # the right view's, the left one's are true
    assert terms(wrong)["consistency"] > 4 * true["consistency"]
    assert terms(wrong)["photometric"] > true["photometric"]


def test_the_consistency_of_planes_by_hand(batch: TrainingClip) -> None:
    focal_baseline = batch.intrinsics[:, 0, 0] * batch.baseline_m
    inverse = torch.stack([2 / focal_baseline, 5 / focal_baseline], 1)[:, :, None, None].expand(2, 2, *SIZE)
    knows = Knows(inverse, torch.eye(4), torch.eye(4))
    found = make_mono_trainee(knows, MonoRecipe("monodepth", sizes=1, consistency=0.5))(batch).terms["consistency"]
    assert float(found.detach()) == pytest.approx(0.5 * 2 * 3 / 64, rel=1e-4)  # 3 px of 64 in each direction


@pytest.mark.parametrize("method", ["monodepth", "sfmlearner", "monodepth2", "collaboration"])
def test_every_way_gives_finite_gradients_under_its_columns(batch: TrainingClip, method: Any) -> None:
    torch.manual_seed(5)
    network = MonoUnet(ALL)
    trainee = make_mono_trainee(network, MonoRecipe(method))
    found = trainee(batch, 0)
    assert tuple(found.terms) == trainee.columns
    assert found.disparity.shape == (2, *SIZE)
    found.loss.backward()
    grads = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert all(bool(grad.isfinite().all()) for grad in grads.values())
    learning = {name.split(".")[0] for name, grad in grads.items() if bool(grad.abs().sum() > 0)}
    assert (
        learning
        == {
            "monodepth": {"depth"},
            "sfmlearner": {"depth", "pose_network", "mask_network"},
            "monodepth2": {"depth", "pose_network"},
            "collaboration": {"depth", "pose_network", "flow_network"},
        }[method]
    )


def test_the_moderator_learns_in_every_third_step(batch: TrainingClip) -> None:
    torch.manual_seed(6)
    network = MonoUnet(ALL)
    trainee = make_mono_trainee(network, MonoRecipe("collaboration", sizes=1))
    for step in (1, 2, 3, 5):
        network.zero_grad()
        found = trainee(batch, step)
        found.loss.backward()
        learning = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
        assert ("mask_network" in learning) == (step % 3 == 2)
        assert ("flow_network" in learning) == (step % 3 != 2)
        assert (float(found.terms["prior"].detach()) > 0) == (step % 3 == 2)


def test_depth_waits_for_the_motion(batch: TrainingClip) -> None:
    torch.manual_seed(7)
    network = MonoUnet(ALL)
    trainee = make_mono_trainee(network, MonoRecipe("monodepth2", pose_first=3))
    for step, waits in ((2, True), (3, False)):
        network.zero_grad()
        trainee(batch, step).loss.backward()
        learning = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None}
        assert ("depth" not in learning) == waits
        assert "pose_network" in learning


def test_what_a_way_needs(batch: TrainingClip) -> None:
    alone = MonoUnet(MonoUnetConfig.nano())
    for method, missing in (("sfmlearner", "pose"), ("monodepth2", "pose"), ("collaboration", "pose")):
        recipe: Any = MonoRecipe(method)  # type: ignore[arg-type]
        with pytest.raises(WrongInput, match=rf"method {method} needs \[model.config\] {missing} = true"):
            make_mono_trainee(alone, recipe)
    with pytest.raises(WrongInput, match="views = 2"):
        make_mono_trainee(alone, MonoRecipe("monodepth"))(batch)
    with pytest.raises(WrongInput, match="set stereo = true"):
        make_mono_trainee(MonoUnet(ALL), MonoRecipe("monodepth"))(replace(batch, second=None))
    single = replace(batch, images=batch.images[:, 1:2], seen=batch.seen[:, 1:2], second=None)
    with pytest.raises(WrongInput, match="set frames of the source to 3"):
        make_mono_trainee(MonoUnet(ALL), MonoRecipe("monodepth2"))(single)


# Recipes and runs


def tables(folder: Path, method: str = "monodepth2", **config: Any) -> dict[str, Any]:
    return {
        "model": {"family": "mono-unet", "config": {**asdict(ALL), "views": 1, "mask": False, "flow": False, **config}},
        "mono": {"method": method, "sizes": 1},
        "data": {
            "crop": [32, 64],
            "batch": 2,
            "workers": 0,
            "sources": [{"kind": "clips", "path": str(folder), "size": [32, 64]}],
        },
        "run": {"steps": 4, "dtype": "float32", "log_every": 1, "checkpoint_every": 2, "sheet_every": 4, "keep": 9},
    }


@pytest.mark.parametrize("name", ["monodepth", "sfmlearner", "monodepth2", "collaboration"])
def test_the_recipes_are_valid(name: str) -> None:
    recipe = TrainingRecipe.read(str(files("depthweave") / "recipes" / f"{name}.toml"))
    assert recipe.mono.method == name
    assert TrainingRecipe.from_tables(recipe.to_tables()) == recipe
    worlds = recipe.data.sources[0].options["recipe"]
    assert Recipe.read(str(files("depthweave") / "recipes" / f"{worlds}.toml")).motion.outdoor_paths["driving"] == 1


def test_recipes_that_cannot_be(folder: Path) -> None:
    plain = tables(folder)
    pairs = {"kind": "worlds"}
    with pytest.raises(WrongInput, match="some sources are clips and some are pairs"):
        TrainingRecipe.from_tables({**plain, "data": {**plain["data"], "sources": [*plain["data"]["sources"], pairs]}})
    with pytest.raises(WrongInput, match=r"\[mono\] monodepth2 learns from clips; give sources of the kind clips"):
        TrainingRecipe.from_tables({**plain, "data": {**plain["data"], "sources": [pairs]}})
    check = {"name": "a", "reader": "folder", "root": "b"}
    with pytest.raises(WrongInput, match=r"\[\[validation\]\] measures matchers of pairs"):
        TrainingRecipe.from_tables({**plain, "validation": [check]})


def test_clips_are_rendered_where_they_are_missing(tmp_path: Path) -> None:
    source = {
        "kind": "clips",
        "path": str(tmp_path / "new"),
        "size": [32, 64],
        "count": 1,
        "options": {"recipe": "worlds-driving", "rendered": 3, "rendered_size": [32, 64], "frames": 3},
    }
    plain = tables(tmp_path)
    recipe = TrainingRecipe.from_tables({**plain, "data": {**plain["data"], "sources": [source]}})
    (opened,) = open_sources(recipe.data.located, show_progress=False)
    assert isinstance(opened, ClipSource)
    assert len(opened) == 1
    assert opened.raw(0).frames.shape == (3, 32, 64, 3)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = TrainingRecipe.from_tables(tables(folder, "collaboration", mask=True, flow=True))
    run_tiny(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(recipe, tmp_path / "stopped")
    network = run_tiny(recipe, tmp_path / "stopped")
    assert differences(state_of(tmp_path / "whole", 4), state_of(tmp_path / "stopped", 4)) == []
    logged = rows(tmp_path / "stopped")
    assert logged == rows(tmp_path / "whole")
    assert {"static", "moving", "consensus", "abs-rel"} <= set(logged[0])
    assert (tmp_path / "stopped" / "sheets" / "step-000004.png").is_file()
    assert MonoUnet.from_pretrained(network).config.flow


def test_a_tiny_network_learns_a_clip(folder: Path, tmp_path: Path) -> None:
    changed = tables(folder, "monodepth", pose=False, views=2, nearest=1.0, channels=[8, 8, 8, 8, 8])
    changed["data"]["sources"][0]["options"] = {"frames": 1, "stereo": True}
    changed["optimizer"] = {"lr": 0.005}
    changed["augment"] = PLAIN
    changed["run"] |= {"steps": 60, "sheet_every": 0}
    recipe = TrainingRecipe.from_tables(changed)
    run_tiny(recipe, tmp_path)
    terms = [float(row["photometric"]) for row in rows(tmp_path)]
    assert sum(terms[-10:]) < 0.75 * sum(terms[:10])
