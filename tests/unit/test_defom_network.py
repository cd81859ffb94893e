from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.stereo.defom import DefomConfig, DefomStereo, convert
from depthweave.models.stereo.defom.convert import from_official, to_official
from depthweave.models.stereo.defom.encoders import transformer_input_size


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(**changes: Any) -> DefomStereo:
    torch.manual_seed(7)
    return DefomStereo(replace(DefomConfig.nano(), **changes)).eval()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((160, 224), (140, 196)),
        ((144, 208), (126, 182)),
        ((592, 592), (518, 518)),
        ((384, 1248), (336, 1092)),
        ((32, 32), (28, 28)),
        ((64, 3072), (56, 2688)),
        ((64, 3104), (56, 2688)),
        ((3104, 64), (2688, 56)),
        ((2016, 3840), (1414, 2688)),
        ((3200, 3200), (2688, 2688)),
    ],
)
def test_the_transformer_sees_seven_eighths_and_at_most_2688_px(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert transformer_input_size(*size) == expected


@pytest.mark.parametrize("size", [(32, 32), (48, 80)])
def test_a_nano_network_answers(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        found = nano()(*pair(*size, batch=2), iterations=3, scale_iterations=1)
    assert found.shape == (2, 1, *size)
    assert bool(found.isfinite().all())


@pytest.mark.parametrize(("iterations", "scale_iterations"), [(4, 2), (2, 5), (2, 0)])
def test_the_last_prediction_is_the_answer(iterations: int, scale_iterations: int) -> None:
    network, images = nano(), pair(64, 96)
    with torch.inference_mode():
        last = network(*images, iterations=iterations, scale_iterations=scale_iterations)
        every = network.predictions(*images, iterations=iterations, scale_iterations=scale_iterations)
    assert len(every) == iterations
    assert torch.equal(every[-1], last)
    assert not torch.equal(every[-2], last)


def test_a_pair_is_matched_the_same_alone_and_among_others() -> None:
    network, (left, right) = nano(), pair(48, 64, batch=3)
    with torch.inference_mode():
        together = network(left, right, iterations=3, scale_iterations=2)
        for i in range(3):
            alone = network(left[i : i + 1], right[i : i + 1], iterations=3, scale_iterations=2)
            torch.testing.assert_close(together[i : i + 1], alone, rtol=0, atol=1e-3)


@pytest.mark.parametrize("fast", [True, False])
def test_a_start_is_where_the_iterations_begin(fast: bool) -> None:
    """A head that says 0 multiplies by 1 and adds 0, so the start comes out again."""
    network = nano().requires_grad_(False)
    for block in (network.update_block, network.scale_update_block):
        torch.nn.init.zeros_(block.disp_head.conv2.weight)
        torch.nn.init.zeros_(block.disp_head.conv2.bias)
    left, right = pair(32, 64)
    with torch.inference_mode(fast):
        found = network(left, right, iterations=2, scale_iterations=1, initial=torch.full((1, 1, 32, 64), 10.0))
    torch.testing.assert_close(found[..., 4:-4, 4:-4], torch.full((1, 1, 24, 56), 10.0))


@pytest.mark.parametrize("eta", [0.5, 0.25])
def test_the_nearest_point_starts_at_a_share_of_the_width(eta: float) -> None:
    network, trace = nano(eta=eta), {}
    torch.nn.init.ones_(network.defomencoder.depth_anything.depth_head.scratch.output_conv2[2].bias)
    with torch.inference_mode():
        network(*pair(32, 96, batch=2), iterations=1, trace=trace)
    start, depth = trace["init_disp"], trace["rel_depth"]
    assert float(depth.amax((1, 2, 3)).min()) > 0
    torch.testing.assert_close(start.amax((1, 2, 3)), torch.full((2,), eta * 96 / 4 + 0.01))
    assert torch.equal(start.flatten(1).argmax(1), depth.flatten(1).argmax(1))


def test_inputs_that_do_not_fit_are_refused() -> None:
    network, (left, right) = nano(), pair(32, 64)
    with pytest.raises(WrongInput, match="multiples of 16 and at least 32 px, not 64x24; pad"):
        network(left[..., :24, :], right[..., :24, :])
    with pytest.raises(WrongInput, match="not 64x16"):
        network(left[..., :16, :], right[..., :16, :])
    with pytest.raises(WrongInput, match="at least one iteration"):
        network(left, right, iterations=0)
    with pytest.raises(WrongInput, match="scale_iterations of at least 0"):
        network(left, right, scale_iterations=-1)
    with pytest.raises(WrongInput, match="no encoder 'huge'"):
        nano(encoder="huge")


def test_half_precision_answers_nearly_the_same() -> None:
    network, images = nano(), pair(64, 128)
    with torch.inference_mode():
        full = network(*images, iterations=3, scale_iterations=2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(*images, iterations=3, scale_iterations=2)
    assert half.dtype == torch.float32
    assert 0 < float((half - full).abs().mean()) < 0.05 * float(full.abs().mean())


UNUSED = (
    "defomencoder.depth_anything.pretrained.mask_token",
    "defomencoder.depth_anything.depth_head.",  # the start is no part of the gradient, as in the original
    "defomencoder.depth_anything.depth_feat.scratch.refinenet4.resConfUnit1.",
    *(f"cnet.conv{level}.norm{norm}." for level in ("08", "16", "32") for norm in (2, 3)),
)


def before_instance_norm(name: str) -> bool:
    """Biases that an instance normalisation takes away again."""
    return name.startswith("fnet.") and name.endswith(".bias") and name != "fnet.conv2.bias"


def test_every_weight_that_is_used_learns() -> None:
    network = nano().train()
    found = network.predictions(*pair(64, 64, batch=4), iterations=4, scale_iterations=2)
    sum(prediction.abs().mean() for prediction in found).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    idle = {name for name, gradient in gradients.items() if gradient is None}
    assert idle == {name for name in gradients if name.startswith(UNUSED)}
    learning = {name: gradient for name, gradient in gradients.items() if gradient is not None}
    assert all(bool(gradient.isfinite().all()) for gradient in learning.values())
    still = {name for name, gradient in learning.items() if not bool(gradient.any())}
    assert {name for name in still if not before_instance_norm(name)} == set()


def test_the_monocular_features_are_left_out_now_and_then_in_training_only() -> None:
    context = nano().cnet
    features = torch.ones(400, 1, 1, 1)
    assert context._drop_path(features) is features
    torch.manual_seed(0)
    dropped = context.train()._drop_path(features)
    assert sorted(set(dropped.flatten().tolist())) == [0.0, 1.25]
    assert 0.1 < float((dropped == 0).float().mean()) < 0.3


def test_the_estimate_of_memory_follows_the_picture() -> None:
    network = nano()
    half, full = network.memory_bytes(640, 960), network.memory_bytes(1280, 1920)
    assert half >= 4 * 640 * 960 * 16 * 4
    assert full >= 4 * half


def test_a_saved_network_is_the_network(tmp_path: Path) -> None:
    network, images = nano(eta=0.25, scales=(0.5, 1.0)), pair(32, 64)
    again = DefomStereo.from_pretrained(network.save_pretrained(tmp_path / "saved"))
    assert again.config == network.config
    assert same(again.state_dict(), network.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(*images, iterations=2), network(*images, iterations=2))


def test_a_network_with_other_constants_is_not_official() -> None:
    with pytest.raises(WrongInput, match=r"DefomStereo needs \d+ tensors; \d+ of another shape \(cnet\."):
        from_official(to_official(nano()))
    with pytest.raises(WrongInput, match=r"defomencoder\.depth_anything\.pretrained\.cls_token is missing"):
        from_official({"fc.weight": torch.zeros(3, 3)})


def test_checkpoints_of_training_are_unwrapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of nano's constants, as if they were the authors'."""
    monkeypatch.setattr(convert, "DefomConfig", lambda encoder: replace(DefomConfig.nano(), encoder=encoder))
    network = nano()
    state = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    file = tmp_path / "resume.pth"
    torch.save({"model": state, "optimizer": {"lr": 2e-4}, "step": 7, "epoch": 1}, file)
    found = conversion.read_official("defom", file)
    assert isinstance(found, DefomStereo)
    assert found.config == network.config
    assert same(found.state_dict(), network.state_dict())
    again = conversion.read_official("defom", conversion.write_official(found, tmp_path / "back.pth"))
    assert same(again.state_dict(), network.state_dict())
    name = "module.update_block.gru08.convz.weight"
    state["module.extra"] = state.pop(name)
    torch.save({"model": state}, file)
    with pytest.raises(WrongFile, match=r"1 missing \(update_block\.gru08\.convz\.weight\); 1 unexpected \(extra\)"):
        conversion.read_official("defom", file)
