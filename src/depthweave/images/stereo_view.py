"""Pairs for viewers: side by side, and anaglyphs for red-cyan glasses."""

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.images.color import luminance

_DUBOIS_LEFT = (
    (0.4561000, 0.5004838, 0.1763809),
    (-0.0400822, -0.0378246, -0.0157590),
    (-0.0152161, -0.0205971, -0.0054686),
)
_DUBOIS_RIGHT = (
    (-0.0434706, -0.0879388, -0.0015553),
    (0.3784760, 0.7336400, -0.0184503),
    (-0.0721527, -0.1129607, 1.2263951),
)


def side_by_side(left: Float[Tensor, "*b 3 h w"], right: Float[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w2"]:
    """Both pictures in one of twice the width, the left one on the left (for parallel viewing, and most headsets).

    Args:
        left, right: R, G, B in [0, 1].
    """
    return torch.cat((left, right), dim=-1)


def anaglyph(
    left: Float[Tensor, "*b 3 h w"], right: Float[Tensor, "*b 3 h w"], *, method: str = "dubois"
) -> Float[Tensor, "*b 3 h w"]:
    """One picture for glasses with a red filter for the left eye and a cyan one for the right.

    Args:
        left, right: R, G, B in [0, 1], with the transfer curve of sRGB.
        method: ``dubois`` mixes the six channels so that what passes the filters is nearest to both pictures in CIE
            XYZ, by least squares; in linear light. ``half-color`` takes red from the left luminance, green and blue
            from the right picture: more colour, more rivalry between the eyes.

    Raises:
        WrongInput: an unknown method.

    Source: Dubois, "A projection method to generate anaglyph stereo images", ICASSP 2001; the matrices are those of
    its red-cyan glasses and CRT display, each row scaled so that white stays white.
    """
    if method == "half-color":
        return torch.cat((luminance(left)[..., None, :, :], right[..., 1:, :, :]), dim=-3)
    if method != "dubois":
        raise WrongInput(f"there is no anaglyph '{method}'; take dubois or half-color.")
    mixed = sum(
        torch.einsum("ij,...jhw->...ihw", view.new_tensor(matrix), _linear(view))
        for view, matrix in ((left, _DUBOIS_LEFT), (right, _DUBOIS_RIGHT))
    )
    return _encoded(torch.as_tensor(mixed).clamp(0, 1))


def _linear(values: Tensor) -> Tensor:
    """Light of sRGB values (IEC 61966-2-1)."""
    return torch.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: Tensor) -> Tensor:
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055)
