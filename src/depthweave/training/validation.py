"""Measuring while training: any benchmark's pairs, with the official metrics."""

import math
import statistics

from depthweave.data import open_benchmark
from depthweave.errors import WrongInput
from depthweave.metrics import Measurement, disparity_metrics
from depthweave.models.pretrained import PretrainedNetwork
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.training.recipe import ValidationRecipe


class Validation:
    """A fixed set of pairs.

    Attributes:
        name: of the set.

    Raises:
        WrongInput: no pairs, or pairs without truth.
        WrongFile: the folder is not what its reader expects.
    """

    def __init__(self, recipe: ValidationRecipe) -> None:
        self.name = recipe.name
        self._recipe = recipe
        items = open_benchmark(recipe.reader, recipe.root, **recipe.options)[:: recipe.every]
        self._items = items[: recipe.limit] if recipe.limit else items
        if not self._items or not all(item.has_truth for item in self._items):
            raise WrongInput(f"[[validation]] {recipe.name}: {recipe.root} holds no pairs with ground truth.")

    def measure(self, network: PretrainedNetwork) -> dict[str, Measurement]:
        """Means over the pairs of their metrics, on visible pixels where the set knows them, else on all that is known.

        Args:
            network: is left in evaluation mode.
        """
        device = str(next(network.parameters()).device)
        matcher = StereoMatcher(network, check=False, device=device, scale=float(self._recipe.scale))
        measured: dict[str, list[Measurement]] = {name: [] for name in self._recipe.metrics}
        for item in self._items:
            pair, truth = item.read_pair(), item.read_truth()
            region = truth.regions.get("visible", truth.valid)
            found = matcher(pair).values
            for name, value in disparity_metrics(found, truth.disparity, region, self._recipe.metrics).items():
                measured[name].append(value)
        return {name: _mean(values) for name, values in measured.items()}


def _mean(values: list[Measurement]) -> Measurement:
    """Of the pairs in which there was something to measure; NaN where that is none."""
    found = [value for value, count in values if count]
    return Measurement(statistics.fmean(found) if found else math.nan, sum(count for _, count in values))
