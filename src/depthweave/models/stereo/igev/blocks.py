"""Convolutions of IGEV-Stereo with their normalisations; parameter names are those of the official checkpoints.

Source: Xu et al., "Iterative Geometry Encoding Volume for Stereo Matching", CVPR 2023; the gate is that of
Bangunharcana et al., "Correlate-and-Excite: Real-Time Stereo Matching via Guided Cost Volume Excitation", IROS 2021.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_CONVOLUTIONS: dict[tuple[int, bool], Any] = {
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, dims: int = 2, up: bool = False) -> Any:
    """A convolution without bias that keeps the size, divides it by the stride, or (``up``) doubles it.

    Args:
        inputs, outputs: channels.
        kernel, stride: not used by one that doubles, which has 4 and 2.
        dims: 2 or 3.
        up: whether it is a transposed one.
    """
    if up:
        return _CONVOLUTIONS[dims, True](inputs, outputs, 4, 2, 1, bias=False)
    return _CONVOLUTIONS[dims, False](inputs, outputs, kernel, stride, kernel // 2, bias=False)


def conv_norm(conv: Any, norm: Any, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b d *t"]:
    """norm(conv(x)) for a convolution without bias; fixed statistics become part of it."""
    found: Tensor
    if norm.training:
        found = norm(conv(x))
        return found
    factor = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    outputs_at = 1 if conv.transposed else 0
    weight = conv.weight * factor.view(*(-1 if axis == outputs_at else 1 for axis in range(conv.weight.ndim)))
    bias = norm.bias - norm.running_mean * factor
    convolve: Any = getattr(F, f"conv{'_transpose' if conv.transposed else ''}{x.ndim - 2}d")
    found = convolve(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
    return found


class BatchConv(nn.Module):
    """Convolution, batch normalisation, leaky ReLU.

    Args:
        inputs, outputs, kernel, stride, dims, up: see `convolution`.
        plain: without both: official files hold a normalisation for every convolution, though one never uses it.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        dims: int = 2,
        up: bool = False,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, dims=dims, up=up)
        self.bn = nn.BatchNorm2d(outputs) if dims == 2 else nn.BatchNorm3d(outputs)
        self.plain = plain

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b d *t"]:
        """Apply it."""
        if self.plain:
            found: Tensor = self.conv(x)
            return found
        return F.leaky_relu(conv_norm(self.conv, self.bn, x), inplace=True)


class InstanceConv(nn.Module):
    """Convolution, instance normalisation without parameters, leaky ReLU.

    Args:
        inputs, outputs, kernel, stride, up: see `convolution`.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, up: bool = False) -> None:
        super().__init__()
        self.conv = convolution(inputs, outputs, kernel, stride, up=up)

    def forward(self, x: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b d _ _"]:
        """Apply it."""
        return F.leaky_relu(F.instance_norm(self.conv(x)), inplace=True)


def instance_stage(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions with instance normalisation; after the second a plain ReLU follows."""
    return nn.Sequential(
        InstanceConv(inputs, outputs, stride=stride),
        convolution(outputs, outputs),
        nn.InstanceNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Join(nn.Module):
    """Doubles the size of an image and convolves it together with another one.

    Args:
        kind: of both convolutions.
        inputs: channels of the image that is enlarged.
        beside: channels of the other one; the result has twice as many.
    """

    def __init__(self, kind: type[BatchConv] | type[InstanceConv], inputs: int, beside: int) -> None:
        super().__init__()
        self.conv1 = kind(inputs, beside, up=True)
        self.conv2 = kind(2 * beside, 2 * beside)

    def forward(self, x: Float[Tensor, "b c _ _"], beside: Float[Tensor, "b d h w"]) -> Float[Tensor, "b e h w"]:
        """The enlarged image stands before the other one."""
        found: Tensor = self.conv2(torch.cat([self.conv1(x), beside], 1))
        return found


class FeatureGate(nn.Module):
    """Weights of a volume's channels from the left picture's features, the same for all disparities.

    Args:
        channels: of the volume.
        features: channels of the features.
    """

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        half = features // 2
        self.feat_att = nn.Sequential(BatchConv(features, half, 1), nn.Conv2d(half, channels, 1))

    def forward(
        self, volume: Float[Tensor, "b c d h w"], features: Float[Tensor, "b f h w"]
    ) -> Float[Tensor, "b c d h w"]:
        """sigmoid(gate) times volume."""
        return torch.sigmoid(self.feat_att(features))[:, :, None] * volume
