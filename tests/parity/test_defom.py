"""DEFOM-Stereo against outputs of the original, recorded under weights from names (see `fill` and `check`)."""

import json
from functools import cache

import check
import fill
import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave.models.layers.strips import saves_time
from depthweave.models.stereo.defom import DefomConfig, DefomStereo
from depthweave.models.stereo.defom.convert import from_official, to_official

CASES = check.cases()
LARGE = ("f_64x3104_i3_s1", "i_592x592_posembed_i1_s1")
SMALL = [case for case in CASES if case not in LARGE]


@cache
def official_state() -> dict[str, Tensor]:
    fill.self_check()
    return fill.from_keys_json(check.DATA / "keys_vits.json")


def network(case: check.Case) -> DefomStereo:
    """Shares its tensors with all others; nothing is recorded for gradients, which is what the plain path needs."""
    return from_official(check.state_dict_for(case, official_state())).requires_grad_(False)


def assert_as_recorded(name: str, *, fast: bool) -> None:
    case = check.load_case(name)
    net, (left, right), meta, trace = network(case), check.images(case), case["meta"], {}
    with torch.inference_mode(fast):
        assert saves_time(left) == fast
        found = net(left, right, iterations=meta["iters"], scale_iterations=meta["scale_iters"], trace=trace)
    assert torch.equal(found, trace["final_padded"])
    names = check.recorded_names(case)
    assert len(names) == (36 if meta["iters"] == meta["scale_iters"] else 42)
    reports = {checkpoint: check.compare(case, checkpoint, trace[checkpoint]) for checkpoint in sorted(names)}
    assert {checkpoint: report for checkpoint, report in reports.items() if not report["ok"]} == {}


def test_there_are_nine_cases() -> None:
    assert "".join(case[0] for case in CASES) == "abcdefghi"


@pytest.mark.parametrize("name", CASES)
def test_every_recorded_value_is_the_originals(name: str) -> None:
    assert_as_recorded(name, fast=True)


@pytest.mark.parametrize("name", SMALL)
def test_the_path_that_is_trained_says_the_same(name: str) -> None:
    assert_as_recorded(name, fast=False)


def test_every_iteration_has_a_prediction_as_the_original_trains_them() -> None:
    case = check.load_case("a_140x196_i8_s4")
    net, (left, right), meta = network(case), check.images(case), case["meta"]
    with torch.inference_mode():
        every = net.predictions(left, right, iterations=meta["iters"], scale_iterations=meta["scale_iters"])
    assert len(every) == len(case["train_mode_preds_stats"]) == 8
    assert check.compare(case, "final_padded", every[-1])["ok"]
    assert check.diff(every[0], case["train_mode_pred0"], 2e-3, 1e-4)["ok"]
    assert check.diff(torch.cat(every)[:, 0, ::4, ::4], case["train_mode_preds_slice"], 2e-3, 1e-4)["ok"]
    for found, wanted in zip(every, case["train_mode_preds_stats"], strict=True):
        np.testing.assert_allclose(check.summary(found), wanted, rtol=1e-4, atol=1e-3 * wanted[1])


def test_a_start_at_full_size_reaches_the_iterations_in_quarter_pixels() -> None:
    case = check.load_case("h_96x128_scale_only_i3_s3")
    net, (left, right), constant, again = network(case), check.images(case), {}, {}
    own = 4 * torch.from_numpy(case["full/init_disp"]).repeat_interleave(4, 2).repeat_interleave(4, 3)
    with torch.inference_mode():
        flat = torch.full_like(own, 12.0)
        moved = net(left, right, iterations=3, scale_iterations=3, initial=flat, trace=constant)
        same = net(left, right, iterations=3, scale_iterations=3, initial=own, trace=again)
    for name in ("init_disp", "scale_disp_first"):
        assert torch.equal(constant[name], torch.full((1, 1, 24, 32), 3.0))
    assert torch.equal(constant["lowres_disp"][:, :1], constant["init_disp"])
    assert float((moved - same).abs().mean()) > 1
    assert check.compare(case, "final_padded", same)["ok"]
    assert check.compare(case, "lowres_disp", again["lowres_disp"])["ok"]


@pytest.mark.parametrize("encoder", ["vits", "vitl"])
def test_names_shapes_and_counts_are_the_official_ones(encoder: str) -> None:
    official = json.loads((check.DATA / f"keys_{encoder}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        net = DefomStereo(DefomConfig(encoder=encoder))
    own = {name: [list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in net.state_dict().items()}
    assert own == official["keys"]
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    frozen = tuple(official["frozen_prefixes"])
    assert sum(sizes.values()) == official["parameters"]
    assert sum(n for name, n in sizes.items() if not name.startswith(frozen)) == official["trainable_parameters"]


def test_official_weights_there_and_back() -> None:
    state = official_state()
    converted = from_official(state)
    assert converted.config == DefomConfig()
    assert not converted.training
    back = to_official(converted)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_the_large_official_network_is_recognised() -> None:
    official = json.loads((check.DATA / "keys_vitl.json").read_text(encoding="utf-8"))["keys"]
    state = {
        name: torch.empty(shape, device="meta", dtype=getattr(torch, kind)) for name, (shape, kind) in official.items()
    }
    assert from_official(state).config == DefomConfig(encoder="vitl")
