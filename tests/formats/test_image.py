import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.io import is_image, read_image, write_image, write_video

RANDOM = np.random.default_rng(0)
GREY8 = RANDOM.integers(0, 256, (5, 7), dtype=np.uint8)
RGB8 = RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY16 = RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16)
RGB16 = RANDOM.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
ARRAYS = {"grey8": GREY8, "rgb8": RGB8, "grey16": GREY16, "rgb16": RGB16}

# Where the corner pixels (top-left, top-right, bottom-left) of the upright picture are stored, as (row, column) of the
# stored one; EXIF 2.32, tag 0x0112.
TOP_LEFT_FROM = {
    1: ((0, 0), (0, -1), (-1, 0)),
    2: ((0, -1), (0, 0), (-1, -1)),
    3: ((-1, -1), (-1, 0), (0, -1)),
    4: ((-1, 0), (-1, -1), (0, 0)),
    5: ((0, 0), (-1, 0), (0, -1)),
    6: ((-1, 0), (0, 0), (-1, -1)),
    7: ((-1, -1), (0, -1), (-1, 0)),
    8: ((0, -1), (-1, -1), (0, 0)),
}


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """Put a chunk behind the header of a PNG file."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return png[:33] + chunk + png[33:]


def exif(orientation: int) -> Image.Exif:
    entries = Image.Exif()
    entries[0x0112] = orientation
    return entries


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_round_trip(tmp_path: Path, name: str, suffix: str) -> None:
    file = tmp_path / f"x{suffix}"
    write_image(file, ARRAYS[name])
    again = read_image(file)
    assert again.dtype == ARRAYS[name].dtype
    assert again.flags.writeable
    np.testing.assert_array_equal(again, ARRAYS[name])


@pytest.mark.parametrize("name", ARRAYS)
def test_opencv_sees_the_same_png(tmp_path: Path, name: str) -> None:
    write_image(tmp_path / "x.png", ARRAYS[name])
    seen = cv2.imread(str(tmp_path / "x.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(seen if seen.ndim == 2 else seen[..., ::-1], ARRAYS[name])


@pytest.mark.parametrize("suffix", [".bmp", ".ppm"])
def test_other_lossless_formats(tmp_path: Path, suffix: str) -> None:
    write_image(tmp_path / f"x{suffix}", RGB8)
    np.testing.assert_array_equal(read_image(tmp_path / f"x{suffix}"), RGB8)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str) -> None:
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 3, axis=2).repeat(32, axis=0)
    write_image(tmp_path / f"x{suffix}", ramp)
    assert np.abs(read_image(tmp_path / f"x{suffix}").astype(int) - ramp).max() <= 4


def test_alpha_is_dropped_not_blended(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([RGB8, np.zeros_like(GREY8)])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB8)
    Image.fromarray(np.dstack([GREY8, np.zeros_like(GREY8)]), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), GREY8)


def test_alpha_with_sixteen_bits(tmp_path: Path) -> None:
    alpha = np.zeros_like(GREY16)
    assert cv2.imwrite(str(tmp_path / "rgba.png"), np.dstack([RGB16[..., ::-1], alpha]))
    np.testing.assert_array_equal(read_image(tmp_path / "rgba.png"), RGB16)
    rows = np.dstack([GREY16, alpha]).astype(">u2")
    header = struct.pack(">IIBBBBB", 7, 5, 16, 4, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    content = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    (tmp_path / "la.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), GREY16)


def test_palette_and_black_and_white(tmp_path: Path) -> None:
    few = (RGB8 // 128 * 255).astype(np.uint8)
    Image.fromarray(few).quantize(8).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), few)
    Image.fromarray(GREY8 > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), np.where(GREY8 > 127, 255, 0))


@pytest.mark.parametrize("orientation", TOP_LEFT_FROM)
@pytest.mark.parametrize("name", ["rgb8", "grey8", "rgb16"])
def test_exif_orientation(tmp_path: Path, orientation: int, name: str) -> None:
    stored = ARRAYS[name]
    write_image(tmp_path / "plain.png", stored)
    block = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "turned.png").write_bytes(with_chunk((tmp_path / "plain.png").read_bytes(), b"eXIf", block))
    upright = read_image(tmp_path / "turned.png")
    assert upright.shape[:2] == (stored.shape[:2] if orientation < 5 else stored.shape[1::-1])
    for corner, place in zip(((0, 0), (0, -1), (-1, 0)), TOP_LEFT_FROM[orientation], strict=True):
        np.testing.assert_array_equal(upright[corner], stored[place])


def test_exif_orientation_of_a_jpeg(tmp_path: Path) -> None:
    left_dark = np.repeat(np.array([[0] * 16 + [255] * 32], np.uint8), 24, axis=0)
    Image.fromarray(left_dark).save(tmp_path / "phone.jpg", exif=exif(6))
    upright = read_image(tmp_path / "phone.jpg")
    assert upright.shape == (48, 24)
    assert upright[:12].max() < 20
    assert upright[20:].min() > 235


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", RGB8)
    (tmp_path / "x.png").rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), RGB8)


def test_truncated_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = RANDOM.integers(0, 65536, (64, 64, 3), dtype=np.uint16)
    for name, array in (
        ("8.png", (noise >> 8).astype(np.uint8)),
        ("16.png", noise),
        ("x.jpg", (noise >> 8).astype(np.uint8)),
    ):
        file = tmp_path / name
        write_image(file, array)
        whole = file.read_bytes()
        for share in (0.9, 0.5):
            file.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(WrongFile, match=f"{name} is damaged or cut short"):
                read_image(file)
    assert capfd.readouterr() == ("", "")


def test_not_pictures(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("just text")
    with pytest.raises(WrongFile, match=r"text\.png is not a picture; give a PNG"):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(WrongFile, match="is not a picture"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    with pytest.raises(WrongFile, match="HEIC"):
        read_image(tmp_path / "phone.heic")
    with pytest.raises(WrongFile, match="does not exist"):
        read_image(tmp_path / "none.png")
    with pytest.raises(WrongFile, match="is a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_given_as_picture(tmp_path: Path, suffix: str) -> None:
    write_video(tmp_path / f"clip{suffix}", [np.zeros((32, 32, 3), np.uint8)] * 2, 10)
    (tmp_path / f"clip{suffix}").rename(tmp_path / "clip.png")
    with pytest.raises(WrongFile, match=r"clip\.png is a video; read its frames with open_frames"):
        read_image(tmp_path / "clip.png")


def test_numbers_beyond_pictures(tmp_path: Path) -> None:
    Image.fromarray(np.ones((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(WrongFile, match="floating-point"):
        read_image(tmp_path / "float.tif")
    Image.fromarray(np.full((2, 2), 70000, np.int32)).save(tmp_path / "int.tif")
    with pytest.raises(WrongFile, match="beyond 16 bits"):
        read_image(tmp_path / "int.tif")
    Image.fromarray(np.full((2, 2), 60000, np.int32)).save(tmp_path / "fits.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "fits.tif"), np.full((2, 2), 60000, np.uint16))


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "x.png", GREY8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(WrongFile, match="more pixels than can be read safely"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("name", "array", "sentence"),
    [
        ("x.txt", RGB8, "does not end like a picture"),
        ("x.jpg", GREY16, "cannot hold 16 bits"),
        ("x.png", RGB8.astype(np.float32), "uint8 or uint16, not float32"),
        ("x.png", RGB8[..., :2], "shape"),
        ("x.png", RGB8[:0], "shape"),
    ],
)
def test_refused_pictures(tmp_path: Path, name: str, array: np.ndarray, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        write_image(tmp_path / name, array)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match="cannot be written"):
        write_image(tmp_path / "file" / "x.png", RGB8)


def test_is_image() -> None:
    assert is_image("a/B.PNG")
    assert is_image(Path("x.jpeg"))
    assert not is_image("x.mp4")
    assert not is_image("png")
