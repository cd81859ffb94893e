"""Samples by number, and batches of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from depthweave.errors import DepthweaveError, WrongFile, WrongInput
from depthweave.training.augment import Augment
from depthweave.training.mixture import Mixture, _jobs, _rendered_here, batches
from depthweave.training.prerendered import prerender
from depthweave.training.sample import RawPair, RawView, TrainingPair
from depthweave.training.sources import PrerenderedSource, WorldsSource
from depthweave.worlds import Worlds

CROP = (24, 32)
AUGMENT = Augment(erase_px=(4, 8), noise=1, blur=1)


class Made:
    """Pairs of one colour each, which tells them apart; cheap."""

    def __init__(self, color: int, pairs: int = 5, broken: int = -1, error: type[Exception] = WrongFile) -> None:
        self.color, self.pairs, self.broken, self.error = color, pairs, broken, error

    @property
    def name(self) -> str:
        return f"made {self.color}"

    def choose(self, number: int, rng: np.random.Generator) -> int:
        return int(rng.integers(self.pairs))

    def raw(self, index: int) -> RawPair:
        if index == self.broken:
            raise self.error("bad pixels")
        texture = torch.randint(0, 256, (40, 48, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(index))
        texture[..., 0] = self.color
        view = RawView(texture, torch.full((40, 48), float(index)))
        return RawPair(view, RawView(texture.flip(0)))

    def facts(self) -> dict[str, Any]:
        return {"kind": "made", "color": self.color}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("mixture") / "pairs"
    prerender(Worlds(height=32, width=48, pool=6), place, count=2)
    return place


@pytest.fixture(scope="module")
def mixture(folder: Path) -> Mixture:
    sources = [Made(10), PrerenderedSource(folder), WorldsSource(Worlds(height=32, width=48, pool=6))]
    return Mixture(sources, [2, 2, 1], augment=AUGMENT, crop=CROP, seed=5)


def assert_equal(first: TrainingPair, second: TrainingPair) -> None:
    for side in ("left", "right"):
        mine, other = (getattr(pair, side).tensors() for pair in (first, second))
        assert mine.keys() == other.keys()
        for name, tensor in mine.items():
            assert torch.equal(tensor, other[name]), f"{side}.{name}"


def test_the_number_decides_on_everything(mixture: Mixture) -> None:
    before = torch.random.get_rng_state()
    first = [mixture[number] for number in (3, 4, 5)]
    again = [mixture[number] for number in (5, 4, 3)]
    for one, other in zip(first, reversed(again), strict=True):
        assert_equal(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(first[0].left.image, first[1].left.image)
    other_seed = Mixture(mixture.sources, [2, 2, 1], augment=AUGMENT, crop=CROP, seed=6)
    assert not torch.equal(other_seed[3].left.image, first[0].left.image)


def test_weights_are_shares_of_the_draws() -> None:
    mixed = Mixture([Made(0), Made(1), Made(2), Made(3)], [1, 0, 6, 3], seed=1)
    counts = np.bincount([mixed.draw(number).source for number in range(2000)], minlength=4) / 2000
    assert counts[1] == 0
    assert np.abs(counts - [0.1, 0, 0.6, 0.3]).max() < 0.03
    pairs = np.bincount([mixed.draw(number).pair for number in range(2000)], minlength=5) / 2000
    assert np.abs(pairs - 0.2).max() < 0.03
    assert {Mixture([Made(0), Made(1)]).draw(number).source for number in range(20)} == {0, 1}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(mixture: Mixture, workers: int) -> None:
    alone = list(batches(mixture, batch=2, start=3, steps=4))
    assert [len(batch) for batch in alone] == [2] * 4
    assert alone[0].left.image.shape == (2, 3, *CROP)
    for step, batch in enumerate(alone):
        assert_equal(batch, TrainingPair.stack([mixture[3 + 2 * step], mixture[4 + 2 * step]]))
    shared = list(batches(mixture, batch=2, start=3, steps=4, workers=workers))
    for one, other in zip(alone, shared, strict=True):
        assert_equal(one, other)


def test_the_number_of_threads_changes_nothing(mixture: Mixture) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = [mixture[number] for number in range(6)]
        torch.set_num_threads(3)
        several = [mixture[number] for number in range(6)]
    finally:
        torch.set_num_threads(before)
    for first, second in zip(one, several, strict=True):
        assert_equal(first, second)


@pytest.mark.parametrize("start", [0, 5])
def test_ranks_share_every_batch(start: int) -> None:
    mixed = Mixture([Made(0)], augment=Augment.off(), crop=CROP)
    whole = list(batches(mixed, batch=6, start=start, steps=2))
    jobs = [list(_jobs(6, start, 2, rank, 3)) for rank in range(3)]
    for step in range(2):
        mine = [job[step] for job in jobs]
        assert [len(numbers) for numbers in mine] == [2, 2, 2]
        assert sorted(number for numbers in mine for number in numbers) == list(
            range(start + 6 * step, start + 6 * step + 6)
        )
        assert all(number % 3 == rank for rank, numbers in enumerate(mine) for number in numbers)
    for rank in range(3):
        for step, batch in enumerate(batches(mixed, batch=6, start=start, steps=2, rank=rank, ranks=3)):
            places = [number - start - 6 * step for number in jobs[rank][step]]
            assert torch.equal(batch.left.image, whole[step].left.image[places])


def test_a_stream_has_no_end_and_takes_nothing_twice() -> None:
    stream = batches(Mixture([Made(0)], augment=Augment.off(), crop=CROP), batch=1)
    taken = [next(stream).left.image for _ in range(30)]
    assert len({image.numpy().tobytes() for image in taken}) > 25


@pytest.mark.parametrize("workers", [0, 2])
def test_worlds_for_an_accelerator_are_rendered_here_and_come_out_the_same(mixture: Mixture, workers: int) -> None:
    expected = list(batches(mixture, batch=3, steps=3))
    assert any(mixture.draw(number).source == 2 for number in range(9))
    jobs = _jobs(3, 0, 3, 0, 1)
    found = list(_rendered_here(mixture, jobs, workers, torch.device("cpu")))
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sample_that_fails_is_named(workers: int) -> None:
    for error, kind, said in ((WrongFile, WrongFile, "bad pixels"), (KeyError, DepthweaveError, "KeyError: 'bad")):
        mixed = Mixture([Made(7, pairs=1, broken=0, error=error)], crop=CROP)
        with pytest.raises(kind, match=rf"^sample 4 \(pair 0 of made 7\) failed: {said}"):
            next(batches(mixed, batch=1, start=4, workers=workers))


def test_pairs_smaller_than_the_crop_and_with_or_without_truth_make_one_batch(folder: Path) -> None:
    mixed = Mixture(
        [Made(0), PrerenderedSource(folder)], augment=Augment.off(), crop=(64, 96), seed=2, right_truth=True
    )
    batch = next(batches(mixed, batch=8, steps=1))
    assert batch.left.image.shape == (8, 3, 64, 96)
    rendered = torch.tensor([mixed.draw(number).source == 1 for number in range(8)])
    assert torch.equal(batch.has_visibility, rendered)
    assert torch.equal(batch.right.known.flatten(1).any(1), rendered)
    assert 0 < int(rendered.sum()) < 8


def test_facts_say_what_decides() -> None:
    one, other = (Mixture([Made(0), Made(1)], weights, crop=CROP) for weights in ([1, 1], [1, 2]))
    assert one.facts() == Mixture([Made(0), Made(1)], [2, 2], crop=CROP).facts()
    assert one.facts() != other.facts()
    assert one.facts()["sources"][1] == {"kind": "made", "color": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sources": []}, "needs a weight"),
        ({"weights": [1, 2]}, "needs a weight"),
        ({"weights": [0]}, "not positive"),
        ({"weights": [-1]}, "not positive"),
        ({"weights": [float("nan")]}, "not positive"),
        ({"crop": (0, 32)}, "at least 1x1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_mixtures_that_cannot_be(change: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongInput, match=said):
        Mixture(**{"sources": [Made(0)], **change})


@pytest.mark.parametrize(
    "change", [{"batch": 0}, {"batch": 3, "ranks": 2}, {"rank": 2, "ranks": 2}, {"start": -1}, {"workers": -1}]
)
def test_batches_that_cannot_be(change: dict[str, int]) -> None:
    with pytest.raises(WrongInput):
        batches(Mixture([Made(0)]), **{"batch": 2, **change})
