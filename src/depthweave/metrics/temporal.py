"""What errors do over the frames of a clip: slow and fast parts, flicker, and drift of the scale."""

import math
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.geometry import sample

BANDS = 11
"""F0 (the mean) to F10 (the fastest changes)."""

BandEdges = Literal["exponential", "dyadic", "doubling"]


class Drift(NamedTuple):
    """How the scale of single frames runs away from that of the clip, in percent."""

    percent_per_100_frames: float
    range_percent: float


def frequency_bands(frames: int, *, edges: BandEdges = "exponential") -> tuple[range, ...]:
    """The frequencies k = 0 .. K, K = floor(T / 2), of each of the bands F0 to F10; some may be empty.

    F0 is always {0}, the mean. For b = 1 to 10,

    - ``exponential``: K^((b-1)/10) <= k < K^(b/10), the last band closed;
    - ``dyadic``: 2^(b-1) <= k < 2^b;
    - ``doubling``: {1}, {2}, {3, 4}, {5 .. 8}, .. {257 .. 512}.

    What lies beyond the last dyadic or doubling band (clips of more than a thousand frames) belongs to that band.

    Args:
        frames: T, at least 1.
        edges: which of the three; the paper says "divided exponentially into 11 groups" and gives no edges.

    Raises:
        WrongInput: no frames, or unknown edges.

    Source: StereoDiff (Li et al., arXiv 2506.20756), section 5 and Table 2; the edges are our readings of it.
    """
    if frames < 1:
        raise WrongInput(f"a series of {frames} frames has no frequencies; give at least one frame.")
    highest = frames // 2
    if edges == "exponential":
        starts = [_first_of_band(b, highest) for b in range(BANDS - 1)]
    elif edges == "dyadic":
        starts = [2**b for b in range(BANDS - 1)]
    elif edges == "doubling":
        starts = [1, *(2 ** (b - 1) + 1 for b in range(1, BANDS - 1))]
    else:
        raise WrongInput(f"there are no band edges {edges!r}; take exponential, dyadic or doubling.")
    limits = [min(start, highest + 1) for start in starts] + [highest + 1]
    return (range(1), *(range(low, max(low, high)) for low, high in pairwise(limits)))


def band_signals(series: Float[Tensor, "*b t"], *, edges: BandEdges = "exponential") -> Float[Tensor, "*b 11 t"]:
    """The part of a series that each band holds; the sum over the bands is the series.

    Args:
        series: (.., t) an error per frame, finite.
        edges: as in `frequency_bands`.

    Raises:
        WrongInput: a value that is not finite (fill or leave out such frames first), or no frames.

    Formula: all frequencies but those of the band (with their conjugates) are set to zero, and the discrete Fourier
    transform is inverted. Source: StereoDiff, section 5.
    """
    spectrum = _spectrum(series)
    parts = []
    for band in frequency_bands(series.shape[-1], edges=edges):
        kept = torch.zeros_like(spectrum)
        kept[..., band.start : band.stop] = spectrum[..., band.start : band.stop]
        parts.append(torch.fft.irfft(kept, n=series.shape[-1]))
    return torch.stack(parts, dim=-2).to(series.dtype)


def band_values(series: Float[Tensor, "*b t"], *, edges: BandEdges = "exponential") -> Float[Tensor, "*b 11"]:
    """F0 to F10 of an error series, in the unit of the error: mean over t of the absolute value of each band's signal.

    F0 is the absolute mean of the series. An empty band has 0. Arguments, errors and source as in `band_signals`.
    """
    return band_signals(series, edges=edges).abs().mean(-1)


def amplitude_spectrum(series: Float[Tensor, "*b t"]) -> Float[Tensor, "*b k"]:
    """|F_k| for k = 0 .. floor(T / 2), with F_k = sum over t of e_t exp(-2 pi i k t / T).

    Args:
        series: (.., t) an error per frame, finite.

    Raises:
        WrongInput: a value that is not finite, or no frames.

    Source: StereoDiff, section 5 and Figure 3.
    """
    return _spectrum(series).abs().to(series.dtype)


def amplitude_ratio(series: Float[Tensor, "*b t"], reference: Float[Tensor, "*b u"]) -> Float[Tensor, "*b k"]:
    """Amplitudes of one method's error series over those of another's; below 1 the first has less of a frequency.

    Args:
        series: (.., t) the method's errors.
        reference: (.., t) errors of the same frames by the method that it is compared with.

    Returns:
        (.., floor(T / 2) + 1) ratios; NaN where both are zero.

    Raises:
        WrongInput: series of different frames, or values that are not finite.

    Source: StereoDiff, Figure 3.
    """
    if series.shape != reference.shape:
        raise WrongInput(
            f"series of {tuple(series.shape)} and {tuple(reference.shape)} values have no ratio; take the same frames."
        )
    return amplitude_spectrum(series) / amplitude_spectrum(reference)


def mean_change(series: Float[Tensor, "*b t"]) -> Float[Tensor, "*b"]:
    """Mean over t of |e_t - e_(t-1)|, in the unit of the series; frames that are NaN count with neither neighbour.

    Args:
        series: (.., t) one figure per frame, such as its error.

    Returns:
        (..); NaN where no two neighbours are known.
    """
    return _known_mean((series[..., 1:] - series[..., :-1]).abs())


def second_difference(values: Float[Tensor, "t h w"], valid: Bool[Tensor, "t h w"]) -> float:
    """Flicker of single pixels: mean |v_(t-1) - 2 v_t + v_(t+1)|, in the unit of the values.

    A steady change of a pixel costs nothing; a pixel that goes to and fro does. Give signed errors (or logarithms of
    prediction over truth), so that motion in the scene does not count.

    Args:
        values: (t, h, w).
        valid: (t, h, w); a pixel counts where it is valid in three frames running.

    Returns:
        NaN if no pixel counts.
    """
    bend = (values[:-2] - 2 * values[1:-1] + values[2:]).abs()
    known = valid[:-2] & valid[1:-1] & valid[2:]
    return float(bend[known].double().mean())


def pixel_change(
    current: Float[Tensor, "h w"], previous: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"]
) -> tuple[float, int]:
    """Mean |v_t - v_(t-1)| over the valid pixels of a frame and its predecessor, with their number.

    Args:
        current, previous: (h, w) in one unit; logarithms of prediction over truth make it flicker of relative depth.
        valid: (h, w), true where both are known.
    """
    count = int(valid.sum())
    return float((current - previous)[valid].abs().double().mean()), count


def warped_change(
    current: Float[Tensor, "h w"],
    current_valid: Bool[Tensor, "h w"],
    previous: Float[Tensor, "h w"],
    previous_valid: Bool[Tensor, "h w"],
    previous_from_current_px: Float[Tensor, "h w 2"],
    matched: Bool[Tensor, "h w"],
) -> tuple[float, int]:
    """Flicker without truth: mean |d_t - d_(t-1)| between points that correspond, relative to d_t.

    Args:
        current, previous: (h, w) depth or disparity of two frames under one scale.
        current_valid, previous_valid: (h, w).
        previous_from_current_px: (h, w, 2) motion along x and y from each pixel of the frame to its predecessor.
        matched: (h, w), true where the motion can be trusted (both directions of the flow agree).

    Returns:
        The mean without unit, and the number of pixels behind it (NaN and 0 for none). True motion towards the camera
        counts, so compare only methods on the same clip.

    Source: the warping error of video depth, as in Wang et al., Less is More: Consistent Video Depth Estimation, MM
    2022 (OPW), here relative.
    """
    height, width = current.shape
    rows = torch.arange(height, dtype=current.dtype)[:, None].expand(height, width)
    columns = torch.arange(width, dtype=current.dtype).expand(height, width)
    places = torch.stack((columns, rows), -1) + previous_from_current_px
    # A pixel between a valid and an invalid neighbour has a share of a filler in it and does not count.
    warped, inside = sample(previous[None], places)
    share, _ = sample(previous_valid[None].to(current.dtype), places)
    known = matched & inside & current_valid & (share[0] > 1 - 1e-4) & (current > 0)
    count = int(known.sum())
    return float(((current - warped[0]).abs() / current)[known].double().mean()), count


def drift(scales: Float[Tensor, "t"]) -> Drift:
    """How the best scale of single frames wanders under the one scale of the clip.

    Args:
        scales: (t,) for every frame the factor that would fit it best after the fit of the clip, 1 for a perfect
            frame, e.g. median of truth over prediction; NaN where it is not known.

    Returns:
        Slope of the straight line through 100 ln(scale), per 100 frames, and largest minus smallest of 100 ln(scale);
        both NaN with fewer than two frames.

    Raises:
        WrongInput: a scale that is not positive.
    """
    if bool((scales <= 0).any()):
        raise WrongInput("a scale is positive; leave frames without one out (NaN).")
    known = torch.isfinite(scales)
    if int(known.sum()) < 2:
        return Drift(math.nan, math.nan)
    times = torch.nonzero(known).flatten().double()
    percent = 100 * scales[known].double().log()
    centred = times - times.mean()
    slope = float((centred * percent).sum() / centred.square().sum())
    return Drift(100 * slope, float(percent.max() - percent.min()))


def split_by_motion(
    valid: Bool[Tensor, "*b h w"], dynamic: Bool[Tensor, "*b h w"] | None
) -> dict[str, Bool[Tensor, "*b h w"]]:
    """Masks by region: "all", and with a mask of what moves "static" and "dynamic", which make up "all".

    Args:
        valid: (.., h, w) pixels to measure.
        dynamic: (.., h, w), true where something moves by itself; None if nobody knows.

    Source: StereoDiff, section 4.3 (there the masks are FlowSAM's).
    """
    if dynamic is None:
        return {"all": valid}
    return {"all": valid, "static": valid & ~dynamic, "dynamic": valid & dynamic}


def _spectrum(series: Tensor) -> Tensor:
    if series.shape[-1] < 1:
        raise WrongInput("a series of no frames has no frequencies; give at least one frame.")
    wrong = int((~torch.isfinite(series)).sum())
    if wrong:
        raise WrongInput(f"{wrong} of {series.numel()} errors are not finite; fill or leave out these frames first.")
    spectrum: Tensor = torch.fft.rfft(series.double())
    return spectrum


def _first_of_band(number: int, highest: int) -> int:
    """The smallest k >= K^(number / 10), one past K if there is none."""
    # As k^10 >= K^number, in whole numbers and so without rounding at the edges.
    return next((k for k in range(1, highest + 1) if k**10 >= highest**number), highest + 1)


def _known_mean(values: Tensor) -> Tensor:
    known = torch.isfinite(values)
    return torch.where(known, values, 0.0).sum(-1) / known.sum(-1)
