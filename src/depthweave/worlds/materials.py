"""Textures of surfaces: tiles of many kinds, their mip pyramids, and the pool that keeps them on a device."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Int32, UInt8
from numpy.typing import NDArray

from depthweave.errors import WrongFile, WrongInput
from depthweave.io.files import AnyPath, require_folder
from depthweave.io.image import is_image, read_image
from depthweave.worlds.fields import TILE
from depthweave.worlds.tiles import KINDS, make_tile

__all__ = ["KINDS", "LEVELS", "TEXELS", "TILE", "Textures", "make_tile", "mip_pyramid", "photo_tile", "photographs"]

LEVELS = TILE.bit_length()
"""Of a pyramid: 256, 128, ..., 1."""

TEXELS = sum((TILE >> level) ** 2 for level in range(LEVELS))
"""Of a pyramid: all its levels, one after the other."""

_SMALLEST_CROP = 160
_SEAM = TILE // 8


def mip_pyramid(tile: UInt8[np.ndarray, "256 256 3"]) -> Int32[np.ndarray, " texels"]:
    """Average a tile down to one texel, in linear light.

    Args:
        tile: bytes, encoded with gamma 2: light = (byte / 255)^2.

    Returns:
        (TEXELS,) numbers R + G 2^8 + B 2^16 + 255 2^24 as 32 bits; the levels 256^2, 128^2, ..., 1 one after the other,
        each row by row.
    """
    packed = np.full((TEXELS, 4), 255, np.uint8)
    light: NDArray[Any] = tile.astype(np.float32) ** 2
    packed[: TILE * TILE, :3] = tile.reshape(-1, 3)
    start = TILE * TILE
    while len(light) > 1:
        light = cv2.resize(light, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        end = start + light.shape[0] * light.shape[1]
        packed[start:end, :3] = np.rint(np.sqrt(light)).reshape(-1, 3)
        start = end
    return packed.view("<i4")[:, 0].astype(np.int32, copy=False)


def photographs(folder: AnyPath) -> list[Path]:
    """Find the pictures in a folder and in its sub-folders, sorted by path.

    Args:
        folder: where they are.

    Raises:
        WrongFile: no folder, or no picture in it.
    """
    root = require_folder(folder)
    found = sorted(path for path in root.rglob("*") if is_image(path) and path.is_file())
    if not found:
        raise WrongFile(f"{root} holds no pictures; name a folder of photographs, or set photo_share to 0")
    return found


def photo_tile(picture: NDArray[np.uint8] | NDArray[np.uint16], seed: int) -> UInt8[np.ndarray, "256 256 3"]:
    """Cut a random square out of a photograph and blend its borders so that it repeats without a seam.

    Args:
        picture: (H, W) or (H, W, 3).
        seed: chooses the square, at least 160 px wide (or the whole picture).
    """
    rng = np.random.default_rng(seed)
    height, width = picture.shape[:2]
    most = min(height, width)
    side = int(rng.integers(min(_SMALLEST_CROP, most), most + 1))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    crop = picture[top : top + side, left : left + side]
    colours = crop if crop.ndim == 3 else np.repeat(crop[..., None], 3, axis=2)
    method = cv2.INTER_AREA if side > TILE + _SEAM else cv2.INTER_LINEAR
    wide: NDArray[Any] = cv2.resize(colours.astype(np.float32), (TILE + _SEAM, TILE + _SEAM), interpolation=method)
    if crop.dtype == np.uint16:
        wide = wide / 257
    fade = ((np.arange(_SEAM, dtype=np.float32) + 0.5) / _SEAM)[:, None, None]
    for _ in range(2):
        wide[:_SEAM] += (1 - fade) * (wide[TILE:] - wide[:_SEAM])
        wide = wide[:TILE].transpose(1, 0, 2)
    tile: NDArray[np.uint8] = np.clip(np.rint(wide), 0, 255).astype(np.uint8)
    return tile


class Textures:
    """A pool of tiles on a device, made when they are first wanted.

    Tile `number` depends on (seed, number, weights, photographs) alone, not on what the pool held before.

    Attributes:
        texels: Int32 (capacity * TEXELS,), the pyramids of all slots one after the other.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        weights: Mapping[str, float | int] | None = None,
        photos: AnyPath | None = None,
        photo_share: float | int = 0.0,
        capacity: int = 384,
        device: str | torch.device = "cpu",
    ) -> None:
        """Reserve the memory: 0.35 MB a tile.

        Args:
            seed: of all tiles.
            weights: how often each kind is drawn, relative to the others; None for `KINDS`. Kinds left out never are.
            photos: a folder of photographs.
            photo_share: part of the tiles, in [0, 1], that are cut out of photographs.
            capacity: tiles in memory at once.
            device: where the texels live.

        Raises:
            WrongFile: no folder, or no picture in it.
            WrongInput: an unknown kind, weights that cannot be drawn from, or a share of photographs without a folder.
        """
        weights = KINDS if weights is None else weights
        _check_weights(weights)
        if not 0 <= photo_share <= 1:
            raise WrongInput(f"photo_share is a share from 0 to 1, not {photo_share}")
        if photo_share > 0 and photos is None:
            raise WrongInput(f"photo_share is {photo_share}, but no folder of photographs is named; pass photos=")
        if capacity < 1:
            raise WrongInput(f"the pool needs room for at least one tile, not for {capacity}")
        self.seed, self.capacity, self.photo_share = seed, capacity, photo_share
        self._kinds = sorted(weights)
        shares = np.array([weights[kind] for kind in self._kinds], np.float64)
        self._shares = shares / shares.sum()
        self._photos = photographs(photos) if photos is not None and photo_share > 0 else []
        self._slot_of: dict[int, int] = {}
        self._number_in: list[int | None] = [None] * capacity
        self.texels = torch.zeros(capacity * TEXELS, dtype=torch.int32, device=device)

    def tile(self, number: int) -> UInt8[np.ndarray, "256 256 3"]:
        """Make the picture of that number, at least 0; the pool is left as it is.

        Raises:
            WrongFile: a photograph cannot be read.
        """
        rng = np.random.default_rng((self.seed, number))
        tile_seed = int(rng.integers(2**63))
        if rng.random() < self.photo_share:
            return photo_tile(read_image(self._photos[rng.integers(len(self._photos))]), tile_seed)
        return make_tile(self._kinds[rng.choice(len(self._kinds), p=self._shares)], tile_seed)

    def slots(self, numbers: Sequence[int]) -> list[int]:
        """Make sure that these tiles are in the pool.

        Args:
            numbers: of the tiles, at least 0; they may repeat. Tiles of earlier calls may have to make room.

        Returns:
            the slot of each: its texels start at slot * TEXELS. They hold until the next call.

        Raises:
            WrongInput: more different tiles than the pool has room for.
            WrongFile: a photograph cannot be read.
        """
        wanted = dict.fromkeys(numbers)
        if len(wanted) > self.capacity:
            raise WrongInput(
                f"{len(wanted)} different textures are wanted at once, but the pool holds {self.capacity}; "
                "raise its capacity, or draw the scenes from fewer textures"
            )
        for number in wanted:
            if number not in self._slot_of:
                self._fill(self._free_slot(number % self.capacity, wanted), number)
        return [self._slot_of[number] for number in numbers]

    def _free_slot(self, slot: int, wanted: Mapping[int, None]) -> int:
        """The first slot from `slot` on that holds none of the wanted tiles."""
        while self._number_in[slot] in wanted:
            slot = (slot + 1) % self.capacity
        return slot

    def _fill(self, slot: int, number: int) -> None:
        pyramid = torch.from_numpy(mip_pyramid(self.tile(number)))
        before = self._number_in[slot]
        if before is not None:
            del self._slot_of[before]
        self.texels[slot * TEXELS : (slot + 1) * TEXELS] = pyramid.to(self.texels.device)
        self._number_in[slot], self._slot_of[number] = number, slot


def _check_weights(weights: Mapping[str, float | int]) -> None:
    unknown = sorted(set(weights) - set(KINDS))
    if unknown:
        raise WrongInput(f"no texture is of the kind {unknown[0]!r}; the kinds are {', '.join(KINDS)}")
    if not all(0 <= weight < float("inf") for weight in weights.values()) or sum(weights.values()) <= 0:
        raise WrongInput("weights of textures must be 0 or more, and at least one above 0")
