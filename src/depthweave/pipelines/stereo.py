"""Stereo matching: a pair in, a disparity map out."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import runtime
from depthweave.classical import Match, check_pair, default_max_disparity
from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.models.registry import ModelCard
from depthweave.types import DisparityMap, Picture, StereoPair

LARGEST_VERTICAL_OFFSET_PX = 1.5
"""Beyond this median offset of matched rows, matchers lose more than they find."""


@runtime_checkable
class Matching(Protocol):
    """What a matcher is to this pipeline: two views in [0, 1] to a dense match."""

    config: Any

    def __call__(self, left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"], *, max_disparity: int) -> Match:
        """Match the left view to the right one."""


class StereoMatcher:
    """Any matcher behind one call.

    >>> disparity = StereoMatcher(SemiGlobalMatching(SemiGlobalConfig()))(pair)

    Args:
        matching: the algorithm or network.
        max_disparity: search 0 to max_disparity - 1 px; None takes the calibration's bound, else a sixth of the width.
        check: warn when a pair looks swapped or badly rectified.
        card: facts for manifests.
        device: where the matcher runs; results return to the CPU.
    """

    def __init__(
        self,
        matching: Matching,
        *,
        max_disparity: int | None = None,
        check: bool = True,
        card: ModelCard | None = None,
        device: str = "auto",
    ) -> None:
        self.matching = matching
        self.max_disparity = max_disparity
        self.check = check
        self.card = card
        self.device = runtime.choose_device(device)

    @overload
    def __call__(
        self, pair: StereoPair | tuple[Picture, Picture], *, max_disparity: int | None = None, right: bool = False
    ) -> DisparityMap: ...

    @overload
    def __call__(
        self, pair: list[StereoPair], *, max_disparity: int | None = None, right: bool = False
    ) -> list[DisparityMap]: ...

    def __call__(
        self,
        pair: StereoPair | tuple[Picture, Picture] | list[StereoPair],
        *,
        max_disparity: int | None = None,
        right: bool = False,
    ) -> DisparityMap | list[DisparityMap]:
        """Match a pair, two pictures ``(left, right)``, or a list of pairs (a list comes back).

        Args:
            pair: rectified, left first.
            max_disparity: in px, instead of the pipeline's.
            right: answer for the right picture instead; its disparity is x_left - x_right at the right pixel.

        Raises:
            WrongInput: a picture without any variation, or a search range that is not positive.
        """
        if isinstance(pair, list):
            return [self(item, max_disparity=max_disparity, right=right) for item in pair]
        if isinstance(pair, tuple):
            pair = StereoPair.read(*pair)
        _require_content(pair)
        if self.check:
            for sentence in pair_warnings(pair):
                warnings.warn(sentence, DepthweaveWarning, stacklevel=2)
        bound = self._max_disparity(pair, max_disparity)
        seen = pair.mirrored() if right else pair
        left_view, right_view = seen.left.to(self.device), seen.right.to(self.device)
        match = self.matching(left_view, right_view, max_disparity=bound)
        values, valid, confidence = (x.cpu() for x in (match.disparity, match.valid, match.confidence))
        if not right:
            return DisparityMap(values, valid, confidence, pair.camera, pair.left)
        camera = pair.camera
        if camera is not None:
            intrinsics = camera.intrinsics.clone()
            intrinsics[0, 2] += camera.doffs_px
            camera = replace(camera, intrinsics=intrinsics)
        return DisparityMap(values.flip(-1), valid.flip(-1), confidence.flip(-1), camera, pair.right)

    def facts(self) -> dict[str, Any]:
        """What made a result, for its manifest."""
        card = self.card
        return {
            "model": type(self.matching).__name__ if card is None else card.name,
            "revision": None if card is None else card.revision,
            "licence": None if card is None else card.licence,
            "options": asdict(self.matching.config),
            "max_disparity": self.max_disparity,
            "device": str(self.device),
            "dtype": "float32",
        }

    def _max_disparity(self, pair: StereoPair, asked: int | None) -> int:
        bound = asked if asked is not None else self.max_disparity
        if bound is None and pair.camera is not None:
            bound = pair.camera.max_disparity_px
        if bound is None:
            bound = default_max_disparity(pair.width)
        if bound < 1:
            raise WrongInput(f"a search range of {bound} px holds no disparity; give max_disparity of at least 1.")
        return min(bound, pair.width)


def pair_warnings(pair: StereoPair) -> list[str]:
    """Sentences about a pair that looks swapped or badly rectified; empty if all is well or nothing can be told."""
    found = check_pair(pair.left, pair.right)
    sentences = []
    if found.looks_swapped:
        sentences.append(
            f"{pair.sources[0]} and {pair.sources[1]} look swapped ({found.behind_share:.0%} of {found.matches} "
            "matched points lie farther right in the right picture); give the left picture first."
        )
    if abs(found.vertical_offset_px) > LARGEST_VERTICAL_OFFSET_PX:
        sentences.append(
            f"{pair.sources[0]} and {pair.sources[1]} do not look rectified (matched points differ by "
            f"{found.vertical_offset_px:+.1f} px in height, median of {found.matches}); rectify them first."
        )
    return sentences


def _require_content(pair: StereoPair) -> None:
    views: Sequence[tuple[Tensor, str]] = ((pair.left, pair.sources[0]), (pair.right, pair.sources[1]))
    for image, source in views:
        low, high = (float(x) for x in torch.aminmax(image))
        if low == high:
            kind = "black" if high == 0 else "of one colour"
            raise WrongInput(f"{source} is all {kind}, so there is nothing to match; check the picture's exposure.")
