from pathlib import Path

import numpy as np
import pytest

from depthweave import io
from depthweave.errors import WrongFile, WrongInput

QUARTER_TURN = np.array([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1.0]])
"""By 90 degrees around z, then to (1, 2, 3)."""


def test_the_file_by_hand(tmp_path: Path) -> None:
    io.write_trajectory(tmp_path / "t.txt", np.array([0.0, 0.5]), np.stack((np.eye(4), QUARTER_TURN)))
    comment, first, second = (tmp_path / "t.txt").read_text().splitlines()
    assert comment.startswith("#")
    assert first == "0 0 0 0 0 0 0 1"
    np.testing.assert_allclose([float(word) for word in second.split()], [0.5, 1, 2, 3, 0, 0, 0.5**0.5, 0.5**0.5])


def test_other_programs_files_are_read(tmp_path: Path) -> None:
    file = tmp_path / "groundtruth.txt"
    file.write_text(
        "# truth\r\n\n1305031449.7996 1.2334 -0.0113 1.6941 0.7907 0.4393 -0.1770 -0.3879\n2,0,0,1,0,0,0,1 # end\n"
    )
    times_s, poses = io.read_trajectory(file)
    np.testing.assert_allclose(times_s, [1305031449.7996, 2])
    np.testing.assert_allclose(poses[0, :3, 3], [1.2334, -0.0113, 1.6941])
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].transpose(0, 2, 1), np.eye(3)[None].repeat(2, 0), atol=1e-12
    )
    np.testing.assert_allclose(poses[1], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])


def test_round_trip_of_random_poses(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    poses = np.tile(np.eye(4), (20, 1, 1))
    poses[:, :3, :3] = np.linalg.qr(rng.normal(size=(20, 3, 3)))[0]
    poses[:, :3, 0] *= np.linalg.det(poses[:, :3, :3])[:, None]
    poses[:, :3, 3] = rng.normal(size=(20, 3)) * 10.0 ** rng.integers(-6, 4, size=(20, 1))
    times_s = np.arange(20) / 29.97
    io.write_trajectory(tmp_path / "t.txt", times_s, poses)
    read_s, read = io.read_trajectory(tmp_path / "t.txt")
    np.testing.assert_allclose(read_s, times_s, rtol=1e-11)
    np.testing.assert_allclose(read, poses, rtol=1e-10, atol=1e-11)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    lost = np.stack((np.eye(4), np.full((4, 4), np.nan)))
    with pytest.raises(WrongInput, match="leave frames without a pose out"):
        io.write_trajectory(tmp_path / "t.txt", np.arange(2.0), lost)
    with pytest.raises(WrongInput, match="do not go with 2 poses"):
        io.write_trajectory(tmp_path / "t.txt", np.arange(3.0), np.stack((np.eye(4), np.eye(4))))
    with pytest.raises(WrongInput, match=r"shape \(t, 4, 4\)"):
        io.write_trajectory(tmp_path / "t.txt", np.arange(3.0), np.eye(4))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no pose"),
        ("# nothing\n", "holds no pose"),
        ("0 0 0 0 0 0 0 1\n1 2 3\n", "line 2 is not eight numbers"),
        ("0 0 0 0 0 0 0 one", "line 1 is not eight numbers"),
        ("0 nan 0 0 0 0 0 1", "line 1 is not eight numbers"),
        ("0 0 0 0 0 0 0 0", "no unit quaternion"),
        ("0 0 0 0 1 2 3 4", "no unit quaternion"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(WrongFile, match=sentence):
        io.read_trajectory(tmp_path / "t.txt")


def test_not_text_and_not_there(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(WrongFile, match="not a text file"):
        io.read_trajectory(tmp_path / "t.txt")
    with pytest.raises(WrongFile, match="check the path"):
        io.read_trajectory(tmp_path / "nowhere.txt")
