"""What a number of video depth means: the fit of a whole clip, its space, its pixels and its averages, under one name.

A name is `benchmark/method of measuring`. Every protocol here fits **one** scale (and shift) to all frames of a clip:
a fit per frame would hide the very flicker and drift that video depth is about.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

from depthweave.data import CLIP_BENCHMARKS
from depthweave.errors import UnknownBenchmark
from depthweave.metrics import Metric, depth_metric

Space = Literal["disparity", "depth"]
FitKind = Literal["least-squares", "least-absolute", "median-scale"]
Resizing = Literal["nearest", "bilinear", "bicubic"]

CLIP_METRICS = ("abs-rel", "rmse", "delta-1", "delta-2")


@dataclass(frozen=True)
class ClipProtocol:
    """How clips are fitted, measured and averaged.

    Attributes:
        name: unique, `benchmark/way`.
        benchmark: name of the data set (`depthweave.data.CLIP_BENCHMARKS`).
        space: where scale and shift are fitted: inverse depth ("disparity"), "depth", or None for what the method
            predicts by itself.
        fit: "least-squares" and "least-absolute" fit scale and shift, "median-scale" the ratio of the medians.
        resizing: of predictions to the size of the truth, in the space of the fit.
        averaging: "per-frame" is the mean of the frames' values and then of the clips' values; "pooled" takes all
            pixels of a clip together, and weights clips by their pixels.
        truth_range_m: truth outside this open interval does not count.
        clip_range_m: fitted depth is clamped to it.
        least_disparity: fitted disparity in 1/m is raised to it before it is inverted.
        citation: paper and address.
        notes: what else a reader of the number must know.
        by_default: whether it is scored unless other protocols are asked for.
    """

    name: str
    benchmark: str
    space: Space | None
    fit: FitKind
    resizing: Resizing
    averaging: Literal["per-frame", "pooled"]
    truth_range_m: tuple[float, float]
    clip_range_m: tuple[float, float]
    citation: str
    notes: str
    least_disparity: float = 1e-3
    by_default: bool = False

    def definitions(self) -> tuple[Metric, ...]:
        """Unit, pooling rule and formula of its metrics."""
        return tuple(depth_metric(name) for name in CLIP_METRICS)


def clip_protocol(name: str) -> ClipProtocol:
    """The protocol of that name.

    Raises:
        UnknownBenchmark: no such name; the sentence lists the closest ones.
    """
    if name not in CLIP_PROTOCOLS:
        close = get_close_matches(name, CLIP_PROTOCOLS, n=4, cutoff=0.5) or list(CLIP_PROTOCOLS)
        raise UnknownBenchmark(f"there is no protocol {name!r} for clips; did you mean {', '.join(close)}?")
    return CLIP_PROTOCOLS[name]


def clip_protocols_for(benchmark: str) -> tuple[ClipProtocol, ...]:
    """All protocols of a benchmark, those that are scored by default first.

    Raises:
        UnknownBenchmark: no protocol is for it.
    """
    found = [each for each in CLIP_PROTOCOLS.values() if each.benchmark == benchmark]
    if not found:
        raise UnknownBenchmark(
            f"there is no protocol of clips for {benchmark!r}; there are some for {', '.join(CLIP_BENCHMARKS)}."
        )
    return tuple(sorted(found, key=lambda each: not each.by_default))


LEAST_DEPTH_M = 1e-3
MOST_DEPTH_M: Mapping[str, float] = MappingProxyType(
    {"sintel-depth": 70.0, "kitti-depth": 80.0, "megadepth": float("inf")}
)
MOST_DEPTH_INDOORS_M = 10.0

_STEREODIFF = "Li et al., StereoDiff, arXiv 2506.20756, section 4"
_DEPTHCRAFTER = "Hu et al., DepthCrafter, CVPR 2025; https://github.com/Tencent/DepthCrafter (benchmark)"
_MONST3R = "Zhang et al., MonST3R, ICLR 2025; https://github.com/Junyi42/monst3r (video depth evaluation)"
_STEREODIFF_NOTES = (
    "AbsRel divides by the truth and RMSE is the root of the mean square, unlike the misprints of the paper. Limits of "
    "depth are DepthCrafter's."
)
_DEPTHCRAFTER_NOTES = (
    "Upstream also raises its [0, 1] maps to 1e-3 before the fit; that is left out here, since an affine change of the "
    "whole prediction must change nothing."
)
_MONST3R_NOTES = (
    "The least absolute deviation is found exactly (upstream runs up to 1000 steps of Adam); a clip with more than "
    "four million pixels is fitted on an even choice of them."
)


def _protocols(benchmark: str) -> dict[str, ClipProtocol]:
    most_m = MOST_DEPTH_M.get(benchmark, MOST_DEPTH_INDOORS_M)
    limits = (LEAST_DEPTH_M, most_m)
    # MonST3R clamps on Sintel only, and counts truth at any distance elsewhere.
    far = limits if benchmark == "sintel-depth" else (0.0, float("inf"))
    stereodiff = ClipProtocol(
        f"{benchmark}/stereodiff",
        benchmark,
        None,
        "least-squares",
        "nearest",
        "per-frame",
        limits,
        limits,
        _STEREODIFF,
        f"Fitted in the method's own space. {_STEREODIFF_NOTES}",
        by_default=True,
    )
    depthcrafter = replace(
        stereodiff,
        name=f"{benchmark}/depthcrafter",
        space="disparity",
        resizing="bilinear",
        citation=_DEPTHCRAFTER,
        notes=_DEPTHCRAFTER_NOTES,
    )
    monst3r = ClipProtocol(
        f"{benchmark}/monst3r",
        benchmark,
        "depth",
        "least-absolute",
        "bicubic",
        "pooled",
        far,
        (LEAST_DEPTH_M, far[1]),
        _MONST3R,
        _MONST3R_NOTES,
        by_default=True,
    )
    own = f"Fitted in the named space, whatever the method predicts. {_STEREODIFF_NOTES}"
    found = (
        stereodiff,
        depthcrafter,
        monst3r,
        replace(stereodiff, name=f"{benchmark}/stereodiff-disparity", space="disparity", notes=own, by_default=False),
        replace(stereodiff, name=f"{benchmark}/stereodiff-depth", space="depth", notes=own, by_default=False),
        replace(
            monst3r,
            name=f"{benchmark}/monst3r-median",
            fit="median-scale",
            notes="Scale only: median of the truth over median of the prediction, all frames together.",
            by_default=False,
        ),
        replace(
            monst3r,
            name=f"{benchmark}/monst3r-disparity",
            space="disparity",
            notes=f"For predictions of disparity, fitted there. {_MONST3R_NOTES}",
            by_default=False,
        ),
    )
    return {each.name: each for each in found}


CLIP_PROTOCOLS: Mapping[str, ClipProtocol] = MappingProxyType(
    {name: each for benchmark in CLIP_BENCHMARKS for name, each in _protocols(benchmark).items()}
)
"""All protocols of clips by name."""
