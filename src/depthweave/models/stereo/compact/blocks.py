"""Parts of the compact matcher: convolutions with folded normalisation, the encoder, the filter, the refinements."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from depthweave.models.stereo.compact.config import CompactConfig


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and (unless told otherwise) ReLU; one operation when not training.

    Args:
        inputs, outputs: channels.
        kernel, stride: of the convolution, padded by half of the kernel.
        dims: 2 or 3.
        relu: whether ReLU follows.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, *, dims: int = 2, relu: bool = True
    ) -> None:
        super().__init__()
        kind: Any = nn.Conv2d if dims == 2 else nn.Conv3d
        self.conv = kind(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm: Any = nn.BatchNorm2d(outputs) if dims == 2 else nn.BatchNorm3d(outputs)
        self.relu = relu

    def forward(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b d *t"]:
        """Apply it."""
        if self.training:
            y = self.norm(self.conv(x))
        else:
            norm, conv = self.norm, self.conv
            weight, bias = fuse_conv_bn_weights(
                conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            convolve: Any = F.conv2d if x.ndim == 4 else F.conv3d
            y = convolve(x, weight, bias, conv.stride, conv.padding)
        return F.relu(y, inplace=True) if self.relu else y


class Residual(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, relu=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """relu(x + f(x))."""
        return F.relu(x + self.second(self.first(x)), inplace=True)


class Encoder(nn.Module):
    """Features at 1/2, 1/4 and 1/8 of the size; those at 1/4 and 1/8 have seen all coarser ones."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = config.widths
        fine, coarse = config.fused
        self.to_half = nn.Sequential(ConvNorm(3, half, stride=2), ConvNorm(half, half))
        self.to_quarter = nn.Sequential(ConvNorm(half, quarter, stride=2), Residual(quarter))
        self.to_eighth = nn.Sequential(ConvNorm(quarter, eighth, stride=2), Residual(eighth))
        self.to_sixteenth = nn.Sequential(ConvNorm(eighth, sixteenth, stride=2), Residual(sixteenth))
        self.back_eighth = ConvNorm(sixteenth + eighth, coarse)
        self.back_quarter = ConvNorm(coarse + quarter, fine)

    def forward(self, views: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pictures to features at 1/2, 1/4 and 1/8."""
        half = self.to_half(views)
        quarter = self.to_quarter(half)
        eighth = self.to_eighth(quarter)
        eighth = self.back_eighth(torch.cat([enlarge(self.to_sixteenth(eighth), eighth), eighth], 1))
        return half, self.back_quarter(torch.cat([enlarge(eighth, quarter), quarter], 1)), eighth


class VolumeFilter(nn.Module):
    """An hourglass over rows, columns and disparities at 1/8 to 1/32; the left picture's features gate its entrance."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.volume
        self.enter = ConvNorm(config.groups, fine, stride=2, dims=3)
        self.gate = nn.Conv2d(config.fused[1], fine, 1)
        self.eighth = ConvNorm(fine, fine, dims=3)
        self.sixteenth = nn.Sequential(ConvNorm(fine, middle, stride=2, dims=3), ConvNorm(middle, middle, dims=3))
        self.thirtysecond = nn.Sequential(ConvNorm(middle, coarse, stride=2, dims=3), ConvNorm(coarse, coarse, dims=3))
        self.up_sixteenth = nn.Conv3d(coarse, middle, 1)
        self.back_sixteenth = ConvNorm(middle, middle, dims=3)
        self.up_eighth = nn.Conv3d(middle, fine, 1)
        self.back_eighth = ConvNorm(fine, fine, dims=3)
        self.leave = nn.Conv3d(fine, 1, 3, padding=1)

    def forward(
        self, volume: Float[Tensor, "b g h w d"], features: Float[Tensor, "b c h8 w8"]
    ) -> Float[Tensor, "b h w d"]:
        """Scores of the size of the volume."""
        entered = self.enter(volume.contiguous(memory_format=torch.channels_last_3d))
        eighth = self.eighth(entered * (2 * torch.sigmoid(self.gate(features)))[..., None])
        sixteenth = self.sixteenth(eighth)
        deep = self.up_sixteenth(self.thirtysecond(sixteenth))
        back = self.back_sixteenth(enlarge(deep, sixteenth) + sixteenth)
        back = self.back_eighth(enlarge(self.up_eighth(back), eighth) + eighth)
        return enlarge(self.leave(back), volume)[:, 0].float()


class QuarterRefinement(nn.Module):
    """One step at 1/4: look-ups, disparity and context through a small hourglass to a change and a state."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        hidden = config.hidden
        window = 2 * config.radius + 1
        self.enter = ConvNorm((config.groups + 1) * window + 2 + hidden, hidden, 1)
        self.fine = ConvNorm(hidden, hidden)
        self.down = nn.Sequential(ConvNorm(hidden, hidden + 16, stride=2), ConvNorm(hidden + 16, hidden + 16))
        self.up = nn.Conv2d(hidden + 16, hidden, 1)
        self.back = ConvNorm(hidden, hidden)
        self.change = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, *inputs: Float[Tensor, "b _ h w"]) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"]]:
        """State, and what to add to the disparity."""
        fine = self.fine(self.enter(torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last)))
        state = self.back(fine + enlarge(self.up(self.down(fine)), fine))
        return state, self.change(state).float()


class HalfRefinement(nn.Module):
    """The last step, at 1/2: a change of the disparity, weights for upsampling, two ratings, and the error's scale."""

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        hidden, half = config.half_hidden, config.widths[0]
        self.descend = nn.Conv2d(config.hidden, 16, 1)
        self.enter = ConvNorm(config.half_groups * (2 * config.half_radius + 1) + 2 + half + 16, hidden, 1)
        self.trunk = nn.Sequential(ConvNorm(hidden, hidden), ConvNorm(hidden, hidden))
        self.change = nn.Conv2d(hidden, 1, 3, padding=1)
        self.rate = nn.Conv2d(hidden, 2, 3, padding=1)
        self.mask = nn.Conv2d(hidden, 9 * 4, 1)
        self.scale: nn.Sequential | None = None
        if config.uncertainty:
            last = nn.Conv2d(hidden, 1, 3, padding=1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]
            self.scale = nn.Sequential(nn.Conv2d(hidden, hidden, 3, padding=1), nn.ReLU(inplace=True), last)

    def forward(
        self, state: Float[Tensor, "b c _ _"], *inputs: Float[Tensor, "b _ h w"]
    ) -> tuple[
        Float[Tensor, "b 1 h w"], Float[Tensor, "b 36 h w"], Float[Tensor, "b 2 h w"], Float[Tensor, "b 1 h w"] | None
    ]:
        """Change in px of 1/2, weights of `upsample_convex` before their softmax, ratings before their sigmoid.

        With ``uncertainty`` also the logarithm of the error's scale in px of the picture, else None.
        """
        coarse = enlarge(self.descend(state), inputs[0])
        x = self.trunk(self.enter(torch.cat([*inputs, coarse], 1).contiguous(memory_format=torch.channels_last)))
        log_scale = None if self.scale is None else self.scale(x).float()
        return self.change(x).float(), self.mask(x).float(), self.rate(x).float(), log_scale


def enlarge(x: Float[Tensor, "b c *s"], like: Float[Tensor, "b d *t"]) -> Float[Tensor, "b c *t"]:
    """Linear resize to the size of another tensor."""
    return F.interpolate(x, size=like.shape[2:], mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)
