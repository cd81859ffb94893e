"""DepthCrafter and StereoDiff's step against recorded outputs under weights from names (see `depthcrafter_inputs`).

Recorded maps are cut to every fourth row and column, decoded pictures to every eighth; latents are whole.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import depthcrafter_inputs as rules
import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.models.video.depthcrafter import Conditions, PartsFolder, PerFrameUNet, find_parts, noise_levels
from depthweave.models.video.depthcrafter.conditions import clip_pixels, embed_frames, time_ids
from depthweave.models.video.depthcrafter.latents import decode_pictures, encode_pictures
from depthweave.models.video.depthcrafter.network import denoise
from depthweave.models.video.depthcrafter.schedule import first_noise_level, model_time
from depthweave.models.video.depthcrafter.windows import plan_windows
from depthweave.pipelines.disparity_range import FilledDisparity, disparity_range
from depthweave.pipelines.video_diffusion import VideoDiffusion, build
from depthweave.types import Clip, DepthMap

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from tiny_video_diffusion import write_parts

DATA = Path(__file__).parent / "data" / "depthcrafter"
FACTS = json.loads((DATA / "recorded.json").read_text())
SCHEDULES = {"karras_leading": "karras", "karras_trailing": "karras-trailing", "table_leading": "table-leading"}
SCHEDULES |= {"table_trailing": "table-trailing", "zerosnr_trailing": "zero-snr"}

GENERATED = {
    "dc4": {"steps": 4},
    "dc1": {"steps": 1},
    "trailing": {"steps": 4, "schedule": "karras-trailing"},
    "guided": {"steps": 2, "guidance": 1.2},
    "chunk4": {"steps": 1, "decode_chunk": 4},
}
REFINED = {
    "k4": {"schedule": "karras", "return_x0": False},
    "k4_x0": {"schedule": "karras"},
    "table": {"schedule": "table-trailing", "return_x0": False},
}
LATENTS, MAPS = 2e-3, 1e-4
"""Measured: latents 5e-4 where steps are few (numbers near 700 cancel), 6e-6 elsewhere; maps 4e-5 and 3e-6."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(DATA / "recorded.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"), rules.fill_module)


@pytest.fixture(scope="module")
def parts(folder: Path) -> dict[str, Any]:
    found = find_parts(folder)
    return {name: found.read(name, torch.float32) for name in ("image_encoder", "encoder", "unet", "decoder")}


@pytest.fixture(scope="module")
def clip() -> Clip:
    return Clip(list(rules.pictures()))


def model(folder: Path, **options: Any) -> VideoDiffusion:
    return build(folder, window=6, overlap=2, size=(64, 96), device="cpu", **options)


def furthest(found: Tensor, wanted: np.ndarray) -> float:
    assert tuple(found.shape) == wanted.shape
    return float((found - torch.from_numpy(wanted)).abs().max())


def final_latents(work: Path) -> Tensor:
    plan = plan_windows(int(np.load(work / "frames.npz")["numbers"][0]), 6, 2)
    windows = [torch.from_numpy(np.load(work / f"window_{n:05d}.npz")["latents"]) for n in range(len(plan.spans))]
    return torch.cat([*(window[: len(window) - plan.overlap] for window in windows[:-1]), windows[-1]])


def check(short: str, maps: Tensor, work: Path, recorded: dict[str, np.ndarray], decoder: Any) -> None:
    assert furthest(maps[:, ::4, 1::4], recorded[f"{short}/maps"]) < MAPS
    assert furthest(maps.mean((1, 2)), recorded[f"{short}/mean"]) < MAPS
    if f"{short}/latents" in recorded:
        assert furthest(final_latents(work / "run_000"), recorded[f"{short}/latents"]) < LATENTS
    if f"{short}/decoded" in recorded:  # before clipping, which hides differences
        with torch.no_grad():
            chunks = [decode_pictures(decoder, chunk) for chunk in final_latents(work / "run_000").split(8)]
        pictures = torch.cat(chunks).transpose(0, 1)
        assert furthest(pictures[..., ::8, 1::8], recorded[f"{short}/decoded"]) < MAPS


def test_the_rules_give_the_recorded_inputs(recorded: dict[str, np.ndarray], clip: Clip) -> None:
    frame = rules.pictures()[0].permute(1, 2, 0)[::8, ::8]
    assert furthest(frame, (recorded["inputs/frame0"] / 65535).astype(np.float32)) < 1e-5
    assert furthest(rules.stage_one_depth()[:, ::8, ::8], recorded["inputs/depth"]) < 1e-6


def test_the_full_networks_have_the_published_tensors(tmp_path: Path) -> None:
    for name, facts in FACTS["parts"].items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(facts["config"]))
    found = PartsFolder(tmp_path / "unet", tmp_path / "vae", tmp_path / "image_encoder")
    for name, halves in (("unet", ["unet"]), ("vae", ["encoder", "decoder"]), ("image_encoder", ["image_encoder"])):
        shapes = {}
        for half in halves:
            state = found.outline(half, torch.float32).state_dict()
            shapes |= {key.removeprefix("unet."): list(value.shape) for key, value in state.items()}
        lines = "\n".join(sorted(f"{key} {shape}" for key, shape in shapes.items()))
        assert len(shapes) == FACTS["parts"][name]["count"]
        assert hashlib.sha256(lines.encode()).hexdigest() == FACTS["parts"][name]["sha256"]


@pytest.mark.parametrize("name", FACTS["schedules"])
def test_schedules(name: str) -> None:
    kind, _, steps = name.rpartition("_")
    schedule, wanted = SCHEDULES[kind], FACTS["schedules"][name]
    levels = noise_levels(int(steps), schedule)
    tolerance = 2e-4 if schedule == "zero-snr" else 2e-5
    assert levels.tolist() == pytest.approx(wanted["sigmas"], rel=tolerance)
    assert [float(model_time(level)) for level in levels[:-1]] == pytest.approx(wanted["timesteps"], abs=1e-4)
    assert first_noise_level(levels, schedule) == pytest.approx(wanted["init_noise_sigma"], rel=1e-4)


def test_clip_branch(parts: dict[str, Any], recorded: dict[str, np.ndarray]) -> None:
    seen = 2 * rules.pictures()[:2] - 1
    pixels = clip_pixels(seen)
    assert furthest(pixels[:, :, ::16, ::8], recorded["modules/clip_pixels"]) < 1e-5
    back = pixels * torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    back = 2 * (back + torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]) - 1
    assert furthest(back[:, :, ::16, ::8], recorded["modules/resize224_small"]) < 1e-5
    with torch.no_grad():
        assert furthest(embed_frames(parts["image_encoder"], seen), recorded["modules/clip_embeds"]) < 1e-5


def test_large_pictures_are_blurred_before_clip(recorded: dict[str, np.ndarray]) -> None:
    pixels = clip_pixels(rules.noise("big", 1, 3, 576, 1024))
    back = pixels * torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    back = 2 * (back + torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]) - 1
    assert furthest(back[:, :, ::8, ::4], recorded["modules/resize224_big"]) < 1e-5


def test_network_with_one_embedding_per_frame(parts: dict[str, Any], recorded: dict[str, np.ndarray]) -> None:
    ids = time_ids(0.02, torch.device("cpu")).repeat(2, 1)
    embeddings = rules.noise("uemb", 2, 5, 32)
    with torch.no_grad():
        found = parts["unet"](rules.noise("usample", 2, 5, 8, 8, 12), torch.tensor(0.1732868), embeddings, ids)
    assert furthest(found, recorded["modules/unet_out"]) < 1e-5


def test_autoencoder(parts: dict[str, Any], recorded: dict[str, np.ndarray]) -> None:
    scaled = 0.18215 * torch.from_numpy(recorded["modules/vae_z"])
    with torch.no_grad():
        together = decode_pictures(parts["decoder"], scaled)
        alone = decode_pictures(parts["decoder"], scaled[:1])
        encoded = encode_pictures(parts["encoder"], 2 * rules.pictures()[:3] - 1)
    assert furthest(together[..., ::4, ::4], recorded["modules/vae_dec5"]) < 1e-5
    assert furthest(alone[..., ::4, ::4], recorded["modules/vae_dec1"]) < 1e-5
    assert furthest(encoded, recorded["modules/vae_mode"]) < 1e-5


def test_attention_to_one_embedding_is_a_vector_per_frame(parts: dict[str, Any]) -> None:
    attention = parts["unet"].unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    hidden, embedding = rules.noise("h", 5, 24, 32), rules.noise("e", 5, 1, 32)
    with torch.no_grad():
        found = attention(hidden, encoder_hidden_states=embedding)
        wanted = attention.to_out[0](attention.to_v(embedding)).expand(-1, 24, -1)
    assert float((found - wanted).abs().max()) < 1e-5


def test_temporal_blocks_see_the_first_frame(parts: dict[str, Any]) -> None:
    unet, seen = parts["unet"], []
    block = unet.unet.down_blocks[0].attentions[0].temporal_transformer_blocks[0]
    hook = block.register_forward_pre_hook(
        lambda _module, _inputs, named: seen.append(named["encoder_hidden_states"]), with_kwargs=True
    )
    embeddings = rules.noise("uemb", 1, 5, 32)
    with torch.no_grad():
        odd = unet(
            rules.noise("odd", 1, 5, 8, 9, 11), torch.tensor(0.1), embeddings, time_ids(0.02, torch.device("cpu"))
        )
    hook.remove()
    assert odd.shape == (1, 5, 4, 9, 11)
    assert torch.equal(seen[0].reshape(-1, 32)[0], embeddings[0, 0])
    assert len(seen[0].reshape(-1, 32).unique(dim=0)) == 1


def test_every_step_of_a_window(parts: dict[str, Any], recorded: dict[str, np.ndarray]) -> None:
    unet = parts["unet"]
    assert isinstance(unet, PerFrameUNet)
    embeddings = torch.from_numpy(recorded["embeddings"])[:6]
    conditions = Conditions(embeddings, torch.from_numpy(recorded["video_latents"])[:6])
    levels = noise_levels(4, "karras")
    latents = rules.noise("latents", 1, 6, 4, 8, 12)[0] * first_noise_level(levels, "karras")
    with torch.no_grad():
        for step, tolerance in enumerate((2e-3, 1e-4, 1e-5, 1e-5)):
            latents = denoise(unet, latents, levels[step : step + 2], conditions)
            assert furthest(latents, recorded[f"dc4/w0_s{step}"]) < tolerance


@pytest.mark.parametrize("short", GENERATED)
def test_depthcrafter(
    short: str, folder: Path, parts: dict[str, Any], clip: Clip, recorded: dict[str, np.ndarray], tmp_path: Path
) -> None:
    count = len(recorded[f"{short}/maps"])
    found = model(folder, **GENERATED[short]).generate(
        Clip(clip.frames[:count]),
        tmp_path,
        latents=rules.noise("latents", 1, 6, 4, 8, 12)[0],
        aug_noise=rules.noise("aug", 12, 3, 64, 96),
    )
    check(short, torch.stack(list(found)), tmp_path, recorded, parts["decoder"])
    if short == "dc4":
        blocks = [np.load(path) for path in sorted((tmp_path / "run_000").glob("encoded_*"))]
        for key, name in (("embeddings", "embeddings"), ("latents", "video_latents")):
            encoded = torch.from_numpy(np.concatenate([block[key] for block in blocks]))
            assert furthest(encoded, recorded[name]) < 1e-4


@pytest.mark.parametrize("short", REFINED)
def test_stereodiff(
    short: str, folder: Path, parts: dict[str, Any], clip: Clip, recorded: dict[str, np.ndarray], tmp_path: Path
) -> None:
    depth = [DepthMap(frame, frame > 0) for frame in rules.stage_one_depth()]
    limits, filled = disparity_range(depth, (0, 1)), FilledDisparity(depth, 0)
    maps = torch.stack([limits.normalized(filled[index]) for index in range(12)])
    diffusion = model(folder, stitch="latents", **REFINED[short])
    assert diffusion.settings.refinement_levels() == pytest.approx(
        (recorded[f"{short}/sigmas"][0], 0.0 if short == "k4_x0" else recorded[f"{short}/sigmas"][1]), rel=1e-5
    )
    found = diffusion.refine_disparity(
        clip,
        lambda index: maps[index],
        tmp_path,
        latents=rules.noise("latents_all", 1, 12, 4, 8, 12)[0],
        aug_noise=rules.noise("aug", 12, 3, 64, 96),
    )
    check(short, torch.stack(list(found)), tmp_path, recorded, parts["decoder"])
    if short == "k4":
        assert furthest(maps[:, ::8, ::8], recorded["k4/disparity01"]) < 1e-6
        blocks = [np.load(path)["disparity"] for path in sorted((tmp_path / "run_000").glob("encoded_*"))]
        assert furthest(torch.from_numpy(np.concatenate(blocks)), recorded["k4/encoded"]) < 1e-5
