"""`depthweave mono` with networks in miniature."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave import DepthMap, InverseDepthMap, Scale, io
from depthweave.models.mono.depth_anything import DepthAnything, DepthAnythingConfig
from depthweave.models.mono.estimate import Estimate
from depthweave.pipelines import load as load_room
from depthweave.pipelines.mono import MonoEstimator

from .conftest import Cli


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folders ``relative`` and ``metric``."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name, max_depth_m in (("relative", None), ("metric", 20.0)):
        DepthAnything(DepthAnythingConfig("nano", max_depth_m=max_depth_m)).save_pretrained(root / name)
    return root


@pytest.fixture
def words(models: Path) -> tuple[str | Path, ...]:
    return ("mono", "-m", models / "relative", "--set", "size=56", "--device", "cpu")


def stamp(folder: Path) -> int:
    return (folder / "result.json").stat().st_mtime_ns


def test_a_picture_becomes_a_result_folder(cli: Cli, pair: Path, models: Path, words: Any) -> None:
    out = pair / "out"
    found = cli(*words, pair / "left.png", "-o", out)
    assert (found.code, found.err) == (0, "")
    assert "inverse depth up to scale and shift, 64x48" in found.out
    assert "take a metric model" in found.out
    assert sorted(path.name for path in out.iterdir()) == [
        "inverse_depth.npz",
        "inverse_depth.pfm",
        "preview.png",
        "result.json",
    ]
    manifest = json.loads((out / "result.json").read_text())
    stated = {"type": "inverse_depth", "unit": "relative", "scale": "unknown_scale_and_shift", "seed": None}
    stated |= {"model": "relative", "licence": "not stated", "dtype": "float32", "device": "cpu", "camera": None}
    assert {key: manifest[key] for key in stated} == stated
    assert "revision" in manifest
    assert manifest["options"] == {"size": 56}
    assert manifest["inputs"]["image"]["path"].endswith("left.png")
    assert io.read_image(out / "preview.png").shape == (48, 128, 3)
    expected = load_room.load(models / "relative", size=56, device="cpu")(pair / "left.png")
    torch.testing.assert_close(InverseDepthMap.read(out).values, expected.values)


def test_a_metric_model_with_a_camera_gives_a_cloud(cli: Cli, pair: Path, models: Path) -> None:
    common = ("mono", "-m", models / "metric", "--set", "size=56", pair / "left.png", "-o", pair / "out")
    assert "give -c K.txt for a point cloud" in cli(*common).out
    found = cli(*common, "-c", pair / "calib.txt", "--json")
    manifest = json.loads(found.out)
    assert manifest == json.loads((pair / "out" / "result.json").read_text())
    assert (manifest["type"], manifest["unit"], manifest["scale"]) == ("depth", "m", "metric")
    assert manifest["files"]["cloud"] == "cloud.ply"
    depth = DepthMap.read(pair / "out")
    assert depth.scale == Scale.METRIC
    assert depth.camera.baseline_m == pytest.approx(0.12)


def test_many_pictures_get_a_folder_each_and_finished_ones_stay(cli: Cli, pair: Path, words: Any) -> None:
    (pair / "more").mkdir()
    for name in ("a", "b"):
        shutil.copy(pair / "left.png", pair / "more" / f"{name}.png")
    given = (*words, pair / "more", pair / "right.png", "-o", pair / "out")
    found = cli(*given)
    assert (found.code, found.out.strip()) == (0, f"3 of 3 pictures done, results in {pair / 'out'}/")
    folders = {name: pair / "out" / name for name in ("a", "b", "right")}
    before = {name: stamp(folder) for name, folder in folders.items()}
    (folders["b"] / "result.json").unlink()
    io.write_image(pair / "right.png", np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    assert cli(*given).code == 0
    after = {name: stamp(folder) for name, folder in folders.items()}
    assert after["a"] == before["a"]
    assert after["b"] > before["b"]
    assert after["right"] > before["right"]
    assert cli(*given, "--set", "size=70").code == 0
    assert stamp(folders["a"]) > after["a"]
    newest = stamp(folders["a"])
    assert cli(*given, "--set", "size=70", "--overwrite").code == 0
    assert stamp(folders["a"]) > newest


def test_a_failed_picture_does_not_cost_the_others(cli: Cli, pair: Path, words: Any) -> None:
    (pair / "broken.png").write_bytes(b"not a picture")
    found = cli(*words, pair / "broken.png", pair / "missing.png", pair / "left.png", "-o", pair / "out", "--json")
    assert found.code == 1
    facts = json.loads(found.out)
    assert list(facts["done"]) == ["left"]
    assert list(facts["failed"]) == ["broken", "missing"]
    assert "failed broken" in found.err
    assert "missing.png does not exist" in found.err
    assert "Traceback" not in found.err


@pytest.mark.parametrize(
    ("given", "code", "sentence"),
    [
        (("missing.png",), 1, "missing.png does not exist"),
        (("empty",), 1, "empty holds no pictures"),
        (("left.png", "same/left.png"), 1, "are both named left; run them with one -o each"),
        (("left.png", "--seed", "1"), 1, "draws no random numbers"),
        (("left.png", "--set", "iterations=3"), 1, "has no option iterations; it has size"),
        (("left.png", "-c", "missing.txt"), 1, "missing.txt does not exist"),
        (("left.png", "-m", "sgm"), 1, "sgm"),
        (("left.png", "--dtype", "float7"), 1, "float7"),
        ((), 2, "IMAGE"),
    ],
)
def test_misuse_is_one_sentence(
    cli: Cli, pair: Path, words: Any, given: tuple[str, ...], code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair)
    for name in ("empty", "same"):
        (pair / name).mkdir()
    shutil.copy(pair / "left.png", pair / "same" / "left.png")
    found = cli(*words, *given, "-o", "out")
    assert found.code == code
    assert sentence in (found.sentence if code == 1 else found.err)


class Dice:
    """A model that draws."""

    config = DepthAnythingConfig()

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, image: torch.Tensor) -> Estimate:
        return self.sample(image, seed=0)

    def sample(self, image: torch.Tensor, *, seed: int) -> Estimate:
        noise = torch.rand(image.shape[-2:], generator=torch.Generator().manual_seed(seed))
        return Estimate(noise, "depth", Scale.UNKNOWN_SCALE_AND_SHIFT)


def test_the_seed_reaches_the_model_and_the_manifest(cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *, task: str, device: str, dtype: str, seed: int | None = None) -> MonoEstimator:
        return MonoEstimator(Dice(), seed=seed, device=device, dtype=dtype)

    monkeypatch.setattr(load_room, "load", load)
    values = {}
    for seed in (None, 0, 5):
        words = () if seed is None else ("--seed", seed)
        found = cli("mono", pair / "left.png", "-o", pair / "out", "--json", *words)
        assert json.loads(found.out)["seed"] == (seed or 0)
        values[seed] = DepthMap.read(pair / "out").values
    assert torch.equal(values[None], values[0])
    assert not torch.equal(values[0], values[5])


def test_the_default_model_says_how_to_get_it(cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pair / "cache"))
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(pair / "weights"))
    found = cli("mono", pair / "left.png", "-o", pair / "out")
    assert found.code == 1
    assert "hf download depth-anything/Depth-Anything-V2-Small-hf" in found.sentence
