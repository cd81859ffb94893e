"""One picture and its depth to a stereo pair with truth: right view, masks, disparities of both views."""

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave import images, io, runtime
from depthweave.classical.consistency import background_fill
from depthweave.errors import NeedsCalibration, NeedsMetric, WrongInput
from depthweave.images.stereo_view import anaglyph, side_by_side
from depthweave.io.files import AnyPath
from depthweave.synthesis.appearance import vary_right_view
from depthweave.synthesis.fill import Filler, make_filler
from depthweave.synthesis.pair import SynthesisSettings, synthesize_pair
from depthweave.synthesis.rescale import DisparityRange, Rule, draw_range, inverse_depth_bounds, to_range
from depthweave.types import Camera, DepthMap, DisparityMap, InverseDepthMap, Picture, Scale, StereoPair, read_picture
from depthweave.types.picture import source_name

View = Literal["side-by-side", "anaglyph"]

LARGEST_PNG_PX = 255.0
"""Disparities beyond this do not fit KITTI's PNG and are written as PFM."""
_FAR_OVER_RANGE = 0.1
"""Assumed distance of the nearest thing as a share of the depth range, where a model leaves the shift unknown."""


@dataclass(frozen=True, eq=False)
class SynthesizedPair:
    """A stereo pair made of one picture, with truth that is exact by construction.

    Attributes:
        pair: the picture (left; cut at the right with border="crop") and the view made of it.
        disparity: of the left picture, px: the one that was used, with sharp edges; valid everywhere, hidden or not.
        right_disparity: of the right picture, px; valid where a pixel comes from the left picture.
        visible: (h, w) left pixels that the right picture shows.
        inpainted: (h, w) right pixels whose colours are invented.
        rim: (h, w) left pixels beside a nearer surface whose colours may belong to it: no photometric loss there.
        border: (h, w) right pixels beyond what the left picture shows.
        facts: rescaling, settings and seed, in plain values.
    """

    pair: StereoPair
    disparity: DisparityMap
    right_disparity: DisparityMap
    visible: Bool[Tensor, "h w"]
    inpainted: Bool[Tensor, "h w"]
    rim: Bool[Tensor, "h w"]
    border: Bool[Tensor, "h w"]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def side_by_side(self) -> Float[Tensor, "3 h w2"]:
        """Both pictures in one of twice the width, in [0, 1], the left one on the left."""
        return side_by_side(self.pair.left, self.pair.right)

    def anaglyph(self, *, method: str = "dubois") -> Float[Tensor, "3 h w"]:
        """One picture for red-cyan glasses, in [0, 1]; see `depthweave.images.stereo_view.anaglyph`."""
        return anaglyph(self.pair.left, self.pair.right, method=method)

    def save(self, folder: AnyPath, name: str | None = None, *, also: Collection[View] = ()) -> None:
        """Write the pair into a folder of pairs, which the `folder` reader and `depthweave train` take.

        | file | holds |
        |---|---|
        | `left/NAME.png`, `right/NAME.png` | the pictures |
        | `disparity/NAME.png`, `disparity_right/NAME.png` | px times 256, 0 = unknown (KITTI); `.pfm` above 255 px |
        | `mask0nocc/NAME.png` | of the left picture: 255 where both views show the point, 128 where only the left |
        | `inpainted/NAME.png` | of the right picture: 255 where colours are invented |
        | `rim/NAME.png` | of the left picture: 255 where colours may belong to the surface in front |
        | `confidence/NAME.png` | of the disparity, 8 bit, where it is known |
        | `side-by-side/NAME.png`, `anaglyph/NAME.png` | on request |

        Args:
            folder: made if it is missing; files of the same name are replaced.
            name: by default the pair's.
            also: further views to write.

        Raises:
            NotWritable: a file cannot be written.
        """
        folder, name = Path(folder), name or self.pair.name
        left = folder / "left" / f"{name}.png"
        # Readers list the left pictures, so that a pair that is not whole has none.
        left.unlink(missing_ok=True)
        io.write_image(folder / "right" / f"{name}.png", images.image_from_tensor(self.pair.right))
        for place, disparity in (("disparity", self.disparity), ("disparity_right", self.right_disparity)):
            _save_disparity(folder / place, name, disparity)
        seen = np.where(self.visible.numpy(), np.uint8(255), np.uint8(128))
        io.write_image(folder / "mask0nocc" / f"{name}.png", seen)
        for place, mask in (("inpainted", self.inpainted), ("rim", self.rim)):
            io.write_image(folder / place / f"{name}.png", mask.numpy().astype(np.uint8) * 255)
        if self.disparity.confidence is not None:
            greys = images.image_from_tensor(self.disparity.confidence[None])[..., 0]
            io.write_image(folder / "confidence" / f"{name}.png", greys)
        for view in also:
            shown = self.side_by_side() if view == "side-by-side" else self.anaglyph()
            io.write_image(folder / view / f"{name}.png", images.image_from_tensor(shown))
        io.write_image(left, images.image_from_tensor(self.pair.left))


@dataclass(frozen=True)
class Synthesizer:
    """How pairs are made; one for a whole folder or clip. It can be pickled for worker processes.

    Attributes:
        settings: of `depthweave.synthesis.pair.synthesize_pair`.
        filler: what fills the holes; None = make the one that the settings name, for every pair anew.
        rule: how relative inverse depth becomes px, see `depthweave.synthesis.rescale.draw_range`.
        max_disparity_px: disparity of the nearest thing, that of the farthest being 0; None = drawn by the rule.
        vary: give the right picture noise, blur and colours of its own (`vary_right_view`).
        device: where pairs are made; they return to the CPU.
    """

    settings: SynthesisSettings = field(default_factory=SynthesisSettings)
    filler: Filler | None = None
    rule: Rule = "ours"
    max_disparity_px: float | int | None = None
    vary: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        largest = self.max_disparity_px
        if largest is not None and not (math.isfinite(largest) and largest > 0):
            raise WrongInput(f"a largest disparity of {largest} px leaves no depth; give a number above 0.")

    def draw(self, width: int, rng: np.random.Generator) -> DisparityRange:
        """Disparities of the farthest and the nearest thing in px, in a picture of this width in px."""
        if self.max_disparity_px is None:
            return draw_range(width, self.rule, rng=rng)
        if self.max_disparity_px >= width:
            raise WrongInput(
                f"a largest disparity of {self.max_disparity_px:g} px leaves nothing of a picture {width} px wide; "
                "give a smaller one."
            )
        return DisparityRange(0.0, float(self.max_disparity_px))

    def __call__(
        self,
        image: Float[Tensor, "3 h w"],
        depth: DisparityMap | InverseDepthMap,
        rng: np.random.Generator,
        *,
        name: str = "pair",
        disparities: DisparityRange | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> SynthesizedPair:
        """Make one pair.

        Args:
            image: left picture, R, G, B in [0, 1].
            depth: of its size; see `usable_depth`.
            rng: the only source of chance.
            name: of the pair.
            disparities, bounds: of a clip, whose frames share them; None = this picture's own.

        Raises:
            WrongInput: sizes differ, no pixel is usable, a disparity is negative, or the depth has no range.
        """
        if (depth.height, depth.width) != tuple(image.shape[-2:]):
            raise WrongInput(
                f"the {depth.quantity.replace('_', ' ')} is {depth.width}x{depth.height} px but the picture is "
                f"{image.shape[-1]}x{image.shape[-2]} px; give the depth of this picture."
            )
        disparity, rescaling = self._disparity(depth, rng, disparities, bounds)
        device = runtime.choose_device(self.device)
        made = synthesize_pair(
            image.to(device), disparity.to(device), settings=self.settings, filler=self.filler, rng=rng
        )
        right = vary_right_view(made.right, rng) if self.vary else made.right
        width = made.left.shape[-1]
        confidence = None if depth.confidence is None else depth.confidence[:, :width]
        camera = None if depth.camera is None else _pair_camera(depth, width)
        pair = StereoPair(made.left.cpu(), right.cpu(), camera, name)
        return SynthesizedPair(
            pair,
            _everywhere_valid(made.disparity.cpu(), confidence, camera, pair.left),
            DisparityMap(made.disparity_right.cpu(), made.visible_right.cpu(), None, None, pair.right),
            made.visible.cpu(),
            made.inpainted.cpu(),
            made.rim.cpu(),
            made.border.cpu(),
            {"rescaling": rescaling, **self.facts()},
        )

    def facts(self) -> dict[str, Any]:
        """What decides on the pairs, in plain values."""
        return {
            **asdict(self.settings),
            "rule": self.rule,
            "max_disparity_px": self.max_disparity_px,
            "vary": self.vary,
        }

    def _disparity(
        self,
        depth: DisparityMap | InverseDepthMap,
        rng: np.random.Generator,
        disparities: DisparityRange | None,
        bounds: tuple[float, float] | None,
    ) -> tuple[Float[Tensor, "h w"], dict[str, Any] | None]:
        """Disparity in px without holes, and how relative depth was stretched to it (None if it was not)."""
        # A filler above zero is somebody's guess; zero is what stands in files for "unknown".
        known = depth.valid | (depth.values > 0)
        if not bool(known.any()):
            raise WrongInput(f"the {depth.quantity.replace('_', ' ')} has no usable pixel; give another map.")
        if isinstance(depth, DisparityMap):
            if self.max_disparity_px is not None:
                raise WrongInput("max_disparity scales relative depth, but this disparity is in px; leave it away.")
            least = float(depth.values[known].min())
            if least < 0:
                raise WrongInput(
                    f"the disparity goes down to {least:g} px, but x_right = x_left - d needs d >= 0; change its sign "
                    "or mark such pixels as not valid."
                )
            return background_fill(depth.values, known), None
        bounds = bounds or inverse_depth_bounds(depth.values, depth.valid, rule=self.rule)
        disparities = disparities or self.draw(depth.width, rng)
        stretched = to_range(depth.values, depth.valid, disparities=disparities, bounds=bounds)
        rescaling = {"low_px": float(disparities.low_px), "high_px": float(disparities.high_px), "bounds": list(bounds)}
        return background_fill(stretched, known), rescaling


def synthesize(
    image: Picture,
    disparity: DisparityMap | InverseDepthMap | DepthMap | Tensor | NDArray[Any],
    *,
    filler: str | Filler = "background",
    max_disparity: float | int | None = None,
    rule: Rule = "ours",
    camera: Camera | None = None,
    baseline_m: float | int | None = None,
    vary: bool = False,
    seed: int = 0,
    device: str = "auto",
    **settings: Any,
) -> SynthesizedPair:
    """Make a stereo pair of one picture and its depth: the right view, what is hidden, and the truth of both views.

    >>> made = synthesize("photo.jpg", load("depth-anything-v2-small")("photo.jpg"))
    >>> made.save("pairs", "photo")

    Args:
        image: becomes the left picture.
        disparity: of its size. In px (a `DisparityMap`, or an array or tensor (h, w)) it is used as it is; metric depth
            with a camera that has a baseline becomes px by geometry; every other depth is relative and is stretched to
            a range of px. Depth of unknown shift is taken to begin at a tenth of its range. Pixels that are not valid
            keep a filler above 0, else they are filled from the background.
        filler: name of a filler (`depthweave.synthesis.fill.FILLERS`), or one that is ready made.
        max_disparity: disparity of the nearest thing in px, for relative depth; None draws a range by the rule.
        rule: of drawing, ``ours``, ``zerostereo`` or ``mfs``; see `depthweave.synthesis.rescale.draw_range`.
        camera: of the picture, instead of the map's own.
        baseline_m: of the camera pair to be imitated, in metres, for metric depth; instead of the camera's own.
        vary: give the right picture noise, blur and colours of its own.
        seed: the same seed gives the same pair.
        device: where it is made; the result is on the CPU.
        settings: fields of `depthweave.synthesis.pair.SynthesisSettings`, such as ``edge_aware=False`` or
            ``border="crop"``.

    Raises:
        WrongInput: sizes differ, infinite or negative disparities, a picture without depth range, an unknown filler or
            setting.
        NeedsMetric, NeedsCalibration: a baseline for depth that is not metric, or without a focal length.

    Source: the steps of Mono2Stereo (arXiv 2411.09151) in our reconstruction; see docs/synthesis.md.
    """
    picture = read_picture(image)
    depth = usable_depth(disparity, camera=camera, baseline_m=baseline_m)
    chosen = make_settings(filler=filler if isinstance(filler, str) else type(filler).__name__, **settings)
    filler = make_filler(filler) if isinstance(filler, str) else filler
    maker = Synthesizer(chosen, filler, rule, max_disparity, vary, device)
    name = Path(source_name(image, "pair")).stem
    made = maker(picture, depth, np.random.default_rng(seed), name=name)
    return replace(made, facts={**made.facts, "seed": seed})


def usable_depth(
    depth: DisparityMap | InverseDepthMap | DepthMap | Tensor | NDArray[Any],
    *,
    camera: Camera | None = None,
    baseline_m: float | int | None = None,
) -> DisparityMap | InverseDepthMap:
    """Disparity in px where it is known or follows from geometry, else inverse depth, which is to be rescaled.

    Args:
        depth: (h, w); bare numbers are px.
        camera: of the picture, instead of the map's own.
        baseline_m: in metres, instead of the camera's own.

    Raises:
        WrongInput: bare numbers that are not (h, w) or not finite, a camera of another size.
        NeedsMetric, NeedsCalibration: a baseline for depth that is not metric, or without a focal length.
    """
    if isinstance(depth, Tensor | np.ndarray):
        return _bare_disparity(torch.as_tensor(depth))
    if camera is not None:
        depth = replace(depth, camera=camera)
    if isinstance(depth, DisparityMap):
        return depth
    if baseline_m is not None:
        if depth.scale != Scale.METRIC:
            raise NeedsMetric(
                f"a baseline in metres needs metric depth, but this has {depth.scale.replace('_', ' ')}: take a metric "
                "model, or leave the baseline away to have it stretched to px."
            )
        if depth.camera is None:
            raise NeedsCalibration("a baseline needs the picture's focal length, too; give camera=... (-c).")
        depth = replace(depth, camera=replace(depth.camera, baseline_m=float(baseline_m)))
    if depth.scale == Scale.METRIC and depth.camera is not None and depth.camera.baseline_m is not None:
        # The second camera is made here, and is given the principal point of the first.
        return depth.to_disparity(replace(depth.camera, doffs_px=0.0))
    return relative_inverse_depth(depth)


def relative_inverse_depth(depth: DisparityMap | InverseDepthMap | DepthMap) -> InverseDepthMap:
    """Inverse depth, of whatever scale and shift; larger is nearer.

    Depth of unknown shift (Marigold) has no inverse. It is taken to begin at a tenth of its range r, 1 / (z - min +
    0.1 r): an assumption of ours, between a room seen from its door and a street.
    """
    if isinstance(depth, InverseDepthMap):
        return depth
    if isinstance(depth, DisparityMap) or depth.scale != Scale.UNKNOWN_SCALE_AND_SHIFT:
        return depth.to_inverse_depth()
    usable = depth.values[depth.valid]
    near, far = (float(x) for x in torch.aminmax(usable)) if len(usable) else (0.0, 0.0)
    shift = _FAR_OVER_RANGE * (far - near) or 1.0
    inverse = 1 / (depth.values.clamp(near, far) - near + shift)
    return InverseDepthMap(inverse, depth.valid, depth.confidence, depth.camera, depth.image, depth.scale)


def make_settings(*, filler: str = "background", **settings: Any) -> SynthesisSettings:
    """Settings by their names.

    Raises:
        WrongInput: a name that there is not, or a value that does not fit.
    """
    known = [name for name in SynthesisSettings.__dataclass_fields__ if name != "filler"]
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise WrongInput(f"synthesis has no setting {', '.join(unknown)}; it has {', '.join(known)}.")
    return SynthesisSettings(filler=filler, **settings)


def generator_of(seed: int, name: str) -> np.random.Generator:
    """The generator of the item of that name, whatever comes before or beside it."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])


def _bare_disparity(values: Tensor) -> DisparityMap:
    if values.ndim != 2:
        raise WrongInput(f"a disparity is (h, w), not {tuple(values.shape)}; take out the other dimensions.")
    values = values.detach().to("cpu", torch.float32)
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise WrongInput(
            f"{bad} of {values.numel()} disparities are NaN or infinite; give a DisparityMap whose `valid` leaves them "
            "out."
        )
    return DisparityMap(values, torch.ones_like(values, dtype=torch.bool))


def _pair_camera(depth: DisparityMap | InverseDepthMap, width: int) -> Camera | None:
    """The pair's camera: without a baseline where px are stretched, since then they are of none."""
    camera = depth.camera
    if camera is None:
        return None
    known = isinstance(depth, DisparityMap)
    return replace(
        camera,
        width=width,
        baseline_m=camera.baseline_m if known else None,
        doffs_px=camera.doffs_px if known else 0.0,
        max_disparity_px=camera.max_disparity_px if known else None,
    )


def _everywhere_valid(values: Tensor, confidence: Tensor | None, camera: Camera | None, image: Tensor) -> DisparityMap:
    return DisparityMap(values, torch.ones_like(values, dtype=torch.bool), confidence, camera, image)


def _save_disparity(folder: Path, name: str, disparity: DisparityMap) -> None:
    largest = float(torch.where(disparity.valid, disparity.values, 0.0).max())
    suffix, other = (".png", ".pfm") if largest <= LARGEST_PNG_PX else (".pfm", ".png")
    disparity.save(folder / f"{name}{suffix}")
    (folder / f"{name}{other}").unlink(missing_ok=True)
