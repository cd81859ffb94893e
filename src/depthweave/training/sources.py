"""Where training pairs come from: folders of rendered pairs, worlds rendered on the way, benchmarks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from depthweave import images, io
from depthweave.data import BENCHMARKS, CLIP_BENCHMARKS, StereoItem, open_benchmark
from depthweave.errors import WrongFile, WrongInput
from depthweave.training.clip_sources import CLIPS, ClipSource, clip_options, opens_clips
from depthweave.training.clips import RawClip
from depthweave.training.prerendered import Prerendered
from depthweave.training.sample import RawPair, RawView
from depthweave.training.teacher import find_map, read_map
from depthweave.worlds import Match, PairBatch, Recipe, Scene, Worlds

SPARSE_BENCHMARKS = ("kitti-2012", "kitti-2015")
"""Those whose truth is single points."""


@runtime_checkable
class Source(Protocol):
    """Pairs or samples of clips, by number. It can be pickled for loader processes."""

    @property
    def name(self) -> str:
        """For error sentences."""

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """Which pair (or place in a clip) a sample takes.

        Args:
            number: of the sample in the run.
            rng: the sample's own.
        """

    def raw(self, index: int) -> RawPair | RawClip:
        """A pair or a few frames, at the price of reading or rendering it.

        Raises:
            DepthweaveError: it cannot be read or rendered.
        """

    def facts(self) -> dict[str, Any]:
        """What decides on the pairs, in plain values."""


class PrerenderedSource:
    """Pairs of a folder that `prerender` made.

    Args:
        folder: its path.
        count: the first so many; None = all that are finished now. Give it if the folder still grows and a run must be
            resumed exactly.
    """

    def __init__(self, folder: str | Path, count: int | None = None) -> None:
        self.pairs = Prerendered(folder, count)

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.pairs.folder)

    def __len__(self) -> int:
        return len(self.pairs)

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """Any of them, whatever the number."""
        return int(rng.integers(len(self.pairs)))

    def raw(self, index: int) -> RawPair:
        """Maps of the files; nothing is read yet."""
        return self.pairs[index]

    def facts(self) -> dict[str, Any]:
        """What the folder holds."""
        return {"kind": "prerendered", "pairs": len(self.pairs), "facts": self.pairs.facts}


class WorldsSource:
    """Pairs that are rendered when they are asked for; sample 7 of a run takes scene 7, so that textures are shared.

    Args:
        worlds: what to render.
    """

    def __init__(self, worlds: Worlds) -> None:
        self.worlds = worlds

    @property
    def name(self) -> str:
        """With the seed."""
        return f"worlds of seed {self.worlds.seed}"

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """The scene of that number."""
        return number

    def raw(self, index: int) -> RawPair:
        """Rendered on the CPU."""
        return self.rendered([self.describe(index)], "cpu")[0]

    def describe(self, index: int) -> Scene:
        """The scene, for `rendered`."""
        return self.worlds.scene(index)

    def rendered(self, scenes: Sequence[Scene], device: str) -> list[RawPair]:
        """Several pairs at once, on a device, where they stay."""
        batch: PairBatch = self.worlds.render(scenes, device=device)
        return [RawPair.rendered(batch[place]) for place in range(len(batch))]

    def facts(self) -> dict[str, Any]:
        """Those of the worlds."""
        return {"kind": "worlds", **self.worlds.facts()}


class BenchmarkSource:
    """The pairs of a benchmark that have truth.

    Args:
        benchmark: name as in `depthweave.data.BENCHMARKS`.
        root: its folder.
        sparse: whether the truth is single points; None = as is known of the benchmark.
        options: of its reader, such as `{"split": "training"}`.
        teacher: folder with a monocular map for every left picture, see `teacher.find_map`; None = no teacher.

    Confidences of truth in the layout of the `folder` reader, `confidence/<key>.png` with 255 for 1, are taken where
    they are there.

    Raises:
        UnknownBenchmark, WrongInput: as `open_benchmark`.
        WrongFile: as `open_benchmark`, no pair has truth, or a pair has no map of the teacher.
    """

    def __init__(
        self,
        benchmark: str,
        root: str | Path,
        *,
        sparse: bool | None = None,
        options: dict[str, Any] | None = None,
        teacher: str | Path | None = None,
    ) -> None:
        self.benchmark = benchmark
        self.sparse = benchmark in SPARSE_BENCHMARKS if sparse is None else sparse
        self.options = options or {}
        self.items: list[StereoItem] = [
            item for item in open_benchmark(benchmark, root, **self.options) if item.has_truth
        ]
        if not self.items:
            raise WrongFile(
                f"{root} has pairs of {benchmark} but no truth to learn from; add it or take another split."
            )
        self._root = Path(root)
        self._teachers = None if teacher is None else [find_map(teacher, item.key) for item in self.items]

    @property
    def name(self) -> str:
        """The benchmark and its folder."""
        return f"{self.benchmark} in {self._root}"

    def __len__(self) -> int:
        return len(self.items)

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """Any of them, whatever the number."""
        return int(rng.integers(len(self.items)))

    def raw(self, index: int) -> RawPair:
        """Pictures, all truth that the benchmark has of both views, and what a teacher says of the left one."""
        item = self.items[index]
        pair, truth = item.read_pair(), item.read_truth()
        left, right = (torch.from_numpy(images.image_from_tensor(image)) for image in (pair.left, pair.right))
        if truth.disparity.shape != left.shape[:2]:
            raise WrongFile(
                f"the truth of {item.left} is {truth.disparity.shape[1]}x{truth.disparity.shape[0]} px but the picture "
                f"is {left.shape[1]}x{left.shape[0]} px; get both again."
            )
        visible = truth.regions.get("visible")
        # Where no region "all" is there, the truth ends at what both cameras see, and so says nothing of the rest.
        match = None
        if visible is not None and "all" in truth.regions:
            match = torch.where(visible, int(Match.MATCHED), int(Match.OCCLUDED)).to(torch.uint8)
        right_view = RawView(right)
        if truth.right_disparity is not None:
            right_view = RawView(right, truth.right_disparity.float(), truth.right_valid)
        size = (left.shape[0], left.shape[1])
        confidence = self._confidence(item, size)
        if confidence is not None and truth.right_disparity is not None and truth.right_valid is not None:
            seen = _seen_from_right(confidence, truth.right_disparity, truth.right_valid)
            right_view = replace(right_view, confidence=seen)
        teacher = None if self._teachers is None else read_map(self._teachers[index], size)
        left_view = RawView(left, truth.disparity.float(), truth.valid, match, teacher, confidence)
        return RawPair(left_view, right_view, self.sparse)

    def _confidence(self, item: StereoItem, size: tuple[int, int]) -> Float32[Tensor, "h w"] | None:
        path = self._root / "confidence" / f"{item.key}.png"
        if self.benchmark != "folder" or not path.is_file():
            return None
        codes = io.read_image(path)
        if codes.dtype != np.uint8 or codes.shape != size:
            raise WrongFile(f"{path} is no grey picture of 8 bit and {size[1]}x{size[0]} px; write it again.")
        return torch.from_numpy(codes).float() / 255

    def facts(self) -> dict[str, Any]:
        """The benchmark, its options, how many pairs, and whether they have a teacher."""
        return {
            "kind": self.benchmark,
            "options": self.options,
            "pairs": len(self.items),
            "sparse": self.sparse,
            **({} if self._teachers is None else {"teacher": True}),
        }


class PairsSource:
    """The pairs of a folder, whether they have truth or not; truth is never read.

    Args:
        root: the folder.
        options: of its reader; `reader` names another one than `folder`.

    Raises:
        UnknownBenchmark, WrongInput, WrongFile: as `open_benchmark`.
    """

    def __init__(self, root: str | Path, options: dict[str, Any] | None = None) -> None:
        self.options = options or {}
        self._root = Path(root)
        self._reader = str(self.options.get("reader", "folder"))
        chosen = {name: value for name, value in self.options.items() if name != "reader"}
        self.items: list[StereoItem] = open_benchmark(self._reader, root, **chosen)

    @property
    def name(self) -> str:
        """The folder."""
        return f"pairs in {self._root}"

    def __len__(self) -> int:
        return len(self.items)

    def choose(self, number: int, rng: np.random.Generator) -> int:
        """Any of them, whatever the number."""
        return int(rng.integers(len(self.items)))

    def raw(self, index: int) -> RawPair:
        """The two pictures."""
        pair = self.items[index].read_pair()
        left, right = (torch.from_numpy(images.image_from_tensor(image)) for image in (pair.left, pair.right))
        return RawPair(RawView(left), RawView(right))

    def facts(self) -> dict[str, Any]:
        """The reader, its options, and how many pairs."""
        return {"kind": "pairs", "options": self.options, "pairs": len(self.items)}


def _seen_from_right(
    confidence: Float32[Tensor, "h w"], right_disparity: Float[Tensor, "h w"], right_valid: Bool[Tensor, "h w"]
) -> Float32[Tensor, "h w"]:
    """The confidence of the left pixel that shows the same point; 0 where there is none."""
    width = confidence.shape[1]
    x = torch.where(right_valid, torch.arange(width) + right_disparity, -1.0).round()
    inside = (x >= 0) & (x < width)
    return torch.where(inside, confidence.gather(1, x.long().clamp(0, width - 1)), 0.0)


def open_source(
    kind: str,
    path: str | Path = "",
    *,
    seed: int = 0,
    size: tuple[int, int] = (384, 768),
    count: int | None = None,
    sparse: bool | None = None,
    options: dict[str, Any] | None = None,
    teacher: str | Path | None = None,
) -> Source:
    """A source by the name of its kind.

    Args:
        kind: `prerendered`, `worlds`, `pairs`, `clips`, or a name of `depthweave.data.BENCHMARKS` or `CLIP_BENCHMARKS`.
        path: its folder; of worlds a recipe file, or nothing for the default recipe.
        seed: of worlds.
        size: of worlds: height and width of the pictures in px; clips are resized to it.
        count: of a prerendered folder or of clips: use the first so many.
        sparse: of a benchmark: whether its truth is single points.
        options: of a benchmark's reader; of clips also `frames`, `step` and `stereo` of `ClipSource`.
        teacher: of a benchmark: folder of monocular maps.

    Raises:
        WrongInput: no such kind.
        WrongFile: the path does not hold what it should.
    """
    if kind == "prerendered":
        return PrerenderedSource(path, count)
    if kind == "worlds":
        recipe = Recipe.read(path) if str(path) not in ("", ".") else Recipe()
        return WorldsSource(Worlds(recipe, seed=seed, height=size[0], width=size[1]))
    if kind == "pairs":
        return PairsSource(path, options)
    if opens_clips(kind):
        return ClipSource(kind, path, size=size, count=count, **clip_options(options or {}))
    if kind in BENCHMARKS:
        return BenchmarkSource(kind, path, sparse=sparse, options=options, teacher=teacher)
    known = ("prerendered", "worlds", "pairs", *BENCHMARKS, CLIPS, *CLIP_BENCHMARKS)
    raise WrongInput(f"there is no source of kind {kind!r}; take {', '.join(known)}.")
