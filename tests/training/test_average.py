"""Running averages of weights against the plain formula."""

import pytest
import torch
from torch import nn

from depthweave.errors import WrongInput
from depthweave.training.average import Average


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).to(dtype)


def disturb(net: nn.Module) -> None:
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.add_(torch.randn_like(tensor) if tensor.is_floating_point() else 1)


@pytest.mark.parametrize("decay", [0.0, 0.4, 0.999])
def test_the_plain_formula(decay: float) -> None:
    net = network()
    average = Average(net, decay)
    expected = {name: tensor.double() for name, tensor in net.state_dict().items()}
    for n in range(12):
        disturb(net)
        average.update(net)
        kept = min(decay, (1 + n) / (10 + n))
        for name, tensor in net.state_dict().items():
            expected[name] = kept * expected[name] + (1 - kept) * tensor.double()
    found = average.network_state()
    assert found.keys() == net.state_dict().keys()
    for name, tensor in found.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert found["1.running_mean"].abs().max() > 0
    assert found["1.num_batches_tracked"] == 12, "whole numbers are copied"
    assert average.updates == 12


def test_averages_are_float32_and_do_not_touch_the_network() -> None:
    net = network(torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    average = Average(net, 0.9)
    average.update(net)
    assert average.network_state()["0.weight"].dtype == torch.float32
    disturb(net)
    average.update(net)
    assert net[0].weight.dtype == torch.bfloat16
    assert not torch.equal(net[0].weight, before["0.weight"])


def test_small_changes_are_not_lost_in_half_precision() -> None:
    net = nn.Linear(1, 1, bias=False, dtype=torch.bfloat16)
    nn.init.constant_(net.weight, 1.0)
    average = Average(net, 0.5)
    average.updates = 100
    nn.init.constant_(net.weight, 1 + 2**-7)
    average.update(net)
    assert average.network_state()["weight"].item() == 1 + 2**-8


def test_swapping_and_back() -> None:
    net = network()
    average = Average(net, 0.9)
    disturb(net)
    average.update(net)
    disturb(net)
    own = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    parameter = net[0].weight
    with average.swap(net):
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, average.network_state()[name])
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, own[name])
    assert net[0].weight is parameter, "the optimizer still holds the parameters"


def test_weights_come_back_after_a_failure() -> None:
    net = network()
    average = Average(net, 0.9)
    disturb(net)
    own = net[0].weight.detach().clone()
    with pytest.raises(ZeroDivisionError), average.swap(net):
        _ = 1 / 0
    assert torch.equal(net[0].weight, own)


def test_what_happens_inside_a_swap_does_not_reach_the_average() -> None:
    net = network()
    average = Average(net, 0.9)
    before = average.network_state()["1.running_mean"].clone()
    with average.swap(net):
        net.train()(torch.randn(1, 1, 8, 8))
    assert torch.equal(average.network_state()["1.running_mean"], before)


def test_the_state_goes_on() -> None:
    net = network()
    average, other = Average(net, 0.9), Average(network(), 0.9)
    for _ in range(5):
        disturb(net)
        average.update(net)
    other.load_state_dict({name: tensor.clone() for name, tensor in average.state_dict().items()})
    assert other.updates == 5
    disturb(net)
    average.update(net)
    other.update(net)
    for name, tensor in average.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])


def test_refused() -> None:
    average = Average(network(), 0.9)
    state = average.state_dict()
    with pytest.raises(WrongInput, match=r"0\.weight does not fit"):
        average.load_state_dict({**state, "0.weight": torch.zeros(1)})
    with pytest.raises(WrongInput, match=r"2\.bias does not fit"):
        average.load_state_dict({**state, "2.bias": torch.zeros(1)})
    with pytest.raises(WrongInput, match="number of updates does not fit"):
        average.load_state_dict(average.network_state())
    with pytest.raises(WrongInput, match="below 1"):
        Average(network(), 1.0)
