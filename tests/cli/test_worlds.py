"""`depthweave worlds` on tiny pictures."""

import json
from pathlib import Path

import pytest

from depthweave import io
from depthweave.worlds import files
from depthweave.worlds.recipe import Recipe
from depthweave.worlds.views import RenderedPair

from .conftest import Cli

SMALL = ("--size", "64x48", "--workers", "0")


def test_pairs_go_through_the_two_passes(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "worlds"
    found = cli("worlds", "-n", "2", "-o", out, *SMALL)
    assert found.code == 0
    assert found.err == ""
    assert "2 pairs rendered, 0 kept from before, 0 failed" in found.out
    assert f"--root {out}" in found.out
    assert io.read_image(out / "sheet.png").shape == (48, 256, 3)
    run = tmp_path / "run"
    assert cli("predict", "block", "folder", "--root", out, "-o", run).code == 0
    scores = json.loads(cli("score", run, "--json").out)
    assert {"folder/all/per-image", "folder/visible/per-image"} <= set(scores[0]["averages"])


def test_clips(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "worlds"
    found = cli("worlds", "--clips", "-n", "1", "--frames", "2", "--fps", "5", "-o", out, *SMALL)
    assert found.code == 0
    assert "1 clips rendered" in found.out
    assert f"--root {out / 'clip-000000'}" in found.out
    assert (out / "clip-000000" / "flow_forward" / "000000.flo").is_file()
    assert (out / "sheet.png").is_file()
    assert cli("predict", "block", "folder", "--root", out / "clip-000000", "-o", tmp_path / "run").code == 0


def test_a_second_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    words = ("worlds", "-o", tmp_path, "--json", "--no-sheet", "--size", "64x48", "--workers", "2")
    assert json.loads(cli(*words, "-n", "1").out)["done"] == 1
    found = json.loads(cli(*words, "-n", "3").out)
    assert found == {"output": str(tmp_path), "done": 2, "reused": 1, "failed": {}, "sheet": None}
    assert not (tmp_path / "sheet.png").exists()


def test_a_folder_of_other_worlds_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert cli("worlds", "-n", "1", "-o", tmp_path, *SMALL).code == 0
    found = cli("worlds", "-n", "1", "-o", tmp_path, "--seed", "3", *SMALL)
    assert found.code == 1
    assert "seed 0 (asked for: 3)" in found.sentence


def test_a_failed_pair_is_reported_and_the_rest_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = files.save_pair

    def failing(pair: RenderedPair, folder: Path, *, extras: bool) -> None:
        if pair.name == "000000":
            raise ValueError("trouble")
        genuine(pair, folder, extras=extras)

    monkeypatch.setattr(files, "save_pair", failing)
    found = cli("worlds", "-n", "2", "-o", tmp_path, *SMALL)
    assert found.code == 1
    assert "failed 000000: ValueError: trouble" in found.err
    assert "1 pairs rendered, 0 kept from before, 1 failed" in found.out
    assert (tmp_path / "000001" / "calib.txt").is_file()


def test_the_recipe_can_be_printed_changed_and_read(cli: Cli, tmp_path: Path) -> None:
    text = cli("worlds", "--print-recipe").out
    assert text == Recipe().to_toml()
    (tmp_path / "mine.toml").write_text(text)
    found = cli("worlds", "--recipe", tmp_path / "mine.toml", "-n", "1", "-o", tmp_path / "out", *SMALL)
    assert found.code == 0
    assert (tmp_path / "out" / "recipe.toml").read_text() == text


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--recipe", "none.toml"), 1, "none.toml"),
        (("--photos", "none"), 1, "none"),
        (("--size", "640"), 2, "WIDTHxHEIGHT"),
        (("--size", "8x8"), 1, "8x8 px are too small"),
        (("--frames", "4"), 2, "add --clips"),
    ],
)
def test_misuse(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli("worlds", *words)
    assert found.code == code
    assert sentence in " ".join(found.err.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []
