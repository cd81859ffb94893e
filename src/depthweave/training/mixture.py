"""Training samples by number from a weighted mixture of sources, and batches of them.

The number of a sample, with the seed of the run, decides on everything: source, pair and augmentation. So a run goes
on exactly where it stopped if it knows how many samples it has taken, whatever the number of loader processes.
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from depthweave.errors import DepthweaveError, WrongInput
from depthweave.training.augment import Augment, augment
from depthweave.training.clips import RawClip, TrainingClip, augment_clip
from depthweave.training.sample import RawPair, TrainingPair
from depthweave.training.sources import Source, WorldsSource
from depthweave.worlds.scene import Scene
from depthweave.worlds.workers import run_in_workers

Sample = TrainingPair | TrainingClip
"""What sources give after augmentation: pairs, or frames of clips."""
Batch = Sample
"""Many of one kind, with a leading dimension."""


class Draw(NamedTuple):
    """What a sample's number decides: place of the source in the mixture, number of the pair, and the rest to come."""

    source: int
    pair: int
    rng: np.random.Generator


class Mixture:
    """Training samples by number, without end: `mixture[7]` is always the same crop of the same pair.

    Args:
        sources: where pairs come from.
        weights: of the sources, as a rule 1 for each.
        augment: what is done to the pairs.
        crop: height and width of the samples in px.
        seed: of the run.
        right_truth: give the truth of right views, too, where there is some.

    Raises:
        WrongInput: no sources, weights that cannot be, or a crop without pixels.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        weights: Sequence[float | int] | None = None,
        *,
        augment: Augment = Augment(),  # noqa: B008 - frozen
        crop: tuple[int, int] = (192, 384),
        seed: int = 0,
        right_truth: bool = False,
    ) -> None:
        shares = np.ones(len(sources)) if weights is None else np.array(weights, np.float64)
        if not sources or len(shares) != len(sources):
            raise WrongInput(f"a mixture needs a weight for each source, not {len(shares)} for {len(sources)} sources.")
        if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() == 0:
            raise WrongInput(f"weights {shares.tolist()} of a mixture are not positive; give at least one above 0.")
        if min(crop) < 1 or seed < 0:
            raise WrongInput(f"crop {crop[1]}x{crop[0]} px and seed {seed} must be at least 1x1 and 0.")
        self.sources = tuple(sources)
        self.augment = augment
        self.crop = crop
        self.seed = seed
        self.right_truth = right_truth
        self._bounds = np.cumsum(shares / shares.sum())

    def draw(self, number: int) -> Draw:
        """What a sample is made of; no pixel is read.

        Args:
            number: of the sample, from 0.
        """
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, number)))
        # The last bound is 1 but for its rounding; a source of weight 0 has no room between two bounds.
        source = int(np.searchsorted(self._bounds, rng.random() * self._bounds[-1], side="right"))
        return Draw(source, self.sources[source].choose(number, rng), rng)

    def __getitem__(self, number: int) -> Sample:
        """A sample.

        Raises:
            DepthweaveError: of the kind that the source raised; names the source, the pair and the sample.
        """
        draw = self.draw(number)
        with self._naming(number, draw):
            return self.finish(self.sources[draw.source].raw(draw.pair), draw)

    def finish(self, raw: RawPair | RawClip, draw: Draw) -> Sample:
        """A sample of what `draw` has named, on its device. Uses up the draw's `rng`."""
        if isinstance(raw, RawClip):
            return augment_clip(raw, self.augment, draw.rng, self.crop)
        return augment(raw, self.augment, draw.rng, self.crop, right_truth=self.right_truth)

    def facts(self) -> dict[str, Any]:
        """What decides on every sample, in plain values; runs with other facts cannot resume each other."""
        return {
            "sources": [source.facts() for source in self.sources],
            "bounds": self._bounds.tolist(),
            "crop": list(self.crop),
            "seed": self.seed,
        }

    @contextmanager
    def _naming(self, number: int, draw: Draw) -> Iterator[None]:
        where = f"sample {number} (pair {draw.pair} of {self.sources[draw.source].name}) failed"
        try:
            yield
        except DepthweaveError as error:
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:
            raise DepthweaveError(f"{where}: {type(error).__name__}: {error}") from error


def batches(
    mixture: Mixture,
    *,
    batch: int,
    start: int = 0,
    steps: int | None = None,
    workers: int = 0,
    rank: int = 0,
    ranks: int = 1,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Batches of samples in the order of their numbers; workers change nothing but the time.

    Batch i holds the samples from start + i * batch on. Of those a process takes every one whose number leaves `rank`
    when divided by `ranks`. Worlds are rendered on an accelerator in this process, in whole batches, while the workers
    describe the scenes; their pixels may differ in the last bit from those of the CPU.

    Args:
        mixture: the samples.
        batch: pairs over all processes.
        start: number of the first sample.
        steps: how many batches, None = without end.
        workers: loader processes with one thread each; 0 = this process.
        rank, ranks: which process of how many this is.
        device: where the batches go.

    Raises:
        WrongInput: a batch that cannot be shared evenly, or numbers that cannot be.
        DepthweaveError: a sample failed; names it.
    """
    if batch < 1 or start < 0 or workers < 0 or not 0 <= rank < ranks:
        raise WrongInput(
            f"batch {batch}, start {start}, workers {workers} and rank {rank} of {ranks} must be at least 1, 0, 0 and "
            "one of the ranks from 0 on."
        )
    if batch % ranks:
        raise WrongInput(f"a batch of {batch} cannot be shared by {ranks} processes; take a multiple of {ranks}.")
    return _batches(mixture, _jobs(batch, start, steps, rank, ranks), workers, torch.device(device))


def _batches(mixture: Mixture, jobs: Iterator[list[int]], workers: int, device: torch.device) -> Iterator[Batch]:
    if device.type != "cpu" and any(isinstance(source, WorldsSource) for source in mixture.sources):
        yield from _rendered_here(mixture, jobs, workers, device)
        return
    for stacked in run_in_workers(partial(_stacked, mixture), jobs, workers):
        yield stacked.to(device)


def _jobs(batch: int, start: int, steps: int | None, rank: int, ranks: int) -> Iterator[list[int]]:
    step = 0
    while steps is None or step < steps:
        first = start + step * batch
        yield [number for number in range(first, first + batch) if number % ranks == rank]
        step += 1


def _stacked(mixture: Mixture, numbers: Sequence[int]) -> Batch:
    return _batch([mixture[number] for number in numbers])


def _batch(samples: Sequence[Sample]) -> Batch:
    clips = [sample for sample in samples if isinstance(sample, TrainingClip)]
    pairs = [sample for sample in samples if isinstance(sample, TrainingPair)]
    if clips and pairs:
        raise WrongInput("a batch holds pairs and clips; give sources of one kind only.")
    return TrainingClip.stack(clips) if clips else TrainingPair.stack(pairs)


def _rendered_here(mixture: Mixture, jobs: Iterator[list[int]], workers: int, device: torch.device) -> Iterator[Batch]:
    """Batches whose worlds this process renders on a device."""
    for numbers, others, packed in run_in_workers(partial(_described, mixture), jobs, workers):
        scenes: Mapping[int, Scene] = pickle.loads(packed)
        draws = {number: mixture.draw(number) for number in scenes}
        samples: dict[int, Sample] = {}
        for place in sorted({draw.source for draw in draws.values()}):
            source, mine = mixture.sources[place], [number for number in scenes if draws[number].source == place]
            assert isinstance(source, WorldsSource)
            raws = source.rendered([scenes[number] for number in mine], str(device))
            samples |= {number: mixture.finish(raw, draws[number]) for number, raw in zip(mine, raws, strict=True)}
        samples |= {number: pair.to(device) for number, pair in others.items()}
        yield _batch([samples[number] for number in numbers])


def _described(mixture: Mixture, numbers: Sequence[int]) -> tuple[Sequence[int], dict[int, Sample], bytes]:
    """Finished samples of all but the worlds, and the scenes of these as bytes."""
    others, scenes = {}, {}
    for number in numbers:
        draw = mixture.draw(number)
        source = mixture.sources[draw.source]
        if isinstance(source, WorldsSource):
            with mixture._naming(number, draw):
                scenes[number] = source.describe(draw.pair)
        else:
            others[number] = mixture[number]
    return numbers, others, pickle.dumps(scenes)
