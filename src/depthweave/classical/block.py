"""Block matching in pure torch: the transparent baseline, the same on any device."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.classical.consistency import (
    TIE,
    Match,
    background_fill,
    left_right_difference,
    local_support,
    match_confidence,
    median_filter,
    right_cost_volume,
    rival_cost,
    winner_take_all,
)
from depthweave.classical.cost import CENSUS_ROWS, census, cross_correlation, nssd, sad, ssd, zncc
from depthweave.errors import WrongInput
from depthweave.images import luminance

COSTS = {"census": census, "zncc": zncc, "sad": sad, "ssd": ssd, "nssd": nssd, "cc": cross_correlation}
CHUNK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class BlockConfig:
    """How `BlockMatching` works.

    Attributes:
        cost: matching cost, one of census, zncc, sad, ssd, nssd, cc (see `depthweave.classical.cost`), on grey values.
        window: side of the window in px over which costs are averaged, odd.
        subpixel: refine by a parabola through the three lowest costs.
        uniqueness: share by which the best cost must undercut its best rival, in [0, 1).
        check_threshold_px: largest difference of the left-right check in px.
        support_window: side of the window in px in which a match needs company, odd.
        support_share: share of that window that must be matched to within 1 px, in [0, 1]; 0 keeps speckles.
        median_size: side of the final median in px, odd; 1 leaves it out.
        chunk_rows: image rows matched at once; None takes as many as keep the cost volume below 128 MiB.
    """

    cost: str = "census"
    window: int = 9
    subpixel: bool = True
    uniqueness: float = 0.0
    check_threshold_px: float = 1.0
    support_window: int = 13
    support_share: float = 0.3
    median_size: int = 5
    chunk_rows: int | None = None

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise WrongInput(f"no matching cost is named {self.cost!r}; choose one of {', '.join(COSTS)}")
        if self.chunk_rows is not None and self.chunk_rows < 1:
            raise WrongInput(f"chunk_rows is {self.chunk_rows}; pass at least 1, or None")


class BlockMatching:
    """Local stereo matching: window costs, winner take all, two-way check, median, background fill.

    The right image's disparity is read diagonally from the same cost volume, so nothing is computed twice. Rows are
    matched in chunks, with the margin that their windows need; the result does not depend on the chunks. Peak memory is
    about two and a half cost volumes of one chunk (330 MiB with the default chunks), or ``4 * median_size**2`` bytes
    per pixel where that is more.
    """

    def __init__(self, config: BlockConfig | None = None) -> None:
        self.config = config or BlockConfig()

    @torch.no_grad()
    def __call__(self, left: Float[Tensor, "3 h w"], right: Float[Tensor, "3 h w"], max_disparity: int) -> Match:
        """Match a rectified pair.

        Args:
            left: RGB in [0, 1].
            right: RGB in [0, 1], same size.
            max_disparity: disparities 0 ... max_disparity - 1 px are tried.

        Returns:
            Disparity of the left image, on the device of the images.

        Raises:
            WrongInput: if the sizes differ or a number cannot be used.
        """
        config = self.config
        disparity, cost, rival, right_disparity = self._winners(
            luminance(left)[None], luminance(right)[None], max_disparity
        )
        difference = left_right_difference(disparity, right_disparity)
        # 1 - best / rival; exactly 0 for a tie (a flat or repeated texture) and for the only candidate in view
        distinctness = 1 - (cost / rival.clamp(min=TIE)).clamp(max=1)
        distinctness = distinctness.masked_fill((rival - cost <= TIE) | rival.isinf(), 0)
        agreed = (difference <= config.check_threshold_px) & (distinctness > config.uniqueness)
        support = local_support(disparity, agreed, window=config.support_window)
        valid = agreed & (support >= config.support_share)
        return Match(
            median_filter(background_fill(disparity, valid), config.median_size),
            valid,
            match_confidence(difference, valid, distinctness),
        )

    def _winners(self, left: Tensor, right: Tensor, max_disparity: int) -> list[Tensor]:
        """Left disparity, its cost and its rival's, and right disparity, chunk by chunk."""
        config = self.config
        _, height, width = left.shape
        margin = config.window // 2 + CENSUS_ROWS // 2
        fitting = CHUNK_BYTES // (max(max_disparity, 1) * width * left.element_size()) - 2 * margin
        rows = config.chunk_rows or max(fitting, margin)
        chunks: list[tuple[Tensor, ...]] = []
        for top in range(0, height, rows):
            first, bottom = max(top - margin, 0), min(top + rows, height)
            reach = slice(first, min(bottom + margin, height))
            volume = COSTS[config.cost](left[:, reach], right[:, reach], max_disparity, config.window)
            volume = volume[:, top - first : bottom - first]
            right_disparity, _ = winner_take_all(right_cost_volume(volume), subpixel=config.subpixel)
            disparity, cost = winner_take_all(volume, subpixel=config.subpixel)
            chunks.append((disparity, cost, rival_cost(volume, disparity), right_disparity))
        return [torch.cat(maps) for maps in zip(*chunks, strict=True)]
