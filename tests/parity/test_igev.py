"""IGEV-Stereo against outputs of the original, recorded under weights from names (see `fill`).

Some weights have a gain of their own (``mult`` in the recordings), or random ones give a volume that decides nothing.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import fill
import numpy as np
import pytest
import torch
from recordings import difference, read_recording, statistics, views
from torch import Tensor, nn

from depthweave.models.stereo.igev.config import IgevConfig
from depthweave.models.stereo.igev.convert import from_official, to_official
from depthweave.models.stereo.igev.network import IgevStereo

DATA = Path(__file__).parent / "data" / "igev"
CASES = sorted(path.stem for path in DATA.glob("*.npz"))
TOLERANCE = 1e-3
"""Measured: 2e-4 px at most; the original differs from itself by as much without oneDNN, at disparities of 100 px."""
INITIAL_TOLERANCE = 2e-3
"""Of the volume's disparity: 5e-4 px, and the original from itself 5e-4 px."""

INPUTS = {"volume": "corr_stem", "start": "update_block.encoder", "samples": "update_block.encoder"}
"""Recorded as they enter these modules for the first time; what the first and the last pass give is recorded, too."""
LAST = (
    "samples_last",
    *(f"update_block.{part}" for part in ("gru04", "gru08", "gru16", "disp_head", "mask_feat_4")),
    *("spx_2_gru", "spx_gru"),
)


def recorded(case: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return read_recording(DATA / f"{case}.npz")


def official_shapes() -> dict[str, list[int]]:
    found: dict[str, list[int]] = json.loads((DATA / "keys.json").read_text(encoding="utf-8"))
    return found


@cache
def network() -> IgevStereo:
    state = {name: fill.tensor_for(name, shape) for name, shape in official_shapes().items()}
    for name, factor in recorded(CASES[0])[1]["mult"].items():
        state[name] = factor * state[name]
    return IgevStereo.from_state(IgevConfig.standard(), state)


def watch(net: nn.Module, names: list[str]) -> tuple[dict[str, Tensor], list[Any]]:
    """Values under their recorded names, filled by the next pass; and the hooks."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: object, _inputs: object, output: Tensor) -> None:
            if name in LAST or name not in seen:
                seen[name] = output.detach().clone()

        return hook

    def enter(_module: object, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs) == 1:
            seen["volume"] = inputs[0].detach().clone()
        else:
            samples, disparity = (value.detach().clone() for value in inputs)
            seen.setdefault("samples", samples)
            seen.setdefault("start", disparity)
            seen["samples_last"] = samples

    def step(_module: object, inputs: tuple[Any, ...], output: tuple[Any, Tensor]) -> None:
        at = (inputs[3] + output[1]).detach()
        seen["low_disparity"] = torch.cat([seen["low_disparity"], at], 1) if "low_disparity" in seen else at

    entered = (*INPUTS, "samples_last")
    hooks = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names if name not in entered]
    hooks += [net.get_submodule(name).register_forward_pre_hook(enter) for name in sorted(set(INPUTS.values()))]
    return seen, [*hooks, net.get_submodule("update_block").register_forward_hook(step)]


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_value_is_the_originals(case: str) -> None:
    arrays, meta = recorded(case)
    net = network()
    seen, hooks = watch(net, list(meta["slices"]))
    # Gradients are on, or modules are not called and the hooks see nothing.
    initial, *steps = (found.detach() for found in net.predictions(*views(arrays), iterations=meta["iterations"]))
    for hook in hooks:
        hook.remove()
    assert len(steps) == meta["iterations"]
    assert difference(initial, arrays["initial"]) < INITIAL_TOLERANCE
    assert difference(steps[-1], arrays["disparity"]) < TOLERANCE
    assert difference(seen["low_disparity"], arrays["low_disparity"]) < TOLERANCE
    assert len(meta["slices"]) == 51
    for name, piece in meta["slices"].items():
        value = seen[name]
        assert list(value.shape) == piece["shape"], name
        rows = tuple(slice(None, None, step) for step in (1, *piece["step"]))
        wanted = arrays[f"stats/{name}"]
        assert difference(value[rows], arrays[f"slice/{name}"]) < TOLERANCE * max(0.1, wanted[1]), name
        np.testing.assert_allclose(statistics(value), wanted, rtol=1e-4, atol=1e-3 * wanted[1], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_inference_says_the_same(case: str) -> None:
    arrays, meta = recorded(case)
    with torch.inference_mode():
        found = network()(*views(arrays), iterations=meta["iterations"])
    assert difference(found, arrays["disparity"]) < TOLERANCE


def test_names_and_shapes_are_the_official_ones() -> None:
    with torch.device("meta"):
        own = IgevStereo(IgevConfig.standard()).state_dict()
    assert {name: list(tensor.shape) for name, tensor in own.items()} == official_shapes()


def test_official_weights_there_and_back() -> None:
    state = dict(network().state_dict())
    converted = from_official(state)
    assert converted.config == IgevConfig.standard()
    assert not converted.training
    back = to_official(converted)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())
