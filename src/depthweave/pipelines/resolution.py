"""At which size a pair is matched: smaller, larger, or tile by tile; the answer has the pair's size."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import images
from depthweave.classical import Match
from depthweave.errors import WrongInput
from depthweave.images import Tile
from depthweave.types.pair import SMALLEST_SIDE_PX


@dataclass(frozen=True)
class Resolution:
    """The size at which a pair is matched.

    Attributes:
        scale: of both sides; 0.5 matches a quarter of the pixels and half of the disparities.
        max_pixels: pictures are enlarged (``scale`` above 1) up to about so many px, and no further: one of more px is
            matched as it is; None enlarges all alike. It never shrinks a picture.
        max_size: px; pictures whose longer side is above it are shrunk to it, if ``scale`` has not done so.
        tile: (height, width) in px after scaling; larger pictures are matched window by window, None = at once.
        overlap: px that tiles share for a smooth transition; None takes an eighth of the tile's shorter side.

    A tile's left columns match right pixels further left, so neighbours also share the search range: every pixel sees
    disparities up to ``max_disparity``, as it would in the whole picture, and may miss larger ones. What a network
    draws from the picture as a whole, like a start from monocular depth, it draws from each tile instead.

    Raises:
        WrongInput: a scale or size that is not positive.
    """

    scale: float = 1.0
    max_size: int | None = None
    tile: tuple[int, int] | None = None
    overlap: int | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf"):
            raise WrongInput(f"scale={self.scale} is no size; choose a positive number, such as 0.5.")
        for name, size in (("max_size", (self.max_size,)), ("tile", self.tile or ()), ("overlap", (self.overlap,))):
            if any(side is not None and side < (0 if name == "overlap" else SMALLEST_SIDE_PX) for side in size):
                raise WrongInput(f"{name}={getattr(self, name)} is too small; choose at least {SMALLEST_SIDE_PX} px.")
        if self.max_pixels is not None and self.max_pixels < 1:
            raise WrongInput(f"max_pixels={self.max_pixels} is too small; choose at least 1 px.")

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which a picture of that size is matched.

        Raises:
            WrongInput: too small to match.
        """
        scale = self.scale
        if self.max_pixels is not None and scale > 1:
            scale = max(1.0, min(scale, math.sqrt(self.max_pixels / (height * width))))
        if self.max_size is not None:
            scale = min(scale, self.max_size / max(height, width))
        size = round(height * scale), round(width * scale)
        if min(size) < SMALLEST_SIDE_PX:
            raise WrongInput(
                f"{width}x{height} px would be matched at {size[1]}x{size[0]} px, less than {SMALLEST_SIDE_PX} px on a "
                "side; choose a larger scale or max_size."
            )
        return size

    def working_range(self, max_disparity: int, height: int, width: int) -> int:
        """A search range in px of a picture of that size, in px of its working size."""
        _, working_width = self.working_size(height, width)
        return min(-(-max_disparity * working_width // width), working_width)

    def window_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of what is matched at once, of a picture of that size."""
        size = self.working_size(height, width)
        return size if self.tile is None else (min(size[0], self.tile[0]), min(size[1], self.tile[1]))

    def windows(self, height: int, width: int, max_disparity: int) -> list[tuple[Tile, Tile]]:
        """Windows to match in a picture of that working size, each with the part whose matches it holds.

        Raises:
            WrongInput: tiles too small for their overlap and the search range.
        """
        if self.tile is None:
            whole = Tile(0, height, 0, width)
            return [(whole, whole)]
        tall, wide = min(self.tile[0], height), min(self.tile[1], width)
        overlap = min(self.tile) // 8 if self.overlap is None else self.overlap
        rows_shared = overlap if tall < height else 0
        columns_shared = overlap + max_disparity if wide < width else 0
        if rows_shared >= tall or columns_shared >= wide:
            raise WrongInput(
                f"a tile of {self.tile[1]}x{self.tile[0]} px does not hold a search range of {max_disparity} px and an "
                f"overlap of {overlap} px; choose larger tiles, or max_disparity (--max-disparity) nearer to what the "
                "scene has."
            )
        windows = images.split_tiles(
            height, width, tile_height=tall, tile_width=wide, overlap=(rows_shared, columns_shared)
        )
        return [(w, w._replace(left=w.left + max_disparity if w.left > 0 else 0)) for w in windows]


def match_at(
    resolution: Resolution,
    matching: Callable[..., Match],
    left: Float[Tensor, "3 h w"],
    right: Float[Tensor, "3 h w"],
    *,
    max_disparity: int | None,
    initial: Float[Tensor, "_ _"] | None = None,
) -> Match:
    """Match two views at a resolution, and give the answer at their own.

    Args:
        resolution: the size at which to match.
        matching: two views in [0, 1] to a match; gets ``initial`` only where there is one.
        left, right: in [0, 1].
        max_disparity: search range in px of the views; None leaves it to the matching, which tiles do not allow.
        initial: disparity of the left view in px of its own size, whatever that is.
    """
    full_height, full_width = left.shape[-2:]
    height, width = resolution.working_size(full_height, full_width)
    bound = None if max_disparity is None else resolution.working_range(max_disparity, full_height, full_width)
    if (height, width) != (full_height, full_width):
        left, right = (images.resize_image(view, height, width).clamp(0, 1) for view in (left, right))
    if initial is not None:
        initial, _ = images.resize_disparity(initial, height, width)
    windows = resolution.windows(height, width, bound or 0)
    matches = []
    for window, kept in windows:
        start = {} if initial is None else {"initial": window.crop(initial)}
        reach = None if bound is None else min(bound, window.right - window.left)
        found = matching(window.crop(left), window.crop(right), max_disparity=reach, **start)
        matches.append(_without_columns(found, kept.left - window.left))
    match = matches[0] if len(matches) == 1 else _blend(matches, [kept for _, kept in windows], height, width)
    if (height, width) == (full_height, full_width):
        return match
    return _resize(match, full_height, full_width)


def _blend(matches: list[Match], tiles: list[Tile], height: int, width: int) -> Match:
    def blend(parts: list[Tensor]) -> Tensor:
        return images.blend_tiles(parts, tiles, height=height, width=width)

    valid = [match.valid.float() for match in matches]
    share = blend(valid)
    measured = blend([m.disparity * v for m, v in zip(matches, valid, strict=True)])
    rated = [match.confidence for match in matches if match.confidence is not None]
    confidence = blend(rated) if rated else None
    return _measured_first(blend([m.disparity for m in matches]), measured, share, confidence)


def _resize(match: Match, height: int, width: int) -> Match:
    def resize(values: Tensor) -> Tensor:
        return images.resize_image(values[None], height, width)[0]

    scale = width / match.disparity.shape[-1]
    valid = match.valid.float()
    confidence = None if match.confidence is None else resize(match.confidence)
    dense, measured = resize(match.disparity), resize(match.disparity * valid)
    return _measured_first(dense * scale, measured * scale, resize(valid), confidence)


def _measured_first(
    dense: Float[Tensor, "h w"],
    measured: Float[Tensor, "h w"],
    share: Float[Tensor, "h w"],
    confidence: Float[Tensor, "h w"] | None,
) -> Match:
    """A weighted mean of measured values alone where they have most of the weight, of fillers too elsewhere."""
    valid: Bool[Tensor, "h w"] = share > 0.5
    values = torch.where(valid, measured / share.clamp_min(0.5), dense)
    return Match(values, valid, None if confidence is None else torch.where(valid, confidence, 0.0).clamp(0, 1))


def _without_columns(match: Match, count: int) -> Match:
    confidence = None if match.confidence is None else match.confidence[:, count:]
    return Match(match.disparity[:, count:], match.valid[:, count:], confidence)
