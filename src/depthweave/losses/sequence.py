"""One loss over the successive predictions of a network that refines."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.losses.disparity import charbonnier, l1, smooth_l1

Penalty = Callable[[Tensor, Tensor], Tensor]
PENALTIES: dict[str, Penalty] = {"l1": l1, "smooth_l1": smooth_l1, "charbonnier": charbonnier}


def defom_gamma(count: int) -> float:
    """DEFOM-Stereo's gamma for `count` predictions, 0.9^(15 / n): the first one weighs 0.9^15 whatever their number.

    Raises:
        WrongInput: count is not positive.

    Source: Jiang et al., DEFOM-Stereo, CVPR 2025, as its published training code has it.
    """
    return float(0.9 ** (15 / _positive(count)))


def sequence_weights(count: int, gamma: float | int) -> tuple[float, ...]:
    """Weights of n successive predictions, gamma^(n - i) for i = 0 to n - 1: growing, the last is gamma.

    Args:
        count: number n of predictions.
        gamma: in (0, 1]; such as `defom_gamma(count)`.

    Raises:
        WrongInput: count is not positive, or gamma is outside (0, 1].

    Source: Teed and Deng, RAFT, ECCV 2020, eq. 7, with exponents one higher, as DEFOM-Stereo has them.
    """
    if not 0 < gamma <= 1:
        raise WrongInput(f"gamma is {gamma}, but later predictions cannot weigh less; choose one above 0 and up to 1.")
    return tuple(float(gamma) ** (count - i) for i in range(_positive(count)))


def sequence_loss(
    predictions: Sequence[Float[Tensor, "..."]],
    truth: Float[Tensor, "*b h w"],
    *,
    gamma: float | int,
    penalty: str | Penalty = "l1",
) -> Float[Tensor, "*b h w"]:
    """Weighted sum over the predictions, sum_i gamma^(n - i) penalty(p_i, g).

    NaN, without a gradient, where the truth or one of the predictions is not finite.

    Args:
        predictions: disparity in px at the truth's size, the first guess first.
        truth: disparity in px.
        gamma: in (0, 1], see `sequence_weights`.
        penalty: a name in `PENALTIES` (with its defaults), or a function of prediction and truth that gives a map.

    Raises:
        WrongInput: no predictions, one of another size, gamma outside (0, 1], or an unknown penalty.
    """
    if isinstance(penalty, str):
        if penalty not in PENALTIES:
            raise WrongInput(f"there is no penalty {penalty!r}; there are {', '.join(PENALTIES)}.")
        penalty = PENALTIES[penalty]
    for number, prediction in enumerate(predictions):
        if prediction.shape != truth.shape:
            raise WrongInput(
                f"prediction {number} has the size {tuple(prediction.shape)}, the truth {tuple(truth.shape)}; "
                "resize the prediction (and scale its disparity) to the size of the truth."
            )
    loss = torch.zeros_like(truth)
    for weight, prediction in zip(sequence_weights(len(predictions), gamma), predictions, strict=True):
        loss = loss + weight * penalty(prediction, truth)
    return loss


def _positive(count: int) -> int:
    if count < 1:
        raise WrongInput(f"there are {count} predictions to weigh; a sequence has at least one.")
    return count
