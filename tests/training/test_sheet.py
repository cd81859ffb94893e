"""Sheets: where each picture stands, and what its colours mean."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import images, io
from depthweave.errors import WrongInput
from depthweave.images.colormap import INVALID_GREY
from depthweave.training.sheet import SheetRow, prediction_sheet, write_sheet

LABEL, GAP, SIZE = 18, 2, 32


def row(confidence: bool = False, width: int = SIZE) -> SheetRow:
    truth = torch.linspace(2, 10, width).repeat(SIZE, 1)
    known = torch.ones(SIZE, width, dtype=torch.bool)
    known[:8] = False
    prediction = truth.clone()
    prediction[16:20] += 1
    prediction[20:24] -= 1
    prediction[24:] += 50
    image = torch.tensor([255.0, 128.0, 0.0])[:, None, None].expand(3, SIZE, width)
    rated = torch.linspace(0, 1, width).repeat(SIZE, 1) if confidence else None
    return SheetRow("garden", image, torch.where(known, truth, torch.nan), known, prediction, rated)


def cell(sheet: np.ndarray, column: int, top: int = 0) -> np.ndarray:
    left = column * (SIZE + GAP)
    return sheet[top + LABEL : top + LABEL + SIZE, left : left + SIZE]


def test_the_pictures_of_a_row() -> None:
    shown = row(confidence=True)
    sheet = prediction_sheet([shown], error_px=4)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (LABEL + SIZE, 5 * (SIZE + GAP) - GAP, 3)
    assert (cell(sheet, 0) == [255, 128, 0]).all()
    truth, prediction, error, confidence = (cell(sheet, column) for column in (1, 2, 3, 4))
    assert (truth[:8] == INVALID_GREY).all()
    assert (truth[8:16] == prediction[8:16]).all(), "truth and prediction share their colours"
    assert (prediction[8] == prediction[0]).all(), "predictions are shown where nothing is known, too"
    limits = images.color_range(shown.truth, shown.known)
    assert limits.high == pytest.approx(10, abs=0.3)
    assert (prediction[24:] == images.colorize(shown.prediction, shown.known, limits)[24:]).all()

    def level(px: float) -> np.ndarray:
        value, yes = torch.full((1, 1), px), torch.ones(1, 1, dtype=torch.bool)
        return images.colorize(value, yes, images.ColorRange(0.0, 4.0), name="inferno")[0, 0]

    assert (error[:8] == INVALID_GREY).all()
    for rows, px in ((slice(8, 16), 0.0), (slice(16, 24), 1.0), (slice(24, 32), 4.0)):
        assert (error[rows] == level(px)).all()
    assert confidence[0, 0].astype(int).sum() < confidence[0, -1].astype(int).sum()


def test_rows_stand_below_each_other_with_their_labels() -> None:
    sheet = prediction_sheet([row(confidence=True), row()])
    assert sheet.shape == (2 * (LABEL + SIZE) + GAP, 5 * (SIZE + GAP) - GAP, 3)
    second = LABEL + SIZE + GAP
    for column in range(4):
        assert (cell(sheet, column) == cell(sheet, column, second)).all()
    assert (cell(sheet, 4, second) == 0).all(), "no confidence, no picture"
    for column in range(4):
        left = column * (SIZE + GAP)
        assert sheet[second : second + LABEL, left : left + SIZE].max() > 200, "a label"
    assert sheet[second - GAP : second].max() == 0
    assert prediction_sheet([row(), row()]).shape[1] == 4 * (SIZE + GAP) - GAP


def test_each_row_has_its_own_colours() -> None:
    near = row()
    far = SheetRow("far", near.image, near.truth / 4, near.known, near.prediction / 4)
    sheet = prediction_sheet([near, far])
    assert (cell(sheet, 1) == cell(sheet, 1, LABEL + SIZE + GAP)).all()


def test_wide_pictures_are_made_smaller() -> None:
    sheet = prediction_sheet([row(width=128)], width=64)
    assert sheet.shape == (LABEL + SIZE // 2, 4 * (64 + GAP) - GAP, 3)
    assert (sheet[LABEL:, :64] == [255, 128, 0]).all()


def test_nothing_known_and_nothing_finite() -> None:
    shown = row()
    nothing = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    broken = torch.full((SIZE, SIZE), torch.nan)
    sheet = prediction_sheet(
        [
            SheetRow("unknown", shown.image, shown.truth, nothing, shown.prediction),
            SheetRow("broken", shown.image, shown.truth, shown.known, broken, broken),
        ]
    )
    assert (cell(sheet, 1) == INVALID_GREY).all()
    assert (cell(sheet, 3) == INVALID_GREY).all()
    assert np.ptp(cell(sheet, 2)[:16].astype(int), axis=1).max() > 0, "the prediction has colours of its own"
    second = LABEL + SIZE + GAP
    for column in (2, 3, 4):
        assert (cell(sheet, column, second) == INVALID_GREY).all()


def test_a_sheet_in_a_file(tmp_path: Path) -> None:
    write_sheet(tmp_path / "sheets" / "step.png", [row()], error_px=2)
    assert (io.read_image(tmp_path / "sheets" / "step.png") == prediction_sheet([row()], error_px=2)).all()
    with pytest.raises(WrongInput, match="at least one row"):
        write_sheet(tmp_path / "none.png", [])
    assert not (tmp_path / "none.png").exists()


def test_a_teacher_has_colours_of_its_own() -> None:
    shown = row(confidence=True)
    taught = replace(shown, teacher=torch.where(shown.known, 0.001 * shown.truth - 4, torch.nan))
    sheet = prediction_sheet([taught, shown])
    assert sheet.shape[1] == 6 * (SIZE + GAP) - GAP
    truth, teacher, none = cell(sheet, 1), cell(sheet, 5), cell(sheet, 5, LABEL + SIZE + GAP)
    assert np.abs(teacher.astype(int) - truth).max() <= 8
    assert (teacher[:8] == INVALID_GREY).all()
    assert not none.any()
