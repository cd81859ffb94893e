"""What a stopped diffusion run goes on from: arrays in files, under the settings that made them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthweave import io

_FACTS = "made_with.json"


class VideoWork:
    """A folder of arrays that appear whole or not at all.

    What other settings left in it is removed.

    Args:
        folder: made if it is missing; for one clip and one first stage.
        facts: what the arrays depend on.

    Raises:
        NotWritable: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        file = folder / _FACTS
        wanted = json.loads(json.dumps(facts))
        if not file.is_file() or io.read_json(file, remedy="remove it") != wanted:
            file.unlink(missing_ok=True)
            for old in folder.glob("*.npz"):
                old.unlink()
            with io.atomic_path(file) as temporary:
                temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")

    def has(self, name: str) -> bool:
        """Whether arrays of that name are finished."""
        return (self.folder / f"{name}.npz").is_file()

    def save(self, name: str, **arrays: Tensor) -> None:
        """Write arrays under a name.

        Raises:
            NotWritable: the disk is full, or the folder is gone.
        """
        with io.atomic_path(self.folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{key: array.cpu().numpy() for key, array in arrays.items()})

    def read(self, name: str, *keys: str) -> list[Tensor]:
        """Arrays that `save` wrote, in the order of the keys.

        Raises:
            WrongFile: nothing stands there, or something else.
        """
        found = io.read_arrays(self.folder / f"{name}.npz", keys, remedy=f"delete {self.folder} to have it made again.")
        return [torch.from_numpy(found[key]) for key in keys]
