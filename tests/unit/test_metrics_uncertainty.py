"""Order and calibration of confidences: values by hand, ties, errors."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from depthweave.errors import WrongInput
from depthweave.metrics import (
    Reliability,
    log_loss,
    negative_log_likelihood,
    reliability,
    sparsification,
)

ERROR = torch.tensor([4.0, 1.0, 3.0, 0.0])
BEST = torch.tensor([0.0, 0.8, 0.2, 1.0])
"""The order of the errors."""


def test_curve_by_hand() -> None:
    found = sparsification(ERROR, torch.tensor([0.9, 0.8, 0.2, 0.1]), steps=4)
    assert found.removed.tolist() == [0.0, 0.25, 0.5, 0.75]
    assert found.error.tolist() == pytest.approx([2.0, 8 / 3, 2.5, 4.0])
    assert found.oracle.tolist() == pytest.approx([2.0, 4 / 3, 0.5, 0.0])
    assert found.count == 4
    assert found.ause == pytest.approx((0 + 4 / 3 + 2 + 4) / 4)
    assert found.random_ause == pytest.approx((0 + 2 / 3 + 1.5 + 2) / 4)
    assert found.aurg == pytest.approx(-(2 / 3 + 0.5 + 2) / 4)
    assert found.normalised_ause == pytest.approx(found.ause / 2)
    assert found.share_of_random == pytest.approx(found.ause / found.random_ause)


def test_the_best_order() -> None:
    found = sparsification(ERROR, BEST, steps=4)
    assert found.ause == 0
    assert found.share_of_random == 0
    assert found.aurg == pytest.approx(found.random_ause)


def test_only_the_order_counts() -> None:
    one = sparsification(ERROR, BEST, steps=4)
    other = sparsification(ERROR, (100 * BEST).exp() - 7, steps=4)
    assert torch.equal(one.error, other.error)


def test_equal_confidences_are_chance() -> None:
    found = sparsification(ERROR, torch.full((4,), 0.3), steps=4)
    assert found.error.tolist() == pytest.approx([2.0] * 4)
    assert found.share_of_random == pytest.approx(1)
    assert found.aurg == pytest.approx(0)


def test_ties_are_the_mean_over_all_orders() -> None:
    confidence = torch.tensor([0.5, 0.5, 0.5, 0.9])
    found = sparsification(ERROR, confidence, steps=4)
    # 0 is kept for sure, of 4, 1 and 3 a random one, two, or all.
    assert found.error.tolist() == pytest.approx([2.0, (2 * 8 / 3) / 3, (8 / 3) / 2, 0.0])
    turned = sparsification(ERROR[[2, 3, 0, 1]], confidence[[2, 3, 0, 1]], steps=4)
    assert turned.error.tolist() == pytest.approx(found.error.tolist())


def test_infinite_confidences_have_an_order() -> None:
    found = sparsification(ERROR, torch.tensor([-torch.inf, 0.0, -torch.inf, torch.inf]), steps=2)
    assert found.error.tolist() == pytest.approx([2.0, 0.5])


def test_a_perfect_prediction() -> None:
    found = sparsification(torch.zeros(3), torch.rand(3))
    assert found.ause == 0
    assert math.isnan(found.normalised_ause)
    assert math.isnan(found.share_of_random)


def test_nothing_to_measure() -> None:
    found = sparsification(torch.zeros(0), torch.zeros(0), steps=3)
    assert found.count == 0
    assert found.error.shape == (3,)
    assert math.isnan(found.ause)
    assert math.isnan(found.aurg)


def test_fewer_pixels_than_steps_keep_one() -> None:
    found = sparsification(torch.tensor([2.0]), torch.tensor([0.1]), steps=20)
    assert found.error.tolist() == [2.0] * 20


@pytest.mark.parametrize(
    ("error", "confidence", "steps", "said"),
    [
        ([-1.0, 0.0], [0.0, 1.0], 4, "negative or not finite"),
        ([math.nan, 0.0], [0.0, 1.0], 4, "negative or not finite"),
        ([math.inf, 0.0], [0.0, 1.0], 4, "negative or not finite"),
        ([1.0, 0.0], [math.nan, 1.0], 4, "NaN"),
        ([1.0, 0.0], [0.0, 1.0], 0, "at least one point"),
    ],
)
def test_sparsification_refuses(error: list[float], confidence: list[float], steps: int, said: str) -> None:
    with pytest.raises(WrongInput, match=said):
        sparsification(torch.tensor(error), torch.tensor(confidence), steps=steps)


@given(
    st.lists(
        st.tuples(st.floats(0, 50, width=32), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=1, max_size=40
    )
)
def test_no_order_beats_the_oracle(pixels: list[tuple[float, float]]) -> None:
    error, confidence = (torch.tensor(column, dtype=torch.float64) for column in zip(*pixels, strict=True))
    found = sparsification(error, confidence)
    slack = 1e-9 * (1 + float(error.max()))
    assert bool((found.error >= found.oracle - slack).all())
    assert found.error[0] == pytest.approx(float(error.mean()))
    assert found.oracle[0] == pytest.approx(float(error.mean()))
    assert found.ause + found.aurg == pytest.approx(found.random_ause, abs=slack)


def test_reliability_by_hand() -> None:
    probability = torch.tensor([0.1, 0.3, 0.5, 0.9, 1.0])
    right = torch.tensor([False, True, True, True, False])
    found = reliability(probability, right, bins=2)
    assert found.count.tolist() == [2, 3]
    stated, observed = found.points
    assert stated.tolist() == pytest.approx([0.2, 0.8])
    assert observed.tolist() == pytest.approx([0.5, 2 / 3])
    assert found.expected_calibration_error == pytest.approx((2 * 0.3 + 3 * (0.8 - 2 / 3)) / 5)
    assert found.largest_calibration_error == pytest.approx(0.3)


def test_empty_bins_count_nowhere() -> None:
    found = reliability(torch.tensor([0.05, 0.15]), torch.tensor([True, False]), bins=10)
    assert [math.isnan(float(x)) for x in found.points[1]] == [False, False, *[True] * 8]
    assert found.largest_calibration_error == pytest.approx(0.95)


def test_pooled_reliability_is_that_of_all_pixels() -> None:
    probability, right = torch.rand(40, generator=torch.Generator().manual_seed(3)), torch.arange(40) % 3 == 0
    whole = reliability(probability, right)
    pooled = Reliability.pooled([reliability(probability[:9], right[:9]), reliability(probability[9:], right[9:])])
    assert pooled.count.tolist() == whole.count.tolist()
    assert pooled.expected_calibration_error == pytest.approx(whole.expected_calibration_error)


def test_reliability_of_nothing() -> None:
    found = reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool))
    assert math.isnan(found.expected_calibration_error)
    assert math.isnan(found.largest_calibration_error)


def test_reliability_refuses() -> None:
    right = torch.tensor([True])
    with pytest.raises(WrongInput, match=r"outside of \[0, 1\]"):
        reliability(torch.tensor([1.5]), right)
    with pytest.raises(WrongInput, match=r"outside of \[0, 1\]"):
        reliability(torch.tensor([math.nan]), right)
    with pytest.raises(WrongInput, match="at least one bin"):
        reliability(torch.tensor([0.5]), right, bins=0)
    with pytest.raises(WrongInput, match="same number of bins"):
        Reliability.pooled([reliability(torch.tensor([0.5]), right, bins=b) for b in (2, 3)])
    with pytest.raises(WrongInput, match="at least one item"):
        Reliability.pooled([])


def test_log_loss_by_hand() -> None:
    found = log_loss(torch.tensor([0.8, 0.25]), torch.tensor([True, False]))
    assert found.value == pytest.approx(-(math.log(0.8) + math.log(0.75)) / 2)
    assert found.count == 2
    assert log_loss(torch.tensor([1.0]), torch.tensor([False])).value == math.inf
    assert math.isnan(log_loss(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).value)
    with pytest.raises(WrongInput, match="probability"):
        log_loss(torch.tensor([-0.1]), torch.tensor([True]))


def test_likelihoods_are_those_of_torch() -> None:
    error, scale = torch.tensor([-2.0, 0.5, 0.0]), torch.tensor([0.5, 1.5, 3.0])
    laplace = -torch.distributions.Laplace(torch.zeros(3), scale).log_prob(error).mean()
    gaussian = -torch.distributions.Normal(torch.zeros(3), scale).log_prob(error).mean()
    assert negative_log_likelihood(error, scale).value == pytest.approx(float(laplace), rel=1e-5)
    found = negative_log_likelihood(error, scale, distribution="gaussian")
    assert found.value == pytest.approx(float(gaussian), rel=1e-5)
    assert found.count == 3


def test_likelihood_refuses() -> None:
    with pytest.raises(WrongInput, match="not positive"):
        negative_log_likelihood(torch.tensor([1.0]), torch.tensor([0.0]))
    with pytest.raises(WrongInput, match="not finite"):
        negative_log_likelihood(torch.tensor([math.nan]), torch.tensor([1.0]))
