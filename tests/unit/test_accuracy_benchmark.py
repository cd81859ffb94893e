"""What `benchmarks/accuracy.py` computes itself: the order by confidence, shares of valid pixels, its command line."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from depthweave.data import StereoTruth
from depthweave.types import DisparityMap

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "accuracy.py"


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accuracy", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_area_under_the_sparsification_error(accuracy: ModuleType) -> None:
    # 20 pixels, 5 of them bad; each of the 20 steps takes one away.
    error = torch.cat([torch.full((5,), 3.0), torch.linspace(0, 2, 15)])
    best = [max(0, count - 15) / count for count in range(1, 21)]
    worst = [min(5, count) / count for count in range(1, 21)]
    assert accuracy.sparsification_error(error, -error) == pytest.approx(0)
    assert accuracy.sparsification_error(error, error) == pytest.approx(5 * (sum(worst) - sum(best)))
    # No order at all: 5 of 20 on average.
    areas = [accuracy.sparsification_error(error.repeat(n), torch.zeros(20 * n)) for n in (500,)]
    assert areas[0] == pytest.approx(25 - 5 * sum(best), abs=1)


def test_shares_count_pixels_with_truth(accuracy: ModuleType) -> None:
    values = torch.tensor([[1.0, 5.0, 9.0, 9.0]])
    valid = torch.tensor([[True, True, False, True]])
    known = torch.tensor([[True, True, True, False]])
    truth = StereoTruth(torch.ones(1, 4), known, {"all": known})
    assert accuracy.judge(DisparityMap(values, valid), truth) == (3, 2, 1, None)
    rated = DisparityMap(values, valid, torch.tensor([[0.9, 0.8, 0.0, 0.0]]))
    assert accuracy.judge(rated, truth)[3] == pytest.approx(0)


def test_models_and_sets_of_the_command_line(accuracy: ModuleType) -> None:
    found = accuracy.contender("depthweave-s:scale=0.75,consistency=True")
    assert (found.name, found.options) == ("depthweave-s", {"scale": 0.75, "consistency": True})
    assert accuracy.contender("sgm").options == {}
    data = accuracy.data_set("middlebury-v3=some/where,resolution=Q")
    assert (data.benchmark, data.root, data.options) == ("middlebury-v3", "some/where", {"resolution": "Q"})
    with pytest.raises(SystemExit, match="BENCHMARK=ROOT"):
        accuracy.data_set("middlebury-v3")
