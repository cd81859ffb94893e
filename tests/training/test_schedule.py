"""Learning rates: torch's own schedule, and values by hand."""

import warnings

import pytest
import torch

from depthweave.training.recipe import OptimizerRecipe, RunRecipe, ScheduleRecipe, TrainingRecipe
from depthweave.training.schedule import learning_rate


def rates(schedule: ScheduleRecipe, steps: int, lr: float = 1.0) -> list[float]:
    recipe = TrainingRecipe(optimizer=OptimizerRecipe(lr=lr), schedule=schedule, run=RunRecipe(steps=steps))
    return [learning_rate(step, recipe) for step in range(steps)]


@pytest.mark.parametrize(("steps", "warm_up"), [(200, 0.01), (200, 0.3), (37, 0.25), (5, 0.5)])
def test_one_cycle_is_that_of_torch(steps: int, warm_up: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=2e-4,
        total_steps=steps,
        pct_start=warm_up,
        anneal_strategy="linear",
        cycle_momentum=False,
        div_factor=25,
        final_div_factor=1e4,
    )
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the optimizer makes no step here
        for _ in range(steps):
            expected.append(optimizer.param_groups[0]["lr"])
            if len(expected) < steps:
                scheduler.step()
    mine = rates(ScheduleRecipe("one-cycle", warm_up, 1 / 25, 1 / 25 / 1e4), steps, 2e-4)
    assert mine == pytest.approx(expected, rel=1e-9)


def test_cosine_by_hand() -> None:
    # Peak at 0.4 * 10 - 1 = 3, six steps down to step 9; halfway at 6.
    found = rates(ScheduleRecipe("cosine", warm_up=0.4, start=0.1, final=0.2), 10, lr=2.0)
    assert found[:4] == pytest.approx([0.2, 0.8, 1.4, 2.0])
    assert found[6] == pytest.approx(2 * (0.2 + 0.8 * 0.5))
    assert found[5] == pytest.approx(2 * (0.2 + 0.8 * 0.75))
    assert found[9] == pytest.approx(0.4)


def test_constant_by_hand() -> None:
    assert rates(ScheduleRecipe("constant", warm_up=0.3, start=0.5, final=0.0), 10) == pytest.approx(
        [0.5, 0.75] + [1] * 8
    )


@pytest.mark.parametrize("kind", ["one-cycle", "cosine"])
def test_without_warm_up_it_starts_at_the_top(kind: str) -> None:
    found = rates(ScheduleRecipe(kind, warm_up=0, final=0.25), 5)  # type: ignore[arg-type]
    assert found[0] == 1
    assert found[4] == pytest.approx(0.25)
    assert found == sorted(found, reverse=True)


def test_beyond_the_end_and_very_short() -> None:
    recipe = TrainingRecipe(
        optimizer=OptimizerRecipe(lr=1.0), schedule=ScheduleRecipe(final=0.3), run=RunRecipe(steps=4)
    )
    assert learning_rate(10, recipe) == pytest.approx(0.3)
    assert rates(ScheduleRecipe("cosine", final=0.3), 1) == pytest.approx([0.3])
    assert rates(ScheduleRecipe("cosine", warm_up=1.0, start=0.0), 3) == pytest.approx([0, 0.5, 1 * 0.01])
