"""The learning rate as a function of the step, so that a resumed run needs to remember nothing."""

import math

from depthweave.training.recipe import TrainingRecipe


def learning_rate(step: int, recipe: TrainingRecipe) -> float:
    """The rate of one update of the weights.

    With N steps, a warm-up of the share w and p = max(w N - 1, 0), the rate rises along a line from ``start`` at step 0
    to the whole at step p. From there to step N - 1, with u from 0 to 1,

        one-cycle: 1 + (final - 1) u            cosine: final + (1 - final) (1 + cos(pi u)) / 2            constant: 1

    times ``optimizer.lr``. One-cycle is torch's `OneCycleLR` with ``anneal_strategy="linear"``, ``pct_start=w``,
    ``div_factor=1/start`` and ``final_div_factor=start/final`` (Smith and Topin, arXiv:1708.07120); cosine is
    Loshchilov and Hutter, ICLR 2017, equation 5, without restarts.

    Args:
        step: updates before this one; beyond the last one the rate stays.
        recipe: its tables optimizer, schedule and run.
    """
    schedule, last = recipe.schedule, recipe.run.steps - 1
    peak = max(schedule.warm_up * recipe.run.steps - 1, 0)
    if step < peak:
        return recipe.optimizer.lr * (schedule.start + (1 - schedule.start) * step / peak)
    done = min((step - peak) / (last - peak), 1) if last > peak else 1
    match schedule.kind:
        case "one-cycle":
            share = 1 + (schedule.final - 1) * done
        case "cosine":
            share = schedule.final + (1 - schedule.final) * (1 + math.cos(math.pi * done)) / 2
        case "constant":
            share = 1
    return recipe.optimizer.lr * share
