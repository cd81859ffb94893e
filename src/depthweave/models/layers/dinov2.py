"""DINOv2's vision transformer, as far as depth networks use it: patches of 14 px in, tokens of chosen blocks out.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024; Dosovitskiy et al.,
"An Image is Worth 16x16 Words", ICLR 2021. Parameter names are those of the official checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput

PATCH_PX = 14
TABLE_SIDE = 37
"""The position table was trained for 37x37 patches, a picture of 518 px."""


@dataclass(frozen=True)
class TransformerSize:
    """Width and depth of a vision transformer, and the DPT decoder that goes with it.

    Attributes:
        dim: width of a token.
        depth: number of blocks.
        heads: attention heads.
        taps: blocks (from 0) whose tokens a decoder reads.
        features: channels inside the decoder.
        channels: channels of the four maps that enter it.
    """

    dim: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    features: int
    channels: tuple[int, int, int, int]


SIZES = {
    "vits": TransformerSize(384, 12, 6, (2, 5, 8, 11), 64, (48, 96, 192, 384)),
    "vitb": TransformerSize(768, 12, 12, (2, 5, 8, 11), 128, (96, 192, 384, 768)),
    "vitl": TransformerSize(1024, 24, 16, (4, 11, 17, 23), 256, (256, 512, 1024, 1024)),
    "nano": TransformerSize(48, 4, 3, (0, 1, 2, 3), 16, (8, 16, 24, 32)),
}
"""Official sizes, and ``nano``, which has no weights and exists to be trained or tested in seconds."""


def transformer_size(name: str) -> TransformerSize:
    """The size of that name.

    Raises:
        WrongInput: no such size.
    """
    if name not in SIZES:
        raise WrongInput(f"there is no encoder '{name}'; choose one of {', '.join(SIZES)}.")
    return SIZES[name]


def encoder_of(state: Mapping[str, Tensor], prefix: str) -> str:
    """Name of the size of the transformer whose tensors stand under ``prefix``.

    Raises:
        WrongInput: there is none, or of none of our sizes.
    """
    token = state.get(f"{prefix}cls_token")
    if token is None:
        raise WrongInput(f"{prefix}cls_token is missing, so it holds no transformer of Depth Anything.")
    for name, size in SIZES.items():
        if size.dim == token.shape[-1]:
            return name
    raise WrongInput(f"its transformer is {token.shape[-1]} wide, which none of {', '.join(SIZES)} is.")


class Tap(NamedTuple):
    """What one tapped block says, after the last normalisation."""

    patches: Float[Tensor, "b c gh gw"]
    cls: Float[Tensor, "b c"]


class Attention(nn.Module):
    """Multi-head self-attention; never holds the matrix of all pairs of tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """softmax(q k^T / sqrt(c / heads)) v per head, then a projection."""
        b, n, c = tokens.shape
        query, key, value = self.qkv(tokens).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Token by token."""
        return self.fc2(F.gelu(self.fc1(tokens)))


class LayerScale(nn.Module):
    """A learned factor per channel. Source: Touvron et al., "Going deeper with Image Transformers", ICCV 2021."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """Multiply."""
        return tokens * self.gamma


class Block(nn.Module):
    """x + ls1(attention(norm1(x))), then x + ls2(mlp(norm2(x)))."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)
        self.ls2 = LayerScale(dim)

    def forward(self, tokens: Float[Tensor, "b n c"]) -> Float[Tensor, "b n c"]:
        """One block."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class PatchEmbed(nn.Module):
    """One token per patch of ``patch_px`` squared."""

    def __init__(self, dim: int, patch_px: int = PATCH_PX) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_px, stride=patch_px)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b n c"]:
        """Patches in reading order."""
        return self.proj(images).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """DINOv2 without register tokens.

    Args:
        size: width and depth.
    """

    def __init__(self, size: TransformerSize) -> None:
        super().__init__()
        self.size = size
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, TABLE_SIDE**2 + 1, size.dim))
        self.mask_token = nn.Parameter(torch.zeros(1, size.dim))
        self.patch_embed = PatchEmbed(size.dim)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim, eps=1e-6)
        for linear in (m for m in self.blocks.modules() if isinstance(m, nn.Linear)):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, images: Float[Tensor, "b 3 h w"], taps: tuple[int, ...] | None = None) -> list[Tap]:
        """Tokens of the tapped blocks, all through the same last normalisation.

        Args:
            images: normalised with ImageNet's mean and deviation; sides are multiples of 14 px.
            taps: blocks (from 0) instead of the size's own.

        Raises:
            WrongInput: sides that are not multiples of 14.
        """
        b, _, h, w = images.shape
        if h % PATCH_PX or w % PATCH_PX:
            raise WrongInput(f"a picture of {w}x{h} px does not split into patches of {PATCH_PX}; resize it first.")
        grid = (h // PATCH_PX, w // PATCH_PX)
        tokens = torch.cat([self.cls_token.expand(b, -1, -1), self.patch_embed(images)], 1)
        tokens = tokens + self.positions(*grid)
        wanted = self.size.taps if taps is None else taps
        found = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in wanted:
                normed = self.norm(tokens)
                patches = normed[:, 1:].transpose(1, 2).reshape(b, -1, *grid)
                found.append(Tap(patches, normed[:, 0]))
            if index == max(wanted):
                break
        return found

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 n c"]:
        """The position table for a grid of patches: bicubic from 37x37, as the official code samples it.

        The official scale factor is (n + 0.1) / 37 and not n / 37: torch uses it for the sampling places, so positions
        differ measurably from a resize to n. Only the trained grid is taken as it is.
        """
        if rows == columns == TABLE_SIDE:
            return self.pos_embed
        table = self.pos_embed[:, 1:].reshape(1, TABLE_SIDE, TABLE_SIDE, -1).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / TABLE_SIDE, (columns + 0.1) / TABLE_SIDE)
        resampled = F.interpolate(table.float(), scale_factor=scale, mode="bicubic")
        if resampled.shape[-2:] != (rows, columns):
            raise WrongInput(
                f"a grid of {columns}x{rows} patches is beyond what the position table can be resampled to."
            )
        flat = resampled.permute(0, 2, 3, 1).reshape(1, rows * columns, -1).to(self.pos_embed.dtype)
        return torch.cat([self.pos_embed[:, :1], flat], 1)
