"""Sheets: what the network sees, what is true, what it says and how far off it is, for a person to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from depthweave import images, io
from depthweave.errors import WrongInput

_LABEL_PX = 18
_GAP_PX = 2


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One pair of a sheet, on any device.

    Attributes:
        name: stands above the picture.
        image: left picture, RGB from 0 to 255.
        truth: disparity in px.
        known: where the truth is known.
        prediction: disparity in px.
        confidence: in [0, 1], where the network gives one.
        teacher: inverse depth without unit, NaN where not known, where the pair has one.
    """

    name: str
    image: Float[Tensor, "3 h w"]
    truth: Float[Tensor, "h w"]
    known: Bool[Tensor, "h w"]
    prediction: Float[Tensor, "h w"]
    confidence: Float[Tensor, "h w"] | None = None
    teacher: Float[Tensor, "h w"] | None = None


def prediction_sheet(rows: Sequence[SheetRow], *, width: int = 320, error_px: float | int = 4.0) -> NDArray[np.uint8]:
    """One picture of rows: left picture, truth, prediction, error, and confidence and teacher where a row has them.

    Truth and prediction of a row share their colours, turbo from 2 to 98 % of the known truth (of the prediction where
    nothing is known); a teacher, which has no unit, has a range of its own. Errors go from black to white at
    `error_px`, confidence from dark to bright; what is not known or not finite is grey.

    Args:
        rows: what to show.
        width: of each picture in px; smaller ones keep theirs.
        error_px: error that gets the last colour, px.

    Returns:
        (H, W, 3) in the order R, G, B.

    Raises:
        WrongInput: no rows.
    """
    if not rows:
        raise WrongInput("a sheet needs at least one row.")
    shown = [[_labelled(label, picture, width) for label, picture in _cells(row, error_px)] for row in rows]
    columns = max(map(len, shown))
    wide = max(cell.shape[1] for cells in shown for cell in cells) + _GAP_PX
    heights = [cells[0].shape[0] + _GAP_PX for cells in shown]
    sheet = np.zeros((sum(heights) - _GAP_PX, columns * wide - _GAP_PX, 3), np.uint8)
    top = 0
    for cells, height in zip(shown, heights, strict=True):
        for place, cell in enumerate(cells):
            sheet[top : top + cell.shape[0], place * wide : place * wide + cell.shape[1]] = cell
        top += height
    return sheet


def write_sheet(
    path: io.files.AnyPath, rows: Sequence[SheetRow], *, width: int = 320, error_px: float | int = 4.0
) -> None:
    """Write a `prediction_sheet`, whole or not at all.

    Args:
        path: the picture, a PNG by its name.
        rows, width, error_px: as of `prediction_sheet`.

    Raises:
        WrongInput: no rows.
        NotWritable: the file cannot be written.
    """
    io.write_image(path, prediction_sheet(rows, width=width, error_px=error_px))


def _cells(row: SheetRow, error_px: float | int) -> list[tuple[str, NDArray[np.uint8]]]:
    """Labels and pictures (H, W, 3) of one row."""
    finite = torch.isfinite(row.prediction)
    anything = bool(row.known.any())
    limits = images.color_range(row.truth if anything else row.prediction, row.known if anything else finite)
    measured = row.known & finite
    error = torch.where(measured, (row.prediction - row.truth).abs(), 0.0)
    mean = f"mean {error[measured].mean():.2f} px" if bool(measured.any()) else "nothing known"
    picture = images.image_from_tensor((row.image.detach().float() / 255).clamp(0, 1))
    cells = [
        (row.name, picture),
        (f"truth, {limits.low:.1f} to {limits.high:.1f} px", images.colorize(row.truth, row.known, limits)),
        ("prediction", images.colorize(row.prediction, finite, limits)),
        (
            f"error, 0 to {error_px:g} px, {mean}",
            images.colorize(error, measured, images.ColorRange(0.0, float(error_px)), name="inferno"),
        ),
    ]
    if row.confidence is not None:
        inside = torch.isfinite(row.confidence)
        scale = images.ColorRange(0.0, 1.0)
        cells.append(("confidence, 0 to 1", images.colorize(row.confidence, inside, scale, name="viridis")))
    if row.teacher is not None:
        inside = torch.isfinite(row.teacher)
        cells.append(("teacher", images.colorize(row.teacher, inside, images.color_range(row.teacher, inside))))
    return cells


def _labelled(label: str, picture: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The picture at its size on the sheet, below a line of text."""
    high, wide = picture.shape[:2]
    if wide > width:
        small = images.resize_image(images.tensor_from_image(picture), max(1, round(high * width / wide)), width)
        picture = images.image_from_tensor(small)
    line = Image.new("RGB", (picture.shape[1], _LABEL_PX))
    ImageDraw.Draw(line).text((3, 2), label, fill=(255, 255, 255), font=ImageFont.load_default(12))
    return np.concatenate((np.asarray(line), picture))
