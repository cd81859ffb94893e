"""Number types of networks: half precision under autocast, and float32 where that was not enough."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

import torch
from torch import Tensor

from depthweave.errors import DepthweaveWarning, NotFinite

Answer = TypeVar("Answer")


def compute_finite(
    compute: Callable[[], Answer],
    values_of: Callable[[Answer], Tensor],
    *,
    name: str,
    what: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Answer:
    """Run a network for inference; an answer that is not finite is computed once more in float32, with a warning.

    Args:
        compute: runs it.
        values_of: the numbers of an answer.
        name: of the network, for sentences.
        what: it was run on, for sentences: pair or picture.
        device: where it runs.
        dtype: what it computes in.

    Raises:
        NotFinite: the answer is not finite in float32 either.
    """
    for kind in dict.fromkeys((dtype, torch.float32)):
        half = kind != torch.float32
        with torch.inference_mode(), torch.autocast(device.type, dtype=kind) if half else nullcontext():
            answer = compute()
        if bool(torch.isfinite(values_of(answer)).all()):
            return answer
        if half:
            warnings.warn(
                f"{name} gave values that are not finite in {str(kind).removeprefix('torch.')}, so this {what} was "
                "computed in float32; choose dtype='float32' (--dtype float32) to do so at once.",
                DepthweaveWarning,
                stacklevel=3,
            )
    raise NotFinite(
        f"{name} gave values that are not finite in float32 too, so its weights are damaged or not its own; get or "
        "convert them again (`depthweave models` says from where)."
    )
