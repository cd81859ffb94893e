"""What the configurations of pointmap networks have in common."""

from dataclasses import dataclass

from depthweave.errors import WrongInput

FEWEST_BLOCKS = 10
"""The dense head reads the encoder and three of at least so many decoder blocks."""


@dataclass(frozen=True)
class PointmapConfig:
    """Sizes; the defaults are those of all official models.

    Attributes:
        encoder_dim, encoder_depth, encoder_heads: width of a token, blocks and attention heads of the encoder.
        decoder_dim, decoder_depth, decoder_heads: the same of each of the two decoders.
        rope_base: of the frequencies of the rotary positions.
        image_size: 224 for a network trained on squares of 224 px, else the longer side in px that it was trained on.
        least_confidence: what the confidence of a pixel cannot go below.

    Raises:
        WrongInput: sizes that no network can be built from.
    """

    encoder_dim: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_dim: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    rope_base: float = 100.0
    image_size: int = 512
    least_confidence: float = 1.0

    def __post_init__(self) -> None:
        for part in ("encoder", "decoder"):
            dim, heads, depth = (getattr(self, f"{part}_{name}") for name in ("dim", "heads", "depth"))
            if min(dim, heads, depth) < 1 or dim % (4 * heads):
                raise WrongInput(
                    f"the {part} of {depth} blocks with {dim} channels and {heads} heads cannot be built: every head "
                    "needs a multiple of 4 channels."
                )
        if self.image_size < 1 or self.rope_base <= 0:
            raise WrongInput(f"image_size={self.image_size} and rope_base={self.rope_base} must be positive.")

    def require_blocks(self) -> None:
        """That the decoders are deep enough for the dense head.

        Raises:
            WrongInput: they are not.
        """
        if self.decoder_depth < FEWEST_BLOCKS:
            raise WrongInput(
                f"the dense head reads four places of a decoder and needs at least {FEWEST_BLOCKS} blocks, not "
                f"{self.decoder_depth}; take the linear head."
            )
