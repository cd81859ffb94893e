"""What a benchmark number means: region, averaging, limits and metrics under one name, each with its source.

A name is `benchmark/region/averaging`. KITTI keeps its own words for regions: "noc" is "visible", "occ" is "all".
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from depthweave.errors import UnknownBenchmark, WrongInput
from depthweave.metrics import Measurement, Metric, Sample, depth_metric, disparity_metric, measure, select

Averaging = Literal["per-image", "pooled", "weighted"]
Region = Literal["visible", "all"]

GARG_ROWS = (0.40810811, 0.99189189)
GARG_COLUMNS = (0.03594771, 0.96405229)


class Average(NamedTuple):
    """One metric of a data set: its value, the items behind it, and those left out because their mask was empty."""

    value: float
    used: int
    skipped: int
    pixels: int


@dataclass(frozen=True)
class Protocol:
    """How items are measured and how their measurements become one number per metric.

    Attributes:
        name: unique, `benchmark/region/averaging`.
        benchmark: name of the data set (`depthweave.data.BENCHMARKS`, or one without reader here).
        region: mask of the pixels that count: "visible" (seen by both cameras) or "all" (occluded ones too).
        averaging: "per-image" is the mean of the items' values, "weighted" the same with `weights`, "pooled" the value
            of all pixels of all items together.
        metrics: names, in the order of tables.
        headline: the metric that ranks.
        citation: paper and address.
        notes: what else a reader of the number must know.
        quantity: what is compared: "disparity" in px or "depth" in m.
        max_disparity_px: truth at or above it does not count.
        depth_range_m: truth outside this open interval does not count, predictions are clamped to it.
        garg_crop: only the crop of Garg et al. counts.
        median_scaling: predictions are multiplied by median(truth) / median(prediction) of each item first.
        weights: of every item that may appear, by the last part of its key, for "weighted".
    """

    name: str
    benchmark: str
    region: Region
    averaging: Averaging
    metrics: tuple[str, ...]
    headline: str
    citation: str
    notes: str = ""
    quantity: Literal["disparity", "depth"] = "disparity"
    max_disparity_px: float | None = None
    depth_range_m: tuple[float, float] | None = None
    garg_crop: bool = False
    median_scaling: bool = False
    weights: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.headline not in self.metrics:
            raise WrongInput(f"the headline {self.headline} of {self.name} is not among its metrics.")
        if self.averaging == "pooled":
            for metric in self.definitions():
                if metric.pooling is None:
                    raise WrongInput(f"{metric.name} cannot be pooled from the values of single images ({self.name}).")
        if (self.averaging == "weighted") != bool(self.weights):
            raise WrongInput(f"{self.name} must have weights if and only if its averaging is weighted.")

    def definitions(self) -> tuple[Metric, ...]:
        """Unit, pooling rule and formula of its metrics."""
        definition = disparity_metric if self.quantity == "disparity" else depth_metric
        return tuple(definition(name) for name in self.metrics)

    def mask(self, truth: Float[Tensor, "h w"], regions: Mapping[str, Bool[Tensor, "h w"]]) -> Bool[Tensor, "h w"]:
        """The pixels that count.

        Args:
            truth: (h, w) in px or m.
            regions: masks (h, w) by name, as in `StereoTruth.regions`.

        Raises:
            WrongInput: the region of the protocol is not among them.
        """
        if self.region not in regions:
            raise WrongInput(
                f"{self.name} scores the region {self.region!r}, but this truth only has "
                f"{', '.join(map(repr, regions)) or 'none'}; add the missing masks or choose another protocol."
            )
        mask = regions[self.region]
        if self.max_disparity_px is not None:
            mask = mask & (truth < self.max_disparity_px)
        if self.depth_range_m is not None:
            mask = mask & (truth > self.depth_range_m[0]) & (truth < self.depth_range_m[1])
        if self.garg_crop:
            mask = mask & _garg_crop(*truth.shape).to(mask.device)
        return mask


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownBenchmark: no such name; the sentence lists the closest ones.
    """
    if name not in PROTOCOLS:
        close = get_close_matches(name, PROTOCOLS, n=4, cutoff=0.5) or list(PROTOCOLS)
        raise UnknownBenchmark(f"there is no protocol {name!r}; did you mean {', '.join(close)}?")
    return PROTOCOLS[name]


def protocols_for(benchmark: str) -> tuple[Protocol, ...]:
    """All protocols of a benchmark, the official one first where there is one.

    Raises:
        UnknownBenchmark: no protocol is for it.
    """
    found = tuple(each for each in PROTOCOLS.values() if each.benchmark == benchmark)
    if not found:
        names = list(dict.fromkeys(each.benchmark for each in PROTOCOLS.values()))
        close = get_close_matches(benchmark, names, n=3) or names
        raise UnknownBenchmark(f"there is no protocol for {benchmark!r}; did you mean {', '.join(close)}?")
    return found


def evaluate_item(
    protocol: Protocol,
    prediction: Float[Tensor, "_ _"],
    truth: Float[Tensor, "h w"],
    regions: Mapping[str, Bool[Tensor, "h w"]],
) -> dict[str, Measurement]:
    """The metrics of one item; NaN with count 0 where no pixel counts.

    Args:
        protocol: which pixels and which metrics.
        prediction: (h, w) in px or m, finite wherever a pixel counts (a matcher's holes must be filled before).
        truth: (h, w) in the same unit.
        regions: masks (h, w) by name, as in `StereoTruth.regions`.

    Raises:
        WrongInput: a missing region, another size, or a prediction that is not finite (or, as depth, not positive).
    """
    sample = select(prediction, truth, protocol.mask(truth, regions))
    if protocol.median_scaling and sample.truth.numel():
        predicted = Sample.positive(sample.predicted, "prediction")
        sample = Sample(predicted * (_median(sample.truth) / _median(predicted)), sample.truth)
    if protocol.depth_range_m is not None:
        sample = Sample(sample.predicted.clamp(*protocol.depth_range_m), sample.truth)
    return measure(protocol.definitions(), sample)


def average(protocol: Protocol, items: Mapping[str, Mapping[str, Measurement]]) -> dict[str, Average]:
    """One number per metric over a data set.

    Items without a pixel that counts are skipped and counted as such; without any item left the value is NaN.

    Args:
        protocol: says how to average.
        items: by key, what `evaluate_item` returned under this protocol.

    Raises:
        WrongInput: an item lacks a metric of the protocol, or has no weight where the average is weighted.
    """
    for key, measured in items.items():
        if missing := [name for name in protocol.metrics if name not in measured]:
            raise WrongInput(f"{key} has no {', '.join(missing)}; measure it again under {protocol.name}.")
    weights = {key: _weight(protocol, key) for key in items}
    return {
        metric.name: _average_one(protocol.averaging, metric, {k: m[metric.name] for k, m in items.items()}, weights)
        for metric in protocol.definitions()
    }


def _average_one(
    averaging: Averaging, metric: Metric, measured: Mapping[str, Measurement], weights: Mapping[str, float]
) -> Average:
    used = {key: each for key, each in measured.items() if each.count > 0}
    skipped, pixels = len(measured) - len(used), sum(each.count for each in used.values())
    if not used:
        return Average(math.nan, 0, skipped, 0)
    if averaging != "pooled":
        total = sum(weights[key] for key in used)
        value = math.fsum(weights[key] * each.value for key, each in used.items()) / total
    elif metric.pooling == "mean":
        value = math.fsum(each.value * each.count for each in used.values()) / pixels
    else:
        value = math.sqrt(math.fsum(each.value**2 * each.count for each in used.values()) / pixels)
    return Average(value, len(used), skipped, pixels)


def _weight(protocol: Protocol, key: str) -> float:
    if protocol.averaging != "weighted":
        return 1.0
    name = key.rsplit("/", 1)[-1]
    if name not in protocol.weights:
        raise WrongInput(
            f"{protocol.name} has no weight for {name!r}, only for {', '.join(protocol.weights)}; "
            "use the per-image protocol of the same region."
        )
    return protocol.weights[name]


def _garg_crop(height: int, width: int) -> Bool[Tensor, "h w"]:
    rows = slice(*(int(edge * height) for edge in GARG_ROWS))
    columns = slice(*(int(edge * width) for edge in GARG_COLUMNS))
    crop = torch.zeros(height, width, dtype=torch.bool)
    crop[rows, columns] = True
    return crop


def _median(values: Tensor) -> float:
    return float(np.median(values.detach().cpu().numpy()))


_MIDDLEBURY_METRICS = ("bad-0.5", "bad-1.0", "bad-2.0", "bad-4.0", "epe", "rms", "a50", "a90", "a95", "a99")
_MIDDLEBURY_V3 = (
    "Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014; "
    "https://vision.middlebury.edu/stereo/eval3/"
)
_MIDDLEBURY_V3_NOTES = (
    "Measured at the resolution of the data that is read. The official table measures every submission at full "
    "resolution, so half and quarter size results there have another threshold in their own px."
)
_MIDDLEBURY_V3_WEIGHTS: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(("Adirondack", "ArtL", "Jadeplant", "Motorcycle", "MotorcycleE", "Piano", "Pipes"), 1.0)
    | dict.fromkeys(("PlaytableP", "Recycle", "Teddy"), 1.0)
    | dict.fromkeys(("PianoL", "Playroom", "Playtable", "Shelves", "Vintage"), 0.5)
)
_MIDDLEBURY_2014 = (
    "Scharstein et al., High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014; "
    "https://vision.middlebury.edu/stereo/data/scenes2014/"
)
_MIDDLEBURY_2021 = (
    "Scharstein et al., Middlebury 2021 mobile stereo datasets; https://vision.middlebury.edu/stereo/data/scenes2021/"
)
_MIDDLEBURY_OLDER = (
    "Scharstein and Szeliski, IJCV 2002 and CVPR 2003; Hirschmueller and Scharstein, CVPR 2007; "
    "https://vision.middlebury.edu/stereo/data/"
)
_FOLDER = "Scharstein and Szeliski, A taxonomy and evaluation, IJCV 2002; https://vision.middlebury.edu/stereo/"
_KITTI_2015 = (
    "Menze and Geiger, Object scene flow for autonomous vehicles, CVPR 2015; "
    "https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php?benchmark=stereo"
)
_KITTI_2012 = (
    "Geiger, Lenz and Urtasun, Are we ready for autonomous driving?, CVPR 2012; "
    "https://www.cvlibs.net/datasets/kitti/eval_stereo_flow.php?benchmark=stereo"
)
_KITTI_HOLES = (
    "The development kit fills holes of a prediction from the background before measuring; here predictions are dense."
)
_ETH3D = "Schoeps et al., A multi-view stereo benchmark, CVPR 2017; https://www.eth3d.net/low_res_two_view"
_SCENEFLOW = (
    "Mayer et al., A large dataset to train convolutional networks for disparity, optical flow, and scene flow "
    "estimation, CVPR 2016; https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"
)
_SCENEFLOW_400 = (
    f"{_SCENEFLOW}; subset of Lipson et al., RAFT-Stereo, 3DV 2021; https://github.com/princeton-vl/RAFT-Stereo"
)
_SCENEFLOW_NOTES = (
    "No official evaluation: pixels with a true disparity below 192 px count, the range of the networks since PSMNet "
    "(Chang and Chen, CVPR 2018). Others measure every pixel; compare only numbers of one convention."
)
_SINTEL = (
    "Butler et al., A naturalistic open source movie for optical flow evaluation, ECCV 2012; "
    "http://sintel.is.tue.mpg.de/stereo"
)
_EIGEN = (
    "Eigen, Puhrsch and Fergus, Depth map prediction from a single image, NeurIPS 2014; crop: Garg et al., ECCV 2016; "
    "as in https://github.com/nianticlabs/monodepth2 (evaluate_depth.py)"
)
_EIGEN_NOTES = (
    "697 pictures of the Eigen split with projected LiDAR; numbers on the 652 with improved truth are not comparable. "
    "Truth counts between 1 mm and 80 m, exclusive; predictions are clamped to that range."
)
_CITYSCAPES = (
    "Cordts et al., The Cityscapes dataset for semantic urban scene understanding, CVPR 2016; "
    "https://www.cityscapes-dataset.com/"
)
_OURS = "No official evaluation: these metrics and this average are a common choice."


_EIGEN_METRICS = ("abs-rel", "sq-rel", "rmse", "rmse-log", "delta-1", "delta-2", "delta-3", "silog", "log10")
_KITTI_2012_METRICS = ("bad-2.0", "bad-3.0", "bad-4.0", "bad-5.0", "epe")
_KITTI_2015_METRICS = ("d1", "bad-3.0", "epe")
_SCENEFLOW_METRICS = ("epe", "bad-1.0", "bad-3.0", "d1")
_FOLDER_METRICS = ("epe", "rms", "bad-1.0", "bad-2.0", "bad-3.0", "d1", "a95")

_KITTI_WORDS: Mapping[Region, str] = MappingProxyType({"visible": "noc", "all": "occ"})
_BOTH: tuple[Region, ...] = ("visible", "all")
_ALL: tuple[Region, ...] = ("all",)


def _stereo(
    benchmark: str,
    averaging: Averaging,
    headline: str,
    metrics: tuple[str, ...],
    citation: str,
    notes: str,
    regions: tuple[Region, ...] = _BOTH,
    **limits: Any,
) -> Iterator[Protocol]:
    for region in regions:
        word = _KITTI_WORDS[region] if benchmark.startswith("kitti") else region
        name = f"{benchmark}/{word}/{averaging}"
        yield Protocol(name, benchmark, region, averaging, metrics, headline, citation, notes, **limits)


def _mono(name: str, notes: str, *, median_scaling: bool) -> Protocol:
    return Protocol(
        name,
        "kitti-eigen",
        "all",
        "per-image",
        _EIGEN_METRICS,
        "abs-rel",
        _EIGEN,
        f"{notes} {_EIGEN_NOTES}",
        quantity="depth",
        depth_range_m=(1e-3, 80.0),
        garg_crop=True,
        median_scaling=median_scaling,
    )


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        each.name: each
        for each in (
            *_stereo(
                "middlebury-v3",
                "weighted",
                "bad-2.0",
                _MIDDLEBURY_METRICS,
                _MIDDLEBURY_V3,
                "The average of the official training table, in which five scenes count half; the test scenes have no "
                f"weights here. {_MIDDLEBURY_V3_NOTES}",
                weights=_MIDDLEBURY_V3_WEIGHTS,
            ),
            *_stereo(
                "middlebury-v3",
                "per-image",
                "bad-2.0",
                _MIDDLEBURY_METRICS,
                _MIDDLEBURY_V3,
                f"The plain mean that most papers print, not the average of the official table. {_MIDDLEBURY_V3_NOTES}",
            ),
            *_stereo("middlebury-2014", "per-image", "bad-2.0", _MIDDLEBURY_METRICS, _MIDDLEBURY_2014, _OURS, _ALL),
            *_stereo("middlebury-2021", "per-image", "bad-2.0", _MIDDLEBURY_METRICS, _MIDDLEBURY_2021, _OURS, _ALL),
            *_stereo(
                "middlebury-2001-2006",
                "per-image",
                "bad-1.0",
                _MIDDLEBURY_METRICS,
                _MIDDLEBURY_OLDER,
                f"{_OURS} The truth is in steps of 1/16 to 1 px, so thresholds below 1 px mean little.",
                _ALL,
            ),
            *_stereo(
                "kitti-2015",
                "pooled",
                "d1",
                _KITTI_2015_METRICS,
                _KITTI_2015,
                f"Official: outliers of all pictures over pixels of all pictures. {_KITTI_HOLES}",
            ),
            *_stereo(
                "kitti-2015",
                "per-image",
                "epe",
                _KITTI_2015_METRICS,
                _KITTI_2015,
                "Not official: the mean of per-image values, as RAFT-Stereo and its successors print the epe.",
            ),
            *_stereo(
                "kitti-2012",
                "per-image",
                "bad-3.0",
                _KITTI_2012_METRICS,
                _KITTI_2012,
                "Official: Out-2 to Out-5 are plain thresholds, Avg is the epe, each the mean over pictures. "
                f"{_KITTI_HOLES}",
            ),
            *_stereo(
                "kitti-2012",
                "pooled",
                "bad-3.0",
                _KITTI_2012_METRICS,
                _KITTI_2012,
                "Not official: pooled over pixels, as RAFT-Stereo and its successors print bad-3.0.",
            ),
            *_stereo(
                "eth3d",
                "per-image",
                "bad-1.0",
                _MIDDLEBURY_METRICS,
                _ETH3D,
                "The mean over pairs at the resolution of the data.",
            ),
            *_stereo(
                "sceneflow",
                "per-image",
                "epe",
                _SCENEFLOW_METRICS,
                _SCENEFLOW,
                _SCENEFLOW_NOTES,
                _ALL,
                max_disparity_px=192.0,
            ),
            *_stereo(
                "sceneflow",
                "pooled",
                "epe",
                _SCENEFLOW_METRICS,
                _SCENEFLOW,
                _SCENEFLOW_NOTES,
                _ALL,
                max_disparity_px=192.0,
            ),
            *_stereo(
                "sceneflow-400",
                "per-image",
                "epe",
                _SCENEFLOW_METRICS,
                _SCENEFLOW_400,
                f"The papers print the end-point error of this average and bad-1.0 pooled. {_SCENEFLOW_NOTES}",
                _ALL,
                max_disparity_px=192.0,
            ),
            *_stereo(
                "sceneflow-400",
                "pooled",
                "bad-1.0",
                _SCENEFLOW_METRICS,
                _SCENEFLOW_400,
                f"The papers print bad-1.0 of this average and the end-point error per image. {_SCENEFLOW_NOTES}",
                _ALL,
                max_disparity_px=192.0,
            ),
            *_stereo("sintel", "per-image", "epe", _SCENEFLOW_METRICS, _SINTEL, _OURS),
            *_stereo(
                "cityscapes",
                "per-image",
                "d1",
                _KITTI_2015_METRICS,
                _CITYSCAPES,
                f"{_OURS} The reference is semi-global matching, not a measurement: agreement, not accuracy.",
                _ALL,
            ),
            *_stereo("folder", "per-image", "epe", _FOLDER_METRICS, _FOLDER, _OURS),
            _mono("kitti-eigen-garg/per-image", "Predictions in metres, measured as they are.", median_scaling=False),
            _mono(
                "kitti-eigen-garg-median/per-image",
                "For scale-free predictions: each is scaled by the ratio of the medians first.",
                median_scaling=True,
            ),
        )
    }
)
"""All protocols by name; those of one benchmark stand together, the official one first."""
