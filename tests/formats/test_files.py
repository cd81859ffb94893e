import errno
from pathlib import Path

import pytest

from depthweave.errors import NotWritable, WrongFile
from depthweave.io import atomic_path, natural_key, require_file, require_folder


def test_success_replaces_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "map.pfm"
    for text in ("first", "second"):
        with atomic_path(target) as temporary:
            assert temporary.parent == target.parent
            assert temporary.suffix == ".pfm"
            temporary.write_text(text)
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with atomic_path(tmp_path / "ours") as temporary:
        temporary.write_text("x")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_failure_in_the_middle_keeps_the_old_file_and_removes_the_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "map.pfm"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    target = tmp_path / "map.pfm"
    with (
        pytest.raises(NotWritable, match=r"map\.pfm cannot be written \(No space left on device\)"),
        atomic_path(target),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_trouble_with_another_file_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "out.png"):
        (tmp_path / "elsewhere").read_bytes()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    wall = tmp_path / "wall"
    wall.write_text("a file, not a folder")
    with (
        pytest.raises(NotWritable, match=r"wall/deeper/map\.pfm cannot be written"),
        atomic_path(wall / "deeper/map.pfm"),
    ):
        pytest.fail("the block must not run")
    assert wall.read_text() == "a file, not a folder"


def test_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="is a folder"), atomic_path(tmp_path):
        pytest.fail("the block must not run")


def test_required_paths(tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    with pytest.raises(WrongFile, match=r"x\.png does not exist; check the path"):
        require_file(file)
    with pytest.raises(WrongFile, match="is a folder"):
        require_file(tmp_path)
    file.touch()
    assert require_file(str(file)) == file
    assert require_folder(str(tmp_path)) == tmp_path
    with pytest.raises(WrongFile, match="is a file"):
        require_folder(file)
    with pytest.raises(WrongFile, match="does not exist"):
        require_folder(tmp_path / "absent")


def test_natural_order() -> None:
    names = ["frame10.png", "frame2.png", "Frame1.png", "a9b10", "a9b9", "007.png", "cover.png"]
    assert sorted(names, key=natural_key) == [
        "007.png",
        "a9b9",
        "a9b10",
        "cover.png",
        "Frame1.png",
        "frame2.png",
        "frame10.png",
    ]
