"""Holes with the colours of another picture: not realistic on purpose."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.images import mix_channels, resize_image, tensor_from_image
from depthweave.synthesis.fill_background import BackgroundFiller
from depthweave.synthesis.holes import compose, require_hole

TILES = 4
"""Tiles per side that the picture's own colours are cut into."""
DARKEST = 1 / 255
"""Values below count as this one in the logarithm."""

_LMS_FROM_RGB = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_LAB_FROM_LMS = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])


@dataclass(frozen=True, eq=False)
class RandomFiller:
    """A part of another picture, with the mean and the deviation of this one's colours.

    What fills the hole says nothing about the scene, so a network cannot learn to match it (Watson et al., ECCV 2020,
    train with such pairs).

    Attributes:
        pictures: a folder of pictures, or pictures (3, h, w) in [0, 1]. None: the picture's own tiles, mirrored and in
            another order.

    Source: colours by Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 2001.
    """

    pictures: str | Path | Sequence[Float[Tensor, "3 _ _"]] | None = None
    _files: Sequence[Path] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        if isinstance(self.pictures, str | Path):
            folder = io.require_folder(self.pictures)
            files = tuple(sorted((path for path in folder.iterdir() if io.is_image(path)), key=io.natural_key))
            if not files:
                raise WrongFile(f"{folder} holds no pictures; name a folder that does.")
            object.__setattr__(self, "_files", files)
        elif self.pictures is not None and not self.pictures:
            raise WrongInput("pictures is empty; give at least one, or leave it away.")

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        unknown: Bool[Tensor, "h w"],
        wanted: Bool[Tensor, "h w"],
        disparity: Float[Tensor, "h w"],
        rng: np.random.Generator,
    ) -> Float[Tensor, "3 h w"]:
        """Give the wanted pixels new colours, see `Filler`.

        Raises:
            WrongInput: sizes differ, a wanted pixel is not unknown, or nothing is known.
            WrongFile: the picture drawn from the folder is damaged.
        """
        require_hole(image, unknown, wanted, disparity)
        if self.pictures is None:
            whole = BackgroundFiller(noise=0)(image, unknown, unknown, disparity, rng)
            return compose(image, _shuffled(whole, rng), wanted)
        part = _part(self._drawn(rng).to(image), image.shape[-2], image.shape[-1], rng)
        return compose(image, transfer_colors(part, image[:, None, ~unknown]), wanted)

    def _drawn(self, rng: np.random.Generator) -> Float[Tensor, "3 _ _"]:
        if self._files:
            return tensor_from_image(io.read_image(self._files[int(rng.integers(len(self._files)))]))
        assert self.pictures is not None
        assert not isinstance(self.pictures, str | Path)
        return self.pictures[int(rng.integers(len(self.pictures)))]


def transfer_colors(image: Float[Tensor, "3 h w"], like: Float[Tensor, "3 h2 w2"]) -> Float[Tensor, "3 h w"]:
    """Give a picture the mean and the standard deviation of another one's colours.

    Both are taken per channel of the space l, alpha, beta, made of the logarithms of the cones' answers L, M, S, where
    the channels of natural pictures hardly depend on each other.

    Args:
        image: in [0, 1].
        like: in [0, 1], of any size.

    Returns:
        In [0, 1].

    Source: Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 2001, eq. 4 to 11.
    """
    source, target = _lab(image), _lab(like)
    # The same for all devices and numbers of threads, up to the last digit of float64.
    means, deviations = zip(
        *(
            (lab.double().mean((1, 2), keepdim=True), lab.double().std((1, 2), correction=0, keepdim=True))
            for lab in (source, target)
        ),
        strict=True,
    )
    ratio = deviations[1] / deviations[0].clamp(min=1e-6)
    moved = (source - means[0]) * ratio + means[1]
    lms = 10 ** mix_channels(moved, _LAB_FROM_LMS.T)
    return mix_channels(lms, np.linalg.inv(_LMS_FROM_RGB)).clamp(0, 1).to(image)


def _lab(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    return mix_channels(mix_channels(image.clamp(min=DARKEST), _LMS_FROM_RGB).log10(), _LAB_FROM_LMS)


def _part(
    picture: Float[Tensor, "3 _ _"], height: int, width: int, rng: np.random.Generator
) -> Float[Tensor, "3 {height} {width}"]:
    """A random part of the picture, which is enlarged where it is too small, half of them mirrored."""
    scale = max(height / picture.shape[1], width / picture.shape[2])
    if scale > 1:
        size = (max(height, round(picture.shape[1] * scale)), max(width, round(picture.shape[2] * scale)))
        picture = resize_image(picture, *size)
    top, left = (
        int(rng.integers(full - part + 1)) for full, part in zip(picture.shape[1:], (height, width), strict=True)
    )
    part = picture[:, top : top + height, left : left + width]
    return part.flip(-1) if rng.random() < 0.5 else part


def _shuffled(picture: Float[Tensor, "3 h w"], rng: np.random.Generator) -> Float[Tensor, "3 h w"]:
    """Tiles in another order, each mirrored; what is left over at the right and at the bottom is mirrored only."""
    height, width = picture.shape[-2:]
    mirrored = picture.flip(-1, -2)
    tile_height, tile_width = height // TILES, width // TILES
    if tile_height == 0 or tile_width == 0:
        return mirrored
    inside = mirrored[:, : tile_height * TILES, : tile_width * TILES]
    tiles = inside.reshape(3, TILES, tile_height, TILES, tile_width).permute(1, 3, 0, 2, 4).flatten(0, 1)
    order = torch.from_numpy(rng.permutation(TILES**2)).to(tiles.device)
    shuffled = mirrored.clone()
    shuffled[:, : inside.shape[1], : inside.shape[2]] = (
        tiles[order].reshape(TILES, TILES, 3, tile_height, tile_width).permute(2, 0, 3, 1, 4).reshape(inside.shape)
    )
    return shuffled
