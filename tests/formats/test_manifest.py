import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from depthweave.errors import DifferentConfiguration, NotWritable, WrongFile, WrongInput
from depthweave.io import claim_folder, read_manifest, write_manifest


def test_round_trip_with_versions(tmp_path: Path) -> None:
    data = {"unit": "px", "range": np.array([1.5, 2.0]), "seed": np.int64(3), "file": Path("a/b.pfm"), "name": "Köln"}
    file = write_manifest(tmp_path / "run", data)
    assert file == tmp_path / "run" / "result.json"
    again = read_manifest(tmp_path / "run")
    assert (
        again.pop("versions").items()
        >= {
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "python": ".".join(map(str, sys.version_info[:3])),
        }.items()
    )
    assert again == {
        "format": "depthweave-result",
        "version": 1,
        "unit": "px",
        "range": [1.5, 2.0],
        "seed": 3,
        "file": "a/b.pfm",
        "name": "Köln",
    }


def test_keys_are_sorted_and_indented(tmp_path: Path) -> None:
    lines = write_manifest(tmp_path, {"z": 1, "a": 2}).read_text(encoding="utf-8").splitlines()
    keys = [line.split('"')[1] for line in lines if line.startswith('  "')]
    assert keys == sorted(keys)
    assert {"a", "format", "version", "versions", "z"} == set(keys)


def test_torch_is_named_only_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="9.9"))
    assert json.loads(write_manifest(tmp_path, {}).read_text())["versions"]["torch"] == "9.9"
    monkeypatch.delitem(sys.modules, "torch")
    assert "torch" not in json.loads(write_manifest(tmp_path, {}).read_text())["versions"]


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}])
def test_what_json_cannot_say(tmp_path: Path, value: object) -> None:
    with pytest.raises(WrongInput, match="JSON cannot say"):
        write_manifest(tmp_path, {"x": value})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{not json", "is damaged"),
        ('{"format": "other"}', "was not written by depthweave"),
        ("[1, 2]", "was not written by depthweave"),
        ('{"format": "depthweave-result", "version": 2}', "has version 2, this program reads 1"),
    ],
)
def test_not_ours(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(WrongFile, match=sentence):
        read_manifest(tmp_path)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match=r"has no result\.json"):
        read_manifest(tmp_path)
    with pytest.raises(WrongFile, match="does not exist"):
        read_manifest(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_manifest(tmp_path / "file", {})


def test_a_manifest_of_its_own_name(tmp_path: Path) -> None:
    file = write_manifest(tmp_path, {"a": 1}, name="b.json")
    assert file == tmp_path / "b.json"
    assert read_manifest(tmp_path, name="b.json")["a"] == 1
    with pytest.raises(WrongFile, match=r"has no result\.json"):
        read_manifest(tmp_path)


def test_a_folder_is_claimed_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert claim_folder(folder, {"sides": (1, 2), "place": Path("a"), "none": None})["sides"] == [1, 2]
    write_manifest(folder, {**read_manifest(folder), "more": 3})
    assert claim_folder(folder, {"sides": [1, 2], "place": "a"})["more"] == 3
    with pytest.raises(
        DifferentConfiguration, match=r"run holds .*: sides \[1, 2\] \(asked for: \[2, 1\]\), new None \(asked for: 0\)"
    ):
        claim_folder(folder, {"sides": [2, 1], "place": "a", "new": 0})
    (folder / "result.json").write_text('{"format": "other"}')
    with pytest.raises(WrongFile, match="not written by depthweave"):
        claim_folder(folder, {})
