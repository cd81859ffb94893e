"""Endless pairs and clips by number, rendered where they are needed: same seed and number, same pixels."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from depthweave import runtime
from depthweave.errors import SceneFailed, WrongInput, sentence_of
from depthweave.types.pair import SMALLEST_SIDE_PX
from depthweave.worlds.compose import compose
from depthweave.worlds.materials import Textures, photographs
from depthweave.worlds.recipe import Recipe
from depthweave.worlds.render import render_clip, render_pairs
from depthweave.worlds.scene import Scene
from depthweave.worlds.views import PairBatch, RenderedClip, RenderedPair, View
from depthweave.worlds.workers import run_in_workers


class Worlds(Dataset[RenderedPair]):
    """Pairs (and clips) of scenes that a recipe describes, by number: `worlds[7]` is always the same pair.

    Textures come from a pool that slides: scene `index` uses the numbers from int(index * refresh) on, `pool` of them.
    So tiles are shared by neighbours, and all are replaced in the long run. Go through the numbers in order: jumps make
    tiles anew.

    Args:
        recipe: distributions.
        seed: of everything that is drawn.
        height, width: of the pictures in px.
        pool: textures at hand at a time; one takes 0.35 MB.
        refresh: new textures per scene.
        photos: folder of photographs to make textures of.
        photo_share: part of the textures, in [0, 1], that are cut out of photographs if there are any.
        length: where iteration over the data set ends.

    Raises:
        WrongInput: a size that is too small, or a pool or refresh that is not usable.
        WrongFile: no photographs there.
    """

    def __init__(
        self,
        recipe: Recipe = Recipe(),  # noqa: B008 - frozen
        *,
        seed: int = 0,
        height: int = 384,
        width: int = 768,
        pool: int = 384,
        refresh: float | int = 0.15,
        photos: str | Path | None = None,
        photo_share: float | int = 0.3,
        length: int = 1_000_000,
    ) -> None:
        if min(height, width) < SMALLEST_SIDE_PX:
            raise WrongInput(f"pictures of {width}x{height} px are too small; take at least {SMALLEST_SIDE_PX} px.")
        if seed < 0 or pool < 1 or refresh < 0:
            raise WrongInput(f"seed {seed}, pool {pool} and refresh {refresh} must be at least 0, 1 and 0.")
        self.recipe = recipe
        self.seed = seed
        self.height, self.width = height, width
        self.pool, self.refresh = pool, refresh
        self.photos = None if photos is None else Path(photos)
        self.photo_share = 0.0 if photos is None else float(photo_share)
        self.length = length
        self._textures: dict[str, Textures] = {}
        if self.photos is not None:
            photographs(self.photos)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> RenderedPair:
        if not 0 <= index < self.length:
            raise IndexError(f"pair {index} of {self.length}")
        return self.batch([index])[0]

    def __getstate__(self) -> dict[str, Any]:
        """Other processes make textures of their own."""
        return {**self.__dict__, "_textures": {}}

    def facts(self) -> dict[str, Any]:
        """What decides on every pixel, in plain values."""
        return {
            "recipe": self.recipe.to_toml(),
            "seed": self.seed,
            "width": self.width,
            "height": self.height,
            "pool": self.pool,
            "refresh": self.refresh,
            "photos": None if self.photos is None else str(self.photos.resolve()),
            "photo_share": self.photo_share,
        }

    def scene(self, index: int, *, duration_s: float | int | None = None) -> Scene:
        """The description of a scene.

        Args:
            index: its number.
            duration_s: seconds during which camera and things move; None = nothing does.

        Raises:
            SceneFailed: it cannot be drawn; names the number.
        """
        first = int(index * self.refresh)
        # Wide seeds from a hash: seeds and numbers that are close must not give scenes that are alike.
        mixed = int(np.random.SeedSequence((self.seed, index)).generate_state(1, np.uint64)[0]) >> 24
        with self._naming(f"{index:06d}"):
            scene = compose(
                mixed,
                self.recipe,
                height=self.height,
                width=self.width,
                motion=duration_s is not None,
                textures=range(first, first + self.pool),
                **({} if duration_s is None else {"duration_s": duration_s}),
            )
        return replace(scene, name=f"{index:06d}")

    def batch(self, indices: Sequence[int], *, device: str = "cpu") -> PairBatch:
        """Several pairs at once.

        Args:
            indices: their numbers, near one another.
            device: where to render; the pixels stay there.

        Raises:
            SceneFailed: names the numbers.
        """
        return self.render([self.scene(index) for index in indices], device=device)

    def render(self, scenes: Sequence[Scene], *, device: str = "cpu") -> PairBatch:
        """Pairs of scenes that `scene` described, with this data set's textures."""
        where = str(runtime.choose_device(device))
        try:
            with self._naming(", ".join(scene.name for scene in scenes)):
                return render_pairs(scenes, textures=self._textures_on(where), device=where)
        except SceneFailed:
            if len(scenes) > 1:  # one at a time they tell which it was
                for scene in scenes:
                    self.render([scene], device=device)
            raise

    def clip(self, index: int, *, frames: int = 16, fps: float | int = 10.0, device: str = "cpu") -> RenderedClip:
        """A scene in motion.

        Args:
            index: its number.
            frames: how many.
            fps: per second.
            device: where to render; the pixels stay there.

        Raises:
            SceneFailed: names the number.
        """
        scene = self.scene(index, duration_s=frames / fps)
        where = str(runtime.choose_device(device))
        with self._naming(scene.name):
            return render_clip(scene, frames=frames, fps=float(fps), textures=self._textures_on(where), device=where)

    def _textures_on(self, device: str) -> Textures:
        if device not in self._textures:
            self._textures[device] = Textures(
                self.seed,
                photos=self.photos,
                photo_share=self.photo_share,
                capacity=self.pool + max(self.pool // 4, 32),
                device=device,
            )
        return self._textures[device]

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            said = sentence_of(error)
            raise SceneFailed(f"scene {name} of seed {self.seed} failed: {said}") from error


class PairStream:
    """Batches of pairs for ever, or up to `count` pairs, in the order of their numbers.

    The sequence of pairs is the same whatever the batch size and the number of workers. On the CPU workers render; for
    an accelerator they describe the scenes, and this process renders whole batches there. Iterating again goes on where
    the last iteration stopped.

    Args:
        worlds: what to render.
        batch_size: pairs per batch; the last one may have fewer.
        device: auto, cpu, cuda, cuda:1 or mps.
        workers: processes with one thread each; 0 = render in this one.
        start: number of the first pair.
        count: pairs in all, None = without end.
    """

    def __init__(
        self,
        worlds: Worlds,
        *,
        batch_size: int = 4,
        device: str = "auto",
        workers: int = 0,
        start: int = 0,
        count: int | None = None,
    ) -> None:
        if batch_size < 1 or workers < 0 or start < 0:
            raise WrongInput(
                f"batch_size {batch_size}, workers {workers} and start {start} must be at least 1, 0 and 0."
            )
        self.worlds = worlds
        self.batch_size = batch_size
        self.device = runtime.choose_device(device)
        self.workers = workers
        self.stop = None if count is None else start + count
        self._next = start

    def __iter__(self) -> Iterator[PairBatch]:
        """Batches from the next number on.

        Raises:
            SceneFailed: names the number of the scene that failed, also if a worker rendered it.
        """
        for batch in self._batches():
            self._next += len(batch)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, in plain values: goes into a checkpoint."""
        return {"next": self._next, "worlds": self.worlds.facts()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the batch after the last one that was taken.

        Raises:
            WrongInput: the state of a stream of other worlds.
        """
        facts = self.worlds.facts()
        changed = [key for key, value in state["worlds"].items() if facts.get(key) != value]
        if changed:
            raise WrongInput(
                f"the state is of a stream with another {' and '.join(changed)}; make the same Worlds to resume, or "
                "start anew with start=."
            )
        self._next = int(state["next"])

    def _batches(self) -> Iterator[PairBatch]:
        jobs, worlds = self._jobs(), self.worlds
        if self.workers == 0:
            yield from (worlds.batch(indices, device=str(self.device)) for indices in jobs)
        elif self.device.type == "cpu":
            for views, packed in run_in_workers(partial(_render, worlds), jobs, self.workers):
                yield PairBatch(*views, *pickle.loads(packed))
        else:
            for packed in run_in_workers(partial(_describe, worlds), jobs, self.workers):
                yield worlds.render(pickle.loads(packed), device=str(self.device))

    def _jobs(self) -> Iterator[range]:
        first = self._next
        while self.stop is None or first < self.stop:
            last = first + self.batch_size if self.stop is None else min(first + self.batch_size, self.stop)
            yield range(first, last)
            first = last


# Each tensor that goes to another process costs an open file, so that cameras and scenes travel as bytes.


def _render(worlds: Worlds, indices: range) -> tuple[tuple[View, View], bytes]:
    batch = worlds.batch(indices)
    return (batch.left, batch.right), pickle.dumps((batch.cameras, batch.names))


def _describe(worlds: Worlds, indices: range) -> bytes:
    return pickle.dumps([worlds.scene(index) for index in indices])
