"""What video depth asks of its second stage: a method that makes a clip's depth consistent from frame to frame."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from depthweave.types import Clip, DepthMap


@runtime_checkable
class Refiner(Protocol):
    """Depth of all frames under one scale to depth that does not flicker, under the same scale.

    Attributes:
        name: for manifests, e.g. ``temporal`` or ``depthcrafter``.
    """

    name: str

    def facts(self) -> dict[str, Any]:
        """Entries for a manifest: ``options``, and ``revision``, ``device`` and ``dtype`` where there are such."""

    def refine(self, clip: Clip, depth: Sequence[DepthMap], work: Path) -> Iterator[DepthMap]:
        """One map per frame, in order, at the pictures' size and in the scale of ``depth``.

        Args:
            clip: the pictures; it may be gone through more than once, one frame at a time.
            depth: stage one, one map per frame at the pictures' size, read when it is asked for; ``valid`` and
                ``confidence`` say what to trust; what lies under invalid pixels says nothing.
            work: folder for what a stopped run can go on from; emptied by the caller at the end.
        """
