"""`depthweave synthesize` on tiny pictures, with networks in miniature."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import DisparityMap, InverseDepthMap, io
from depthweave.data import open_benchmark
from depthweave.models.mono.depth_anything import DepthAnything, DepthAnythingConfig
from depthweave.worlds import RenderedPair

from .conftest import Cli
from .test_train import TINY

QUICK = ("--workers", "0", "--device", "cpu")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folders ``relative`` and ``metric``."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(2)
    for name, max_depth_m in (("relative", None), ("metric", 20.0)):
        DepthAnything(DepthAnythingConfig("nano", max_depth_m=max_depth_m)).save_pretrained(root / name)
    return root


@pytest.fixture
def depth(pair: Path, world: RenderedPair) -> Path:
    """A folder with the true inverse depth of the left picture."""
    truth = world.left_disparity
    InverseDepthMap(truth.values, torch.ones_like(truth.valid)).save(pair / "depth" / "left.npz")
    return pair / "depth"


def test_pictures_with_a_model_become_pairs(cli: Cli, pair: Path, models: Path) -> None:
    out = pair / "pairs"
    words = ("synthesize", pair / "left.png", "-m", models / "relative", "--set", "size=56", "-o", out, *QUICK)
    found = cli(*words, "--also", "side-by-side,anaglyph")
    assert (found.code, found.err) == (0, "")
    assert "1 pairs made, 0 kept from before, 0 failed" in found.out
    assert f'kind = "folder" path = "{out}"' in found.out
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == [
        "anaglyph",
        "confidence",
        "disparity",
        "disparity_right",
        "inpainted",
        "left",
        "manifest",
        "mask0nocc",
        "right",
        "rim",
        "side-by-side",
    ]
    said = json.loads((out / "manifest" / "left.json").read_text())
    stated = {"depth": "model", "model": "relative", "licence": "not stated", "options": {"size": 56}}
    stated |= {"dtype": "float32", "flip_test": True, "filler": "background", "seed": 0}
    assert {key: said[key] for key in stated} == stated
    assert said["inputs"]["image"]["path"].endswith("left.png")
    (item,) = open_benchmark("folder", out)
    assert {"all", "visible"} == set(item.read_truth().regions)
    before = (out / "manifest" / "left.json").stat().st_mtime_ns
    assert "0 pairs made, 1 kept from before" in cli(*words).out
    assert (out / "manifest" / "left.json").stat().st_mtime_ns == before
    refused = cli(*words, "--seed", "1")
    assert refused.code == 1
    assert "seed 0 (asked for: 1)" in refused.sentence


def test_depth_files_need_no_model(cli: Cli, pair: Path, depth: Path) -> None:
    words = ("synthesize", pair / "left.png", "--depth", depth, *QUICK, "--json")
    found = cli(*words, "-o", pair / "a", "--max-disparity", "8", "--filler", "telea", "--border", "mask")
    assert json.loads(found.out) == {"output": str(pair / "a"), "done": 1, "reused": 0, "failed": {}}
    truth = open_benchmark("folder", pair / "a")[0].read_truth()
    assert float(truth.disparity.max()) == pytest.approx(8, abs=0.01)
    said = json.loads((pair / "a" / "manifest" / "left.json").read_text())
    assert (said["filler"], said["border"], said["depth"]) == ("telea", "mask", "files")
    assert said["inputs"]["depth"]["path"].endswith("left.npz")
    assert not (pair / "a" / "confidence").exists()
    assert cli(*words, "-o", pair / "b", "--per-image", "2", "--no-edge-aware", "--vary").code == 0
    assert {path.stem for path in (pair / "b" / "left").iterdir()} == {"left-0", "left-1"}
    assert (np.asarray(io.read_image(pair / "b" / "rim" / "left-0.png")) == 0).all()


def test_a_result_folder_is_a_source(cli: Cli, pair: Path, world: RenderedPair) -> None:
    assert cli("stereo", pair / "left.png", pair / "right.png", "-m", "sgm", "-o", pair / "found").code == 0
    words = ("synthesize", pair / "left.png", "--depth", pair / "found", "-o", pair / "pairs", *QUICK)
    assert cli(*words).code == 0
    matched = DisparityMap.read(pair / "found")
    truth = open_benchmark("folder", pair / "pairs")[0].read_truth()
    assert float((truth.disparity - matched.values).abs().median()) < 0.01


def test_a_pairs_own_disparity(cli: Cli, pair: Path, world: RenderedPair) -> None:
    for side in ("left", "right"):
        (pair / side).mkdir()
        shutil.copy(pair / f"{side}.png", pair / side / "a.png")
    words = ("synthesize", pair / "left", "--right", pair / "right", "-m", "sgm", "-o", pair / "pairs", *QUICK)
    found = cli(*words)
    assert (found.code, found.err) == (0, "")
    truth = open_benchmark("folder", pair / "pairs")[0].read_truth()
    assert float((truth.disparity - world.left_disparity.values).abs()[world.visible].median()) < 0.5
    said = json.loads((pair / "pairs" / "manifest" / "a.json").read_text())
    assert (said["depth"], said["model"]) == ("pair", "sgm")
    assert set(said["inputs"]) == {"image", "right"}
    assert said["rescaling"] is None


def test_metric_depth_with_a_baseline(cli: Cli, pair: Path, models: Path) -> None:
    words = ("synthesize", pair / "left.png", "-m", models / "metric", "--set", "size=56", "--no-confidence", *QUICK)
    assert cli(*words, "-c", pair / "calib.txt", "--baseline", "0.05", "-o", pair / "a").code == 0
    said = json.loads((pair / "a" / "manifest" / "left.json").read_text())
    assert said["camera"]["baseline_m"] == 0.05
    assert said["rescaling"] is None
    refused = cli(*words, "--baseline", "0.05", "-o", pair / "b")
    assert refused.code == 1
    assert "a baseline needs the picture's focal length" in refused.err


def test_broken_pictures_are_named_and_the_rest_goes_on(cli: Cli, pair: Path, depth: Path) -> None:
    (pair / "photos").mkdir()
    for name in ("a", "b", "c"):
        shutil.copy(pair / "left.png", pair / "photos" / f"{name}.png")
        shutil.copy(depth / "left.npz", depth / f"{name}.npz")
    (pair / "photos" / "b.png").write_bytes(b"not a picture")
    (depth / "c.npz").unlink()
    words = ("synthesize", pair / "photos", "--depth", depth, "-o", pair / "pairs", "--device", "cpu")
    found = cli(*words, "--workers", "2", "--json")
    assert found.code == 1
    facts = json.loads(found.out)
    assert (facts["done"], list(facts["failed"])) == (1, ["b", "c"])
    assert "failed b: " in found.err
    assert "is not a picture" in found.err
    assert "has no depth for c" in found.err
    assert "Traceback" not in found.err


def test_a_video_becomes_a_stereo_video(cli: Cli, pair: Path, models: Path) -> None:
    frame = io.read_image(pair / "left.png")
    io.write_video(pair / "clip.mp4", [np.roll(frame, number, axis=1) for number in range(3)], fps=5)
    words = ("synthesize", pair / "clip.mp4", "-m", models / "relative", "--set", "size=56", "-o", pair / "out", *QUICK)
    found = cli(*words, "--also", "anaglyph,pairs")
    assert (found.code, found.err) == (0, "")
    assert found.out.splitlines()[0] == "3 frames made"
    assert io.open_frames(pair / "out" / "side-by-side.mp4").size == (48, 128)
    assert io.open_frames(pair / "out" / "anaglyph.mp4").size == (48, 64)
    assert len(open_benchmark("folder", pair / "out")) == 3
    again = json.loads(cli(*words, "--json").out)
    assert (again["frames"], again["reused"]) == (3, True)


def test_training_takes_the_folder(cli: Cli, pair: Path, depth: Path) -> None:
    out = pair / "pairs"
    assert cli("synthesize", pair / "left.png", "--depth", depth, "--max-disparity", "8", "-o", out, *QUICK).code == 0
    (pair / "mine.toml").write_text(
        TINY.replace('{ kind = "worlds", size = [32, 64] }', f'{{kind="folder", path="{out}"}}')
    )
    found = cli("train", pair / "mine.toml", "--device", "cpu", "-o", pair / "run")
    assert (found.code, found.err) == (0, "")
    (_, row) = (pair / "run" / "log.csv").read_text().splitlines()
    assert row


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("left.png", "--depth", "none"), 1, "none does not exist; give the folder of the depth files"),
        (("left.png", "--depth", ".", "--filler", "glue"), 1, "there is no filler 'glue'; take one of background"),
        (("left.png", "--depth", ".", "--filler-set", "glue=1"), 1, "the filler background has no setting glue"),
        (("left.png", "--depth", ".", "--depth-kind", "metres"), 1, "'metres' is no kind of depth"),
        (("left.png", "--depth", ".", "--max-disparity", "-3"), 1, "give a number above 0"),
        (("left.png", "--depth", ".", "-m", "sgm"), 2, "leave -m away"),
        (("left.png", "--depth", ".", "--right", "."), 2, "give one"),
        (("left.png", "--depth-kind", "depth"), 2, "--depth-kind is about --depth"),
        (("left.png", "--depth", ".", "--border", "cut"), 2, "--border has no 'cut'; take fill, crop, mask"),
        (("left.png", "--depth", ".", "--rule", "mine"), 2, "--rule has no 'mine'"),
        (("left.png", "--depth", ".", "--also", "pairs"), 2, "--also has no 'pairs'"),
        (("left.png", "-m", "sgm"), 1, "sgm is a model for stereo"),
        (("nowhere.png", "--depth", "."), 1, "nowhere.png does not exist"),
        (("empty", "--depth", "."), 1, "empty holds no pictures"),
        (("left.png", "same/left.png", "--depth", "."), 1, "are both named left"),
        (("calib.txt", "--depth", "."), 1, "calib.txt is not a video"),
        ((), 2, "IMAGE"),
    ],
)
def test_misuse_is_one_sentence(
    cli: Cli, pair: Path, words: tuple[str, ...], code: int, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair)
    (pair / "empty").mkdir()
    (pair / "same").mkdir()
    shutil.copy(pair / "left.png", pair / "same" / "left.png")
    found = cli("synthesize", *words, "-o", "out", *QUICK)
    assert found.code == code
    assert sentence in " ".join(found.err.replace("│", " ").split())
    assert "Traceback" not in found.err


def test_workers_are_for_the_cpu(cli: Cli, pair: Path, depth: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthweave.runtime.choose_device", lambda device="auto": torch.device("cuda"))
    found = cli("synthesize", pair / "left.png", "--depth", depth, "-o", pair / "out", "--workers", "2")
    assert found.code == 1
    assert "give --workers 0 or --device cpu" in found.sentence


def test_the_default_model_says_how_to_get_it(cli: Cli, pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(pair / "cache"))
    monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(pair / "weights"))
    found = cli("synthesize", pair / "left.png", "-o", pair / "out", *QUICK)
    assert found.code == 1
    assert "hf download depth-anything/Depth-Anything-V2-Small-hf" in found.sentence
    assert not (pair / "out").exists()
