"""Pictures: 8 and 16 bit, grey and RGB, upright and without alpha."""

import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, require_file

Picture = NDArray[np.uint8] | NDArray[np.uint16]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm")

_GREY_MODES = {"1", "L", "LA", "La"}
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)


def is_image(path: AnyPath) -> bool:
    """Say whether the name ends like that of a picture.

    Args:
        path: any path; the file is not opened.
    """
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def read_image(path: AnyPath) -> Picture:
    """Read a picture the way it should be looked at.

    EXIF rotation is applied, a palette is expanded, alpha is dropped (not blended), an animation gives its first frame.

    Args:
        path: the file; what it is depends on its content, not on its name.

    Returns:
        (H, W) for grey or (H, W, 3) for colour in the order R, G, B; uint16 where the file has 16 bits, else uint8.

    Raises:
        WrongFile: missing, damaged, a video, or not a picture.
    """
    file = require_file(path)
    image, stored_as = load_picture(file)
    if ";16" in stored_as and not image.mode.startswith("I"):  # here Pillow cuts 16 bits down to 8
        return _sixteen_bit_colour(file, grey=stored_as.startswith("LA"))
    if image.mode.startswith("I"):
        return _sixteen_bit_grey(file, np.asarray(image))
    if image.mode == "F":
        raise WrongFile(f"{file} holds floating-point numbers, not a picture; save 8 or 16 bits, or a map as PFM")
    return np.array(image.convert("L" if image.mode in _GREY_MODES else "RGB"))


def write_image(path: AnyPath, array: NDArray[Any]) -> None:
    """Write a picture; the suffix chooses the format, PNG and TIFF keep every bit.

    Args:
        path: the file to write. JPEG and WebP are lossy (quality 95).
        array: (H, W) or (H, W, 3) in the order R, G, B; uint8, or uint16 for PNG and TIFF.

    Raises:
        WrongInput: wrong shape or type, or a format that cannot hold it.
        NotWritable: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise WrongInput(f"{path} does not end like a picture; use one of {', '.join(IMAGE_SUFFIXES)}")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or array.size == 0:
        raise WrongInput(f"a picture needs the shape (height, width) or (height, width, 3), not {array.shape}")
    if array.dtype not in (np.uint8, np.uint16):
        raise WrongInput(f"a picture needs uint8 or uint16, not {array.dtype}")
    if array.dtype == np.uint16 and suffix not in (".png", ".tif", ".tiff"):
        raise WrongInput(f"{path} cannot hold 16 bits; use .png or .tif")
    with atomic_path(path) as temporary:
        if suffix == ".png" or array.dtype == np.uint16:
            temporary.write_bytes(encode_image(array, suffix))
        else:
            Image.fromarray(array).save(temporary, quality=95)


def encode_image(array: NDArray[Any], suffix: str = ".png", text: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of a lossless picture file.

    OpenCV encodes PNG several times faster than Pillow at the same size and knows 16-bit colour.

    Args:
        array: (H, W) or (H, W, 3) in the order R, G, B; uint8 or uint16.
        suffix: ".png", ".tif" or ".tiff".
        text: Latin-1 text chunks for a PNG, by keyword.
    """
    import cv2

    data: bytes = cv2.imencode(suffix, array if array.ndim == 2 else array[..., ::-1])[1].tobytes()
    chunks = b"".join(_text_chunk(keyword, value) for keyword, value in (text or {}).items())
    return data[:_PNG_HEADER_END] + chunks + data[_PNG_HEADER_END:] if chunks else data


def load_picture(path: AnyPath) -> tuple[Image.Image, str]:
    """Decode a picture with Pillow and turn it upright.

    Args:
        path: the file.

    Returns:
        image: the first frame, in whatever mode the file has.
        stored_as: Pillow's raw mode of the first tile ("RGB;16B"), or "" where it names none.

    Raises:
        WrongFile: missing, damaged, a video, or not a picture.
    """
    file = require_file(path)
    try:
        with Image.open(file) as image:
            arguments = image.tile[0][3] if image.tile else None
            stored_as = arguments if isinstance(arguments, str) else str(arguments[0]) if arguments else ""
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except UnidentifiedImageError as error:
        raise WrongFile(f"{file} {_what_instead(file)}") from error
    except Image.DecompressionBombError as error:
        raise WrongFile(f"{file} has more pixels than can be read safely; make it smaller first") from error
    except _DAMAGE as error:
        raise WrongFile(f"{file} is damaged or cut short ({error}); get it again") from error
    return image, stored_as


_PNG_HEADER_END = 33  # 8 bytes of signature, then IHDR with 4 + 4 + 13 + 4


def _text_chunk(keyword: str, value: str) -> bytes:
    body = b"tEXt" + keyword.encode("latin-1") + b"\0" + value.encode("latin-1")
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _sixteen_bit_colour(file: Path, grey: bool) -> Picture:
    import cv2

    pixels = cv2.imdecode(np.fromfile(file, dtype=np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None or pixels.dtype != np.uint16:
        raise WrongFile(f"{file} stores 16-bit colours in a form that cannot be read; save it as PNG")
    return np.ascontiguousarray(pixels[..., 0] if grey else pixels[..., ::-1], dtype=np.uint16)


def _sixteen_bit_grey(file: Path, pixels: NDArray[Any]) -> Picture:
    if pixels.min() < 0 or pixels.max() > np.iinfo(np.uint16).max:
        raise WrongFile(f"{file} holds numbers beyond 16 bits; save it with 8 or 16 bits")
    return pixels.astype(np.uint16)


def _what_instead(file: Path) -> str:
    with file.open("rb") as stream:
        start = stream.read(16)
    if start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "is a HEIC or AVIF picture; convert it to PNG or JPEG first"
    if start[4:8] == b"ftyp" or start[:4] == b"\x1a\x45\xdf\xa3" or (start[:4] == b"RIFF" and start[8:12] == b"AVI "):
        return "is a video; read its frames with open_frames or the command `depthweave video`"
    return "is not a picture; give a PNG, JPEG, TIFF, BMP, WebP or PPM file"
