"""RAFT-Stereo against outputs of the original, recorded under weights from names (see `fill`)."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import fill
import numpy as np
import pytest
import torch
from recordings import difference, read_recording, statistics, views
from torch import Tensor

from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.convert import from_official, to_official
from depthweave.models.stereo.raft.network import RaftStereo

DATA = Path(__file__).parent / "data" / "raft"
CONFIGS = {
    "standard": RaftConfig.standard(),
    "realtime": RaftConfig.realtime(),
    "instance": RaftConfig(norm="instance"),
    "slowfast": RaftConfig(slow_fast=True),
}
OFFICIAL = ("standard", "realtime", "instance")
CASES = sorted(path.stem for path in DATA.glob("*.npz"))
TOLERANCE = 2e-4
"""Measured: 2.7e-5 px at most; the original differs from itself by 1.6e-5 px without oneDNN."""


@cache
def network(kind: str) -> RaftStereo:
    filled = fill.fill_model(RaftStereo(CONFIGS[kind])).eval()
    assert isinstance(filled, RaftStereo)
    return filled


def recorded(case: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return read_recording(DATA / f"{case}.npz")


def start(arrays: dict[str, np.ndarray], factor: int) -> Tensor | None:
    """The recorded start, px of the small grid, at full size."""
    if "initial" not in arrays:
        return None
    return factor * torch.from_numpy(arrays["initial"]).repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def watch(net: RaftStereo) -> tuple[dict[str, Tensor], list[Any]]:
    """Intermediate values under their recorded names, filled by the next forward; and the hooks."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, *, last: bool = False) -> Any:
        def hook(_module: object, _inputs: object, output: Tensor) -> None:
            if last or name not in seen:
                seen[name] = output.detach().clone()

        return hook

    def join(_module: object, _inputs: object, output: Tensor) -> None:
        seen["features"] = torch.cat([seen["features"], output.detach()]) if "features" in seen else output.detach()

    def look_up(_module: object, inputs: tuple[Tensor, ...]) -> None:
        seen.setdefault("correlation_first", inputs[0].detach().clone())

    def step(_module: object, inputs: tuple[Any, ...], output: tuple[Any, Tensor]) -> None:
        at = (inputs[3] + output[1]).detach()
        seen["low_disparity"] = torch.cat([seen["low_disparity"], at], 1) if "low_disparity" in seen else at

    block = net.update_block
    levels = range(net.config.gru_levels)
    grus = (block.gru08, block.gru16, block.gru32)
    heads = (net.cnet.outputs08, net.cnet.outputs16, net.cnet.outputs32)
    hooks = [
        block.encoder.register_forward_hook(keep("motion_first")),
        block.encoder.register_forward_pre_hook(look_up),
        block.mask.register_forward_hook(keep("mask_last", last=True)),
        block.register_forward_hook(step),
        (net.conv2 if net.config.shared_backbone else net.fnet).register_forward_hook(join),
        *(grus[i].register_forward_hook(keep(f"gru{(8, 16, 32)[i]:02}_last", last=True)) for i in levels),
        *(heads[i][0].register_forward_hook(keep(f"hidden{i}")) for i in levels),
        *(heads[i][1].register_forward_hook(keep(f"context{i}")) for i in levels),
        *(net.context_zqr_convs[i].register_forward_hook(keep(f"zqr{i}")) for i in levels),
    ]
    return seen, hooks


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_value_is_the_originals(case: str) -> None:
    arrays, meta = recorded(case)
    net = network(case.split("_")[0])
    seen, hooks = watch(net)
    found = net(*views(arrays), iterations=meta["iterations"], initial=start(arrays, net.config.factor))
    for hook in hooks:
        hook.remove()
    assert found.requires_grad  # or modules are not called, and the hooks see nothing
    seen["mask_last"] = 0.25 * seen["mask_last"]  # recorded as it enters the softmax
    assert difference(found.detach(), arrays["disparity"]) < TOLERANCE
    assert difference(seen["low_disparity"], arrays["low_disparity"]) < TOLERANCE
    assert len(meta["slices"]) >= 12
    for name, piece in meta["slices"].items():
        value = seen[name]
        assert list(value.shape) == piece["shape"], name
        rows = tuple(slice(None, None, step) for step in (1, *piece["step"]))
        wanted = arrays[f"stats/{name}"]
        assert difference(value[rows], arrays[f"slice/{name}"]) < TOLERANCE * max(1.0, wanted[1]), name
        np.testing.assert_allclose(statistics(value), wanted, rtol=1e-4, atol=1e-3 * wanted[1], err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_inference_says_the_same(case: str) -> None:
    arrays, meta = recorded(case)
    net = network(case.split("_")[0])
    with torch.inference_mode():
        found = net(*views(arrays), iterations=meta["iterations"], initial=start(arrays, net.config.factor))
    assert difference(found, arrays["disparity"]) < TOLERANCE


@pytest.mark.parametrize("kind", OFFICIAL)
def test_names_and_shapes_are_the_official_ones(kind: str) -> None:
    official = json.loads((DATA / "keys.json").read_text(encoding="utf-8"))[kind]
    with torch.device("meta"):
        own = RaftStereo(CONFIGS[kind]).state_dict()
    assert {name: list(tensor.shape) for name, tensor in own.items()} == official


@pytest.mark.parametrize("kind", OFFICIAL)
def test_official_weights_there_and_back(kind: str) -> None:
    official = json.loads((DATA / "keys.json").read_text(encoding="utf-8"))[kind]
    state = {name: fill.tensor_for(name, shape) for name, shape in official.items()}
    converted = from_official(state)
    assert converted.config == CONFIGS[kind]
    assert not converted.training
    back = to_official(converted)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_only_the_last_of_all_predictions_is_upsampled_in_inference() -> None:
    net = network("realtime")
    left, right = views(recorded("realtime_96x160")[0])
    masks = []
    hook = net.update_block.mask.register_forward_hook(lambda *_: masks.append(1))
    with torch.inference_mode():
        last = net(left, right, iterations=3)
        assert len(masks) == 1
        every = net.predictions(left, right, iterations=3)
    hook.remove()
    assert len(every) == 3
    assert torch.equal(every[-1], last)
    assert not torch.equal(every[-2], last)
