"""Flow metrics by hand."""

import math

import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.metrics import fl_all, flow_bad, flow_epe, flow_metrics


def field(*vectors: tuple[float, float]) -> torch.Tensor:
    """One row of vectors, (2, 1, n)."""
    return torch.tensor(vectors).T[:, None]


def test_end_point_error_is_a_length() -> None:
    truth = field((0.0, 0.0), (10.0, 0.0), (1.0, 1.0))
    pred = field((3.0, 4.0), (10.0, 0.0), (1.0, 3.0))
    everywhere = torch.ones(1, 3, dtype=torch.bool)
    assert flow_epe(pred, truth, everywhere) == (pytest.approx(7 / 3), 3)
    assert flow_epe(pred, truth, torch.tensor([[True, False, True]])).value == pytest.approx(3.5)


def test_bad_is_above_the_threshold_only() -> None:
    pred, truth = field((1.0, 0.0), (0.0, 1.5), (0.0, 0.0), (3.0, 4.0)), field(*[(0.0, 0.0)] * 4)
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    assert flow_bad(pred, truth, everywhere, 1).value == 50
    assert flow_bad(pred, truth, everywhere, 5).value == 0
    assert flow_bad(pred, truth, everywhere, 0.5).value == 75


def test_fl_all_asks_for_both_bounds() -> None:
    # Errors 4 of a motion of 100 (4 %), 6 of 100 (6 %), 2 of 1 (200 %), 4 of 10 (40 %).
    truth = field((100.0, 0.0), (0.0, 100.0), (1.0, 0.0), (6.0, 8.0))
    pred = field((104.0, 0.0), (0.0, 106.0), (3.0, 0.0), (6.0, 12.0))
    assert fl_all(pred, truth, torch.ones(1, 4, dtype=torch.bool)).value == 50


def test_several_at_once_and_an_empty_mask() -> None:
    pred, truth = field((1.0, 0.0)), field((0.0, 0.0))
    found = flow_metrics(pred, truth, torch.ones(1, 1, dtype=torch.bool), ("epe", "fl-all", "bad-0.5"))
    assert {name: value for name, (value, _) in found.items()} == {"epe": 1, "fl-all": 0, "bad-0.5": 100}
    empty = flow_epe(pred, truth, torch.zeros(1, 1, dtype=torch.bool))
    assert math.isnan(empty.value)
    assert empty.count == 0


def test_what_is_refused() -> None:
    truth, everywhere = field((0.0, 0.0)), torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(WrongInput, match="no flow metric 'd1'"):
        flow_metrics(truth, truth, everywhere, ("d1",))
    with pytest.raises(WrongInput, match="1 of 1 valid pixels have a prediction"):
        flow_epe(field((math.nan, 0.0)), truth, everywhere)
    with pytest.raises(WrongInput, match="have a truth"):
        flow_epe(truth, field((0.0, math.inf)), everywhere)
    assert flow_epe(field((math.nan, 0.0)), truth, ~everywhere).count == 0
