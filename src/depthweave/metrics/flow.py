"""Errors of optical flow against the true motion, one pair at a time (px and percent).

Names: `epe`, `fl-all`, and `bad-X.X` for any threshold in px. Pixels that are measured are the caller's choice: KITTI's
Fl-all takes every pixel with truth, also where the second picture does not show the point.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.metrics.measurement import Measurement

FL_THRESHOLD_PX = 3.0
FL_THRESHOLD_RELATIVE = 0.05


class _Errors(NamedTuple):
    """Of the measured pixels, in float64: the end-point error, and the length of the true motion, px."""

    error: Float[Tensor, "n"]
    length: Float[Tensor, "n"]


def flow_epe(pred: Float[Tensor, "2 h w"], truth: Float[Tensor, "2 h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """End-point error: mean |u - g| in px, the length of the difference (Baker et al., IJCV 2011, section 5.1).

    Args:
        pred: motion (2, h, w) along x and y in px.
        truth: motion (2, h, w) in px.
        valid: mask (h, w) of the pixels to measure.

    Raises:
        WrongInput: a prediction or truth inside the mask is not finite.
    """
    return flow_metrics(pred, truth, valid, ("epe",))["epe"]


def fl_all(pred: Float[Tensor, "2 h w"], truth: Float[Tensor, "2 h w"], valid: Bool[Tensor, "h w"]) -> Measurement:
    """KITTI 2015 outliers in percent: |u - g| > 3 px and |u - g| > 5 % of |g| (Menze and Geiger, CVPR 2015, sec. 5).

    Args:
        pred: motion (2, h, w) along x and y in px.
        truth: motion (2, h, w) in px.
        valid: mask (h, w) of the pixels to measure; of Fl-all every pixel with truth.

    Raises:
        WrongInput: a prediction or truth inside the mask is not finite.
    """
    return flow_metrics(pred, truth, valid, ("fl-all",))["fl-all"]


def flow_bad(
    pred: Float[Tensor, "2 h w"],
    truth: Float[Tensor, "2 h w"],
    valid: Bool[Tensor, "h w"],
    threshold_px: float | int,
) -> Measurement:
    """Share of pixels with |u - g| > threshold, in percent (Baker et al., IJCV 2011, section 5.2).

    Args:
        pred: motion (2, h, w) along x and y in px.
        truth: motion (2, h, w) in px.
        valid: mask (h, w) of the pixels to measure.
        threshold_px: an error of exactly this size is not bad.

    Raises:
        WrongInput: a prediction or truth inside the mask is not finite.
    """
    name = f"bad-{float(threshold_px)}"
    return flow_metrics(pred, truth, valid, (name,))[name]


def flow_metrics(
    pred: Float[Tensor, "2 h w"], truth: Float[Tensor, "2 h w"], valid: Bool[Tensor, "h w"], names: Iterable[str]
) -> dict[str, Measurement]:
    """Several metrics in one pass over the pixels; NaN and 0 for an empty mask.

    Args:
        pred: motion (2, h, w) along x and y in px.
        truth: motion (2, h, w) in px.
        valid: mask (h, w) of the pixels to measure.
        names: such as "epe", "fl-all", "bad-1.0".

    Raises:
        WrongInput: an unknown name, or a prediction or truth inside the mask that is not finite.
    """
    found = _errors(pred, truth, valid)
    count = found.error.numel()
    return {name: Measurement(_value(name, found) if count else float("nan"), count) for name in _known(names)}


def _known(names: Iterable[str]) -> list[str]:
    listed = list(names)
    for name in listed:
        if name not in ("epe", "fl-all") and not re.fullmatch(r"bad-\d+\.\d+", name):
            raise WrongInput(f"there is no flow metric {name!r}; there are epe, fl-all and bad-1.0 (any threshold).")
    return listed


def _value(name: str, found: _Errors) -> float:
    if name == "epe":
        return float(found.error.mean())
    if name == "fl-all":
        outlier = (found.error > FL_THRESHOLD_PX) & (found.error > FL_THRESHOLD_RELATIVE * found.length)
    else:
        outlier = found.error > float(name.removeprefix("bad-"))
    return float(100 * outlier.double().mean())


def _errors(pred: Tensor, truth: Tensor, valid: Tensor) -> _Errors:
    """Of the pixels where `valid` is true.

    Raises:
        WrongInput: a number inside the mask is not finite.
    """
    chosen = [field.permute(1, 2, 0)[valid.to(field.device)].double().cpu() for field in (pred, truth)]
    for numbers, what in zip(chosen, ("prediction", "truth"), strict=True):
        wrong = int((~torch.isfinite(numbers)).any(-1).sum())
        if wrong:
            raise WrongInput(
                f"{wrong} of {len(numbers)} valid pixels have a {what} that is not finite; "
                "fill these pixels or take them out of the mask."
            )
    predicted, true = chosen
    return _Errors(torch.linalg.vector_norm(predicted - true, dim=-1), torch.linalg.vector_norm(true, dim=-1))
