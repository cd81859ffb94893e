"""A running average of a network's weights, which is smoother than the weights of any step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from depthweave.errors import WrongInput

_UPDATES = "number of updates"  # no module can have a name with spaces in it


class Average:
    """Exponential moving average of everything that a network's state holds.

    After update n = 0, 1, ... the average is a + (1 - k) (w - a) with k = min(decay, (1 + n) / (10 + n)), so that the
    first, random weights are soon forgotten (Tan and Le, EfficientNet, ICML 2019, and TensorFlow's
    ExponentialMovingAverage). Statistics of batch normalisation are averaged, too; whole numbers are copied.

    Attributes:
        decay: the most that an update keeps, in [0, 1).
        updates: how many there were.

    Raises:
        WrongInput: another decay.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise WrongInput(f"the decay of an average is {decay:g}; it is at least 0 and below 1.")
        self.decay = decay
        self.updates = 0
        self._averages = {
            name: tensor.detach().to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
            for name, tensor in network.state_dict().items()
        }

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights of one more step.

        Args:
            network: the one that the average was made of, on any device.
        """
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, news = [], []
        for name, tensor in network.state_dict().items():
            average = self._averages[name]
            if average.is_floating_point():
                averages.append(average)
                news.append(tensor.to(average))
            else:
                average.copy_(tensor)
        torch._foreach_lerp_(averages, news, 1 - kept)

    @contextmanager
    def swap(self, network: nn.Module) -> Iterator[None]:
        """Inside the block the network has the averages, after it its own weights again.

        Args:
            network: the one that the average was made of.
        """
        own = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        try:
            network.load_state_dict(self._averages)
            yield
        finally:
            network.load_state_dict(own)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by name (not copies), and the number of updates."""
        return {**self._averages, _UPDATES: torch.tensor(self.updates)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from another average of the same network; decay and devices stay.

        Args:
            state: of `state_dict`.

        Raises:
            WrongInput: tensors are missing, unexpected or of another shape.
        """
        shapes = {name: tensor.shape for name, tensor in state.items() if name != _UPDATES}
        own = {name: tensor.shape for name, tensor in self._averages.items()}
        wrong = sorted(name for name in shapes.keys() | own.keys() if shapes.get(name) != own.get(name))
        if wrong or _UPDATES not in state:
            named = ", ".join(wrong[:3] or [_UPDATES])
            raise WrongInput(f"this is no average of the network: {named} does not fit; start without it.")
        self.updates = int(state[_UPDATES])
        for name, average in self._averages.items():
            average.copy_(state[name])

    def network_state(self) -> dict[str, Tensor]:
        """The averages as the network's own state (not copies), to make a network of."""
        return dict(self._averages)
