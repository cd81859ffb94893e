"""Transformer blocks with rotary positions: an encoder's, and a decoder's that also looks at another picture's tokens.

Source: Weinzaepfel et al., "CroCo v2", ICCV 2023; Wang et al., "DUSt3R", CVPR 2024, section 3.1. Parameter names are
those of the official checkpoints.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.models.layers.dinov2 import Mlp
from depthweave.models.layers.rope import Rotation, rotate


def attend(
    query: Float[Tensor, "b heads n c"], key: Float[Tensor, "b heads m c"], value: Float[Tensor, "b heads m c"]
) -> Float[Tensor, "b heads n c"]:
    """softmax(q k^T / sqrt(c)) v per head, without the matrix of all pairs of tokens."""
    return F.scaled_dot_product_attention(query, key, value)


class SelfAttention(nn.Module):
    """Attention within one picture; rows of ``qkv`` are all queries, then all keys, then all values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Float[Tensor, "b n c"], rotation: Rotation) -> Float[Tensor, "b n c"]:
        """Mix the tokens."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(rotate(query, rotation), rotate(key, rotation), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Attention from one picture's tokens to another's; both grids have one shape."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.projq = nn.Linear(dim, dim)
        self.projk = nn.Linear(dim, dim)
        self.projv = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self, tokens: Float[Tensor, "b n c"], memory: Float[Tensor, "b n c"], rotation: Rotation
    ) -> Float[Tensor, "b n c"]:
        """What the tokens find in the memory."""
        query, key, value = (
            project(source).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, source in ((self.projq, tokens), (self.projk, memory), (self.projv, memory))
        )
        mixed = attend(rotate(query, rotation), rotate(key, rotation), value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Float[Tensor, "b n c"], rotation: Rotation) -> Float[Tensor, "b n c"]:
        """One block."""
        tokens = tokens + self.attn(self.norm1(tokens), rotation)
        return tokens + self.mlp(self.norm2(tokens))


class DecoderBlock(nn.Module):
    """x + attention(norm1(x)), then x + cross attention(norm2(x), norm_y(y)), then x + mlp(norm3(x)).

    The other picture's tokens y are not changed.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, heads)
        self.cross_attn = CrossAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)
        self.norm_y = nn.LayerNorm(dim, eps=1e-6)

    def forward(
        self, tokens: Float[Tensor, "b n c"], other: Float[Tensor, "b n c"], rotation: Rotation
    ) -> Float[Tensor, "b n c"]:
        """One block."""
        tokens = tokens + self.attn(self.norm1(tokens), rotation)
        tokens = tokens + self.cross_attn(self.norm2(tokens), self.norm_y(other), rotation)
        return tokens + self.mlp(self.norm3(tokens))
