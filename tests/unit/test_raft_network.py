from dataclasses import replace

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers.correlation import RowCorrelation
from depthweave.models.stereo.raft.config import RaftConfig
from depthweave.models.stereo.raft.convert import from_official, official_config, to_official
from depthweave.models.stereo.raft.network import RaftStereo

NANO_REALTIME = replace(RaftConfig.realtime(), hidden=32, widths=(16, 24, 32), features=32)


def pair(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


def nano(config: RaftConfig) -> RaftStereo:
    torch.manual_seed(7)
    return RaftStereo(config).eval()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"downsample": 1}, "halves its images 2 or 3 times before matching, not 1"),
        ({"downsample": 4}, "not 4"),
        ({"gru_levels": 1}, "2 or 3 recurrent states, not 1"),
        ({"gru_levels": 4}, "not 4"),
        ({"levels": 0}, "at least one level"),
        ({"radius": 0}, "a radius of at least 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(RaftConfig(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("config", [RaftConfig.nano(), NANO_REALTIME])
def test_a_nano_network_answers_at_the_narrowest_size(config: RaftConfig) -> None:
    width = config.factor * 8
    left, right = pair(32, width, batch=2)
    with torch.inference_mode():
        found = nano(config)(left, right, iterations=2)
    assert found.shape == (2, 1, 32, width)
    assert bool(found.isfinite().all())
    with pytest.raises(WrongInput, match=f"a width of at least {width} px, not {width - config.factor}x32; pad"):
        nano(config)(left[..., : -config.factor], right[..., : -config.factor])


def test_inputs_that_do_not_fit_are_refused() -> None:
    network = nano(RaftConfig.nano())
    left, right = pair(32, 64)
    with pytest.raises(WrongInput, match="multiples of 4"):
        network(left[..., :30, :], right[..., :30, :])
    with pytest.raises(WrongInput, match="at least one iteration"):
        network(left, right, iterations=0)


def test_a_start_is_where_the_iterations_begin() -> None:
    network = nano(RaftConfig.nano())
    torch.nn.init.zeros_(network.update_block.flow_head.conv2.weight)
    torch.nn.init.zeros_(network.update_block.flow_head.conv2.bias)
    left, right = pair(32, 64)
    with torch.inference_mode():
        still = network(left, right, iterations=1)
        moved = network(left, right, iterations=1, initial=torch.full((1, 1, 32, 64), 10.0))
    assert float(still.abs().max()) == 0
    torch.testing.assert_close(moved[..., 4:-4, 4:-4], torch.full((1, 1, 24, 56), 10.0))


@pytest.mark.parametrize("config", [RaftConfig.nano(), NANO_REALTIME])
def test_half_precision_answers_nearly_the_same(config: RaftConfig) -> None:
    network = nano(config)
    left, right = pair(64, 128)
    with torch.inference_mode():
        full = network(left, right, iterations=2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network(left, right, iterations=2)
    assert half.dtype == torch.float32
    assert 0 < float((half - full).abs().mean()) < 0.05 * float(full.abs().mean())


def test_the_correlation_stays_in_float32() -> None:
    generator = torch.Generator().manual_seed(2)
    left, right = torch.randn(2, 1, 32, 4, 16, generator=generator)
    disparity = 3 * torch.rand(1, 1, 4, 16, generator=generator)
    wanted = RowCorrelation(left, right, levels=2).around(disparity, 4)
    for stored_bytes in (1 << 30, 1):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = RowCorrelation(left, right, levels=2, stored_bytes=stored_bytes).around(disparity, 4)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [RaftConfig.nano(), NANO_REALTIME])
def test_every_weight_that_is_used_learns(config: RaftConfig) -> None:
    network = nano(config).train()
    found = network.predictions(*pair(32, 64, batch=2), iterations=2)
    sum(prediction.square().mean() for prediction in found).backward()
    idle = {name.split(".")[0] + "." + name.split(".")[1] for name, p in network.named_parameters() if p.grad is None}
    unused = {"cnet.layer5", "cnet.outputs32", "update_block.gru32"}
    assert idle == (unused if config.gru_levels == 2 else set())


def test_the_estimate_of_memory_follows_the_picture_and_the_network() -> None:
    network = nano(RaftConfig.nano())
    half, full = network.memory_bytes(640, 960), network.memory_bytes(1280, 1920)
    assert half >= 4 * 640 * 960 * 16 * 4
    assert full >= 4 * half
    assert nano(NANO_REALTIME).memory_bytes(640, 960) < half / 2


def test_other_files_are_no_checkpoint_of_raft_stereo() -> None:
    state = to_official(nano(RaftConfig.nano()))
    assert official_config(state) == RaftConfig.nano()
    with pytest.raises(WrongInput, match=r"no checkpoint of RAFT-Stereo: it has no convolution cnet\.conv1\.weight"):
        from_official({"fc.weight": torch.zeros(3, 3)})
    with pytest.raises(WrongInput, match=r"neither fnet\.conv2\.weight nor conv2\.1\.weight"):
        from_official({name: tensor for name, tensor in state.items() if not name.startswith("fnet.")})
    with pytest.raises(WrongInput, match=r"1 missing \(update_block\.gru32\.convz\.bias\)"):
        from_official({name: tensor for name, tensor in state.items() if name != "update_block.gru32.convz.bias"})
    with pytest.raises(WrongInput, match=r"1 unexpected \(extra\)"):
        from_official({**state, "extra": torch.zeros(1)})
