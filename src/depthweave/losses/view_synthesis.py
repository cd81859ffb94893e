"""Which pixels a synthesised view may teach: of several sources, of moving things, of what nothing explains.

Errors are those of `losses.photometric` or others that are not negative; lower explains better. Nothing here knows how
the views were synthesised. Masks carry no gradient; predicted ones come as logits, so that their logarithms are finite.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.losses.consistency import round_trip
from depthweave.losses.finite import on_finite


def minimum_reprojection(errors: Float[Tensor, "s *b h w"]) -> Float[Tensor, "*b h w"]:
    """Least error over the sources, min_s pe(I_t, I~_s): what one source does not see, another one may.

    Errors that are not finite take no part (put NaN or inf where a source does not see the pixel); NaN, without a
    gradient, where no source is left. The gradient flows into the least error alone.

    Args:
        errors: one map per source, any unit.

    Raises:
        WrongInput: no sources.

    Source: Godard et al., Digging Into Self-Supervised Monocular Depth Estimation (Monodepth2), ICCV 2019, eq. 4.
    """
    if errors.shape[0] == 0:
        raise WrongInput("there are no sources to take the least error of; give at least one map.")
    least = torch.where(errors.isfinite(), errors, torch.inf).min(dim=0).values
    return torch.where(least.isfinite(), least, torch.nan)


def auto_mask(
    errors: Float[Tensor, "s *b h w"],
    still_errors: Float[Tensor, "s *b h w"],
    *,
    tie_break: float | int = 1e-5,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, "*b h w"]:
    """Where warping explains the pixel better than standing still, min_s pe(I_t, I~_s) < min_s pe(I_t, I_s).

    It takes out things that move with the camera, and all of the picture where the camera stands. False where no source
    is finite in the first; no gradient.

    Args:
        errors: of the synthesised views, one map per source.
        still_errors: of the sources as they are.
        tie_break: normal noise of this deviation on the still errors, as the published code has it, so that equal
            errors (textureless areas) are kept half of the time; 0 leaves it out.
        generator: of the noise.

    Raises:
        WrongInput: no sources, or a negative tie break.

    Source: Godard et al., Monodepth2, ICCV 2019, eq. 5.
    """
    if tie_break < 0:
        raise WrongInput(f"the noise that breaks ties is {tie_break}; it is 0 for none, or more.")
    with torch.no_grad():
        moved, still = _least(errors), _least(still_errors)
        if tie_break > 0:
            still = still + tie_break * torch.randn(
                still.shape, generator=generator, device=still.device, dtype=still.dtype
            )
        return moved < still


def inlier_probability(
    errors: Float[Tensor, "s *b h w"], still_errors: Float[Tensor, "s *b h w"], *, temperature: float | int = 0.02
) -> Float[Tensor, "*b h w"]:
    """Soft `auto_mask` to look at, or to weigh with: sigmoid((min_s still - min_s warped) / temperature), in [0, 1].

    1 / 2 where warping explains as much as standing still, 0 where no source is finite in the first. No gradient.

    Args:
        errors: of the synthesised views, one map per source.
        still_errors: of the sources as they are.
        temperature: in the unit of the errors; towards 0 it becomes the mask.

    Raises:
        WrongInput: no sources, or a temperature that is not positive.

    Source: ours; the mask is of Godard et al., Monodepth2, ICCV 2019, eq. 5.
    """
    if temperature <= 0:
        raise WrongInput(f"the temperature is {temperature}; choose one above 0, or `auto_mask`.")
    with torch.no_grad():
        moved, still = _least(errors), _least(still_errors)
        return torch.where(moved.isinf(), 0.0, ((still - moved) / temperature).sigmoid())


def explained(
    error: Float[Tensor, "*any"], logit: Float[Tensor, "*any"], *, weight: float | int = 0.2
) -> Float[Tensor, "*any"]:
    """Explainability E = sigmoid(logit) weighs the error and pays for doubt: E error - weight ln E.

    Least at E = min(1, weight / error). NaN, without a gradient, where error or logit is not finite.

    Args:
        error: photometric, not negative.
        logit: of the mask that the network predicts.
        weight: of the price.

    Raises:
        WrongInput: weight is not positive.

    Source: Zhou et al., Unsupervised Learning of Depth and Ego-Motion from Video, CVPR 2017, eq. 3 and section 3.3.
    """
    if weight <= 0:
        raise WrongInput(f"the weight is {weight}, so that explaining nothing costs nothing; choose one above 0.")
    return on_finite(lambda e, x: x.sigmoid() * e + weight * F.softplus(-x), error, logit)


def rigid_flow_consistency(
    forward: Float[Tensor, "*b 2 h w"],
    backward: Float[Tensor, "*b 2 h w"],
    *,
    relative: float | int = 0.05,
    absolute: float | int = 3.0,
) -> tuple[Float[Tensor, "*b h w"], Bool[Tensor, "*b h w"]]:
    """GeoNet's flow consistency |r|_1 with r(p) = F(p) + B(p + F(p)), where |r|_2 < max(absolute, relative |F(p)|_2).

    With it that mask, False off the second view; the map is 0 where the mask is False. The mask has no gradient.

    Args:
        forward: full motion F in px, that of the still scene (`geometry.rigid_flow`) plus a residual, if there is one.
        backward: the same from the second view to the first.
        relative: without unit.
        absolute: in px.

    Source: Yin and Shi, GeoNet, CVPR 2018, eq. 6 and 7.
    """
    there_and_back, inside = round_trip(forward, backward)
    with torch.no_grad():
        bound = (relative * forward.square().sum(-3).sqrt()).clamp_min(absolute)
        mask = inside & (there_and_back.square().sum(-3).sqrt() < bound)
    # Where the mask is False the loss may be NaN; its gradient ends here.
    loss = on_finite(torch.abs, there_and_back).sum(-3)
    return torch.where(mask, loss, 0.0), mask


def collaboration_static(error: Float[Tensor, "*any"], static_logit: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Competitive collaboration's E_R: m rho_R, what depth and camera motion leave unexplained of the still scene.

    NaN, without a gradient, where error or logit is not finite. The players (depth and pose with E_R, flow with E_F)
    train on a detached mask, then the moderator (the mask) trains on both and on `collaboration_prior` and
    `collaboration_consensus`.

    Args:
        error: rho_R, photometric error of the view synthesised by depth and pose.
        static_logit: logit of m, the probability that the pixel is of the still scene.

    Source: Ranjan et al., Competitive Collaboration, CVPR 2019, section 3.2 (E_R).
    """
    return on_finite(lambda e, x: x.sigmoid() * e, error, static_logit)


def collaboration_moving(error: Float[Tensor, "*any"], static_logit: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Competitive collaboration's E_F: (1 - m) rho_F, what optical flow leaves unexplained of the moving things.

    NaN, without a gradient, where error or logit is not finite.

    Args:
        error: rho_F, photometric error of the view synthesised by optical flow.
        static_logit: logit of m, the probability that the pixel is of the still scene.

    Source: Ranjan et al., Competitive Collaboration, CVPR 2019, section 3.2 (E_F).
    """
    return on_finite(lambda e, x: (-x).sigmoid() * e, error, static_logit)


def collaboration_prior(static_logit: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Competitive collaboration's E_M: cross-entropy of m against 1, -ln m, the price of calling a pixel moving.

    NaN, without a gradient, where the logit is not finite.

    Args:
        static_logit: logit of m, the probability that the pixel is of the still scene.

    Source: Ranjan et al., Competitive Collaboration, CVPR 2019, section 3.2 (E_M).
    """
    return on_finite(lambda x: F.softplus(-x), static_logit)


def collaboration_consensus(
    static_error: Float[Tensor, "*b h w"],
    moving_error: Float[Tensor, "*b h w"],
    static_flow: Float[Tensor, "*b 2 h w"],
    flow: Float[Tensor, "*b 2 h w"],
    static_logit: Float[Tensor, "*b h w"],
    *,
    threshold_px: float | int = 1.0,
) -> Float[Tensor, "*b h w"]:
    """Competitive collaboration's E_C: cross-entropy of m against [rho_R < rho_F or |v - u|_2 < threshold].

    The target, and with it errors and motions, has no gradient. NaN, without a gradient, where logit, errors or motions
    are not finite.

    Args:
        static_error: rho_R, of the view synthesised by depth and pose.
        moving_error: rho_F, of the view synthesised by optical flow.
        static_flow: v in px, the motion of a still scene (`geometry.rigid_flow`).
        flow: u in px, the optical flow.
        static_logit: logit of m, the probability that the pixel is of the still scene.
        threshold_px: lambda_c; the paper has 0.001 of its own unit, this default is ours.

    Raises:
        WrongInput: threshold_px is negative.

    Source: Ranjan et al., Competitive Collaboration, CVPR 2019, section 3.2 (E_C).
    """
    if threshold_px < 0:
        raise WrongInput(f"the threshold is {threshold_px} px, but a distance cannot be negative; use 0 or more.")
    with torch.no_grad():
        apart = (static_flow - flow).square().sum(-3).sqrt()
        known = static_error.isfinite() & moving_error.isfinite() & apart.isfinite()
        static = ((static_error < moving_error) | (apart < threshold_px)).to(static_logit.dtype)
    loss = on_finite(lambda x: F.softplus(x) - static * x, static_logit)
    return torch.where(known, loss, torch.nan)


def _least(errors: Tensor) -> Tensor:
    """`minimum_reprojection`, inf where no source is finite."""
    least = minimum_reprojection(errors)
    return torch.where(least.isnan(), torch.inf, least)
