"""Stereo matching: a pair in, a disparity map out."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave import runtime
from depthweave.classical import Match, check_pair, default_max_disparity
from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.models.registry import ModelCard
from depthweave.pipelines.memory import MemoryPlan
from depthweave.pipelines.network_stereo import NetworkMatching
from depthweave.pipelines.resolution import Resolution, match_at
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
    >>> disparity = StereoMatcher(DefomStereo(config), iterations=16, scale=0.5)(pair)

    Args:
        matching: the algorithm, or a network, which `NetworkMatching` wraps.
        max_disparity: search 0 to max_disparity - 1 px; None takes the calibration's bound, else a sixth of the width.
            Networks that search the whole row use it for tiles only; those that take a range have a default of their
            own in place of the sixth, except in tiles.
        check: warn when a pair looks swapped or badly rectified.
        card: facts for manifests.
        device: where the matcher runs; results return to the CPU.
        scale, max_size, tile, overlap, max_pixels: the size at which pairs are matched, see `Resolution`.
        settings: of a bare network: dtype, consistency, iterations, ...; see `NetworkMatching`.

    Raises:
        WrongInput: a setting that the network does not have, or settings of something else than a bare network.
    """

    def __init__(
        self,
        matching: Matching | nn.Module,
        *,
        max_disparity: int | None = None,
        check: bool = True,
        card: ModelCard | None = None,
        device: str = "auto",
        scale: float = 1.0,
        max_size: int | None = None,
        tile: tuple[int, int] | None = None,
        overlap: int | None = None,
        max_pixels: int | None = None,
        **settings: Any,
    ) -> None:
        if isinstance(matching, nn.Module):
            matching = NetworkMatching(matching, **settings)
        elif settings:
            raise WrongInput(f"{type(matching).__name__} is ready made; give {', '.join(settings)} where it is made.")
        self.matching: Matching = matching
        self.max_disparity = max_disparity
        self.check = check
        self.card = card
        self.device = runtime.choose_device(device)
        self.resolution = Resolution(scale, max_size, tile, overlap, max_pixels)
        if isinstance(matching, NetworkMatching):
            matching.network.to(self.device)

    @property
    def name(self) -> str:
        """Of the model."""
        if self.card is not None:
            return self.card.name
        return self.matching.name if isinstance(self.matching, NetworkMatching) else type(self.matching).__name__

    @overload
    def __call__(
        self,
        pair: StereoPair | tuple[Picture, Picture],
        *,
        max_disparity: int | None = None,
        right: bool = False,
        previous: DisparityMap | Tensor | None = None,
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
        previous: DisparityMap | Tensor | None = None,
    ) -> DisparityMap | list[DisparityMap]:
        """Match a pair, two pictures ``(left, right)``, or a list of pairs (a list comes back).

        Args:
            pair: rectified, left first.
            max_disparity: in px, instead of the pipeline's.
            right: answer for the right picture instead; its disparity is x_left - x_right at the right pixel.
            previous: disparity of the same view a moment before, from which a network starts: in px of its own size,
                which may be another one; only for a single pair.

        Raises:
            WrongInput: a picture without any variation, a search range that is not positive, a previous disparity that
                is not finite or that the matcher cannot start from.
            NotEnoughMemory: the pair does not fit into the memory that is free.
            NotFinite: a network's answer is not finite.
        """
        if isinstance(pair, list):
            if previous is not None:
                raise WrongInput("a list of pairs has no one previous disparity; match them one by one.")
            return [self(item, max_disparity=max_disparity, right=right) for item in pair]
        if isinstance(pair, tuple):
            pair = StereoPair.read(*pair)
        _require_content(pair)
        if self.check:
            for sentence in pair_warnings(pair):
                warnings.warn(sentence, DepthweaveWarning, stacklevel=2)
        bound = self._stated_range(pair, max_disparity)
        start = None if previous is None else self._start(previous, right)
        match = self._match(pair.mirrored() if right else pair, bound, start)
        values, valid = match.disparity.cpu(), match.valid.cpu()
        confidence = None if match.confidence is None else match.confidence.cpu()
        if not right:
            return DisparityMap(values, valid, confidence, pair.camera, pair.left)
        camera = pair.camera
        if camera is not None:
            intrinsics = camera.intrinsics.clone()
            intrinsics[0, 2] += camera.doffs_px
            camera = replace(camera, intrinsics=intrinsics)
        confidence = None if confidence is None else confidence.flip(-1)
        return DisparityMap(values.flip(-1), valid.flip(-1), confidence, camera, pair.right)

    def facts(self) -> dict[str, Any]:
        """What made a result, for its manifest."""
        card, matching = self.card, self.matching
        whole_row = isinstance(matching, NetworkMatching) and not matching.takes_range and self.resolution.tile is None
        return {
            "model": self.name,
            "revision": None if card is None else card.revision,
            "licence": None if card is None else card.licence,
            "options": asdict(matching.config),
            "max_disparity": None if whole_row else self.max_disparity,
            "resolution": asdict(self.resolution),
            "device": str(self.device),
            "dtype": str(self._dtype()).removeprefix("torch."),
        }

    def require_previous(self) -> None:
        """Pass if this matcher can start from a previous disparity.

        Raises:
            WrongInput: it cannot.
        """
        if not isinstance(self.matching, NetworkMatching):
            raise WrongInput(
                f"{self.name} does not start from an earlier disparity, only networks do; leave previous "
                "(--warm-start) away, or choose a network that `depthweave models` lists."
            )

    def _match(self, pair: StereoPair, stated: int | None, initial: Tensor | None) -> Match:
        bytes_of, own_range = None, False
        if isinstance(self.matching, NetworkMatching):
            bytes_of = partial(self.matching.memory_bytes, device=self.device)
            own_range = self.matching.takes_range and stated is None
        bound = min(default_max_disparity(pair.width) if stated is None else stated, pair.width)
        plan = MemoryPlan(self.name, pair.height, pair.width, bound, self.resolution, self.device, bytes_of, own_range)
        reach = None if own_range and self.resolution.tile is None else bound

        def work() -> Match:
            left, right = pair.left.to(self.device), pair.right.to(self.device)
            return match_at(self.resolution, self.matching, left, right, max_disparity=reach, initial=initial)

        return plan.run(work)

    def _start(self, previous: DisparityMap | Tensor, right: bool) -> Tensor:
        self.require_previous()
        values = previous.values if isinstance(previous, DisparityMap) else previous
        if values.ndim != 2 or not bool(torch.isfinite(values).all()):
            raise WrongInput(f"a previous disparity is (h, w) and finite, not {tuple(values.shape)} with NaN or inf.")
        values = values.detach().to(self.device, torch.float32)
        return values.flip(-1) if right else values

    def _dtype(self) -> torch.dtype:
        matching = self.matching
        return matching.number_type(self.device) if isinstance(matching, NetworkMatching) else torch.float32

    def _stated_range(self, pair: StereoPair, asked: int | None) -> int | None:
        """The search range that the caller, the pipeline or the calibration states, in px."""
        bound = asked if asked is not None else self.max_disparity
        whole_row = isinstance(self.matching, NetworkMatching) and not self.matching.takes_range
        if bound is not None and whole_row and self.resolution.tile is None:
            warnings.warn(
                f"{self.name} searches the whole row, so max_disparity (--max-disparity) changes nothing without tile.",
                DepthweaveWarning,
                stacklevel=3,
            )
        if bound is None and pair.camera is not None:
            bound = pair.camera.max_disparity_px
        if bound is not None and bound < 1:
            raise WrongInput(f"a search range of {bound} px holds no disparity; give max_disparity of at least 1.")
        return bound


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
