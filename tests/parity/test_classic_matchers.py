"""PSMNet and AnyNet against outputs of the originals, recorded under weights from names (see `fill`).

Of every answer each fourth row and column is recorded; of intermediate values their `statistics`. Two differences are
not the networks': PSMNet's `align_corners` follows torch where the original says nothing, and both settings are
recorded; AnyNet's original fetches right features as torch before 1.3 did, which its coordinates are made for, and its
propagation, which needs CUDA, was recorded cell by cell from the kernel's definition.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import fill
import numpy as np
import pytest
import torch
from recordings import difference, read_recording, statistics
from torch import Tensor, nn

from depthweave.models.pretrained import PretrainedNetwork
from depthweave.models.stereo.anynet import AnyNet, AnyNetConfig
from depthweave.models.stereo.anynet import convert as anynet
from depthweave.models.stereo.psmnet import PsmNet, PsmNetConfig
from depthweave.models.stereo.psmnet import convert as psmnet

DATA = Path(__file__).parent / "data" / "classic"
CASES = sorted(path.stem for path in DATA.glob("*.npz"))
TOLERANCE = 1e-4
"""Measured: 3.1e-5 px at most, at disparities of about 85 px; PSMNet's original differs from itself by more where other
numbers of threads share its convolutions (2.8e-5 px)."""


def views(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    pictures = np.round(127.5 * (1 + fill.smooth_images(2 * batch, height, width))).astype(np.float32)
    return torch.from_numpy(pictures[0::2]), torch.from_numpy(pictures[1::2])


@cache
def network(case: str) -> PretrainedNetwork:
    """The network of a case, made from the tensors that its original has."""
    meta = read_recording(DATA / f"{case}.npz")[1]
    if case.startswith("psmnet"):
        with torch.device("meta"):
            shapes = PsmNet(PsmNetConfig(aggregation=meta["kind"])).state_dict()
        state = fill.fill_state_dict(shapes)
        for name in state:
            # Random weights give a volume that is sure of one disparity or another, whatever the rounding says.
            if name.startswith("classif") and name.endswith(".2.weight"):
                state[name] = meta["volume_gain"] * state[name]
        return psmnet.from_official(state, max_disparity=meta["max_disparity"], align_corners=meta["align_corners"])
    state = {name: fill.tensor_for(name, shape) for name, shape in meta["shapes"].items()}
    last = max(int(name.split(".")[2]) for name in state if name.startswith("volume_postprocess.0."))
    for name in state:
        # Random weights give a volume that decides nothing, and a refinement with hundreds of px.
        if name.startswith("volume_postprocess.") and name.endswith(f".{last}.2.weight"):
            state[name] = meta["volume_gain"] * state[name]
    if "refine_spn.2.weight" in state:
        state["refine_spn.2.weight"] = meta["refinement_gain"] * state["refine_spn.2.weight"]
    return anynet.from_official(state, max_disparity=meta["max_disparity"], radii=tuple(meta["radii"]))


def watch(net: nn.Module, names: list[str]) -> tuple[dict[str, Tensor], list[Any]]:
    """What these modules give the first time; and the hooks."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: object, _inputs: object, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            seen.setdefault(name, first.detach().clone())

        return hook

    return seen, [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_value_is_the_originals(case: str) -> None:
    arrays, meta = read_recording(DATA / f"{case}.npz")
    net: Any = network(case)
    names = [name.removeprefix("stats/") for name in arrays if name.startswith("stats/")]
    assert len(names) >= 7
    seen, hooks = watch(net, names)
    with torch.inference_mode():
        found = net.predictions(*views(*meta["size"], meta.get("batch", 1)))
    for hook in hooks:
        hook.remove()
    wanted = [arrays[name] for name in sorted(arrays) if name.startswith("answer")]
    assert len(found) == len(wanted)
    for answer, recorded in zip(found, wanted, strict=True):
        assert recorded.std() > 0.8
        assert difference(answer[..., 2::4, 1::4], recorded) < TOLERANCE
    for name in names:
        deviation = arrays[f"stats/{name}"][1]
        np.testing.assert_allclose(
            statistics(seen[name]), arrays[f"stats/{name}"], rtol=1e-4, atol=1e-3 * deviation, err_msg=name
        )


@pytest.mark.parametrize("case", ["anynet_standard", "anynet_plain"])
def test_the_last_answer_is_the_forwards(case: str) -> None:
    net = network(case)
    left, right = views(32, 48)
    with torch.inference_mode():
        answers = net.predictions(left, right)  # type: ignore[operator]
        assert torch.equal(net(left, right), answers[-1])
        for stages in (1, 2, 3):
            assert torch.equal(net(left, right, stages=stages), answers[stages - 1])


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("psmnet_stacked", PsmNetConfig()),
        ("psmnet_basic", PsmNetConfig(aggregation="basic")),
        ("anynet_standard", AnyNetConfig()),
        ("anynet_plain", AnyNetConfig(refinement=0)),
    ],
)
def test_names_and_shapes_are_the_official_ones(key: str, config: PsmNetConfig | AnyNetConfig) -> None:
    official = json.loads((DATA / "keys.json").read_text(encoding="utf-8"))[key]
    with torch.device("meta"):
        net = PsmNet(config) if isinstance(config, PsmNetConfig) else AnyNet(config)
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in net.state_dict().items())
    assert len(lines) == official["count"]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == official["sha256"]
    assert sum(parameter.numel() for parameter in net.parameters()) == official["parameters"]
