"""Optical flow: two pictures in, the motion of every pixel out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from depthweave import geometry, images, runtime
from depthweave.classical.flow import dis_flow, farneback_flow, flow_both_ways
from depthweave.errors import NotEnoughMemory, WrongInput
from depthweave.models.registry import ModelCard
from depthweave.pipelines.network_stereo import default_settings
from depthweave.pipelines.precision import compute_finite
from depthweave.types import FlowMap, Picture, read_picture

SMALLEST_SIDE_PX = 16
"""Below it the pyramids of the classical methods have nothing to look at."""


@runtime_checkable
class FlowMethod(Protocol):
    """Two pictures (3, h, w) in [0, 1] of one size to motion (2, h, w) in px, and confidences (h, w) or None."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """For manifests."""

    def __call__(
        self, first: Float[Tensor, "3 h w"], second: Float[Tensor, "3 h w"]
    ) -> tuple[Float[Tensor, "2 h w"], Float[Tensor, "h w"] | None]:
        """Motion of the first picture."""


@runtime_checkable
class FlowNetwork(Protocol):
    """A module ``rated(first, second, *, given=None, **settings)``: RGB 0-255 (b, 3, h, w) to flow and confidence.

    ``given`` is flow from elsewhere and its disagreement with the way back, (b, 3, h, w) in px.
    """

    multiple: ClassVar[int]

    def rated(self, *args: Any, **kwargs: Any) -> Tensor:
        """Motion in px along x and y, and the probability that it is right."""

    def memory_bytes(self, height: int, width: int) -> int:
        """Peak of a float32 forward of one pair of that (padded) size, beyond the weights."""


@dataclass(frozen=True)
class DenseInverseSearch:
    """OpenCV's DIS on grey pictures; see `classical.flow.dis_flow`.

    Attributes:
        preset: ultrafast, fast or medium.
    """

    preset: str = "medium"

    @property
    def settings(self) -> Mapping[str, Any]:
        """For manifests."""
        return asdict(self)

    def __call__(
        self, first: Float[Tensor, "3 h w"], second: Float[Tensor, "3 h w"]
    ) -> tuple[Float[Tensor, "2 h w"], None]:
        """Motion of the first picture."""
        return _channels_first(dis_flow(images.grey_image(first), images.grey_image(second), preset=self.preset)), None


@dataclass(frozen=True)
class PolynomialExpansion:
    """OpenCV's Farneback flow on grey pictures; see `classical.flow.farneback_flow`.

    Attributes:
        levels: of the pyramid.
        window: side in px over which the motion is averaged.
        iterations: per level.
    """

    levels: int = 5
    window: int = 15
    iterations: int = 3

    @property
    def settings(self) -> Mapping[str, Any]:
        """For manifests."""
        return asdict(self)

    def __call__(
        self, first: Float[Tensor, "3 h w"], second: Float[Tensor, "3 h w"]
    ) -> tuple[Float[Tensor, "2 h w"], None]:
        """Motion of the first picture."""
        return _channels_first(
            farneback_flow(images.grey_image(first), images.grey_image(second), **asdict(self))
        ), None


@dataclass(frozen=True, eq=False)
class NetworkFlow:
    """A flow network that takes pictures of any size: padded to its multiple, shrunk where they are too large.

    Attributes:
        network: see `FlowNetwork`; its weights are used as they are, in evaluation mode.
        device: where it runs.
        dtype: auto, float32, float16 or bfloat16; half precision runs under autocast.
        search: give the network the flow of dense inverse search, and how well its way back agrees.
        change_px: with search, what the network changes in the searched flow is taken as it is up to so much, less and
            less beyond, and not at all from three times as much on, where it is lost (motions larger than those it has
            learnt from) more often than right; None takes everything.
        max_pixels: pictures with more are shrunk before matching, since the memory grows with the square of the
            number; None shrinks nothing.
        options: keywords of the network, e.g. iterations.

    Raises:
        WrongInput: not a flow network, an option that it does not have, fewer than 1024 pixels, or a change of none.
    """

    network: nn.Module
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: str = "auto"
    search: bool = True
    change_px: float | int | None = None
    max_pixels: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name, network = type(self.network).__name__, self.network
        if not isinstance(network, FlowNetwork):
            raise WrongInput(
                f"{name} is not a flow network: it needs rated(first, second, *, given=None), multiple and "
                "memory_bytes."
            )
        known = default_settings(network.rated)
        for option, value in self.options.items():
            if option not in known or type(value) is not type(known[option]):
                takes = ", ".join(f"{key} (such as {given})" for key, given in known.items())
                raise WrongInput(f"{name} has no option {option} = {value!r}; it takes {takes}.")
        if self.max_pixels is not None and self.max_pixels < 1024:
            raise WrongInput(f"max_pixels is {self.max_pixels}; give at least 1024.")
        if self.change_px is not None and not self.change_px > 0:
            raise WrongInput(f"change_px is {self.change_px}; give a positive number, or search=False.")
        object.__setattr__(self, "options", {**known, **self.options})
        self.network.eval().to(self.device)

    @property
    def settings(self) -> Mapping[str, Any]:
        """For manifests."""
        own = {"search": self.search, "change_px": self.change_px, "max_pixels": self.max_pixels}
        return {**self.options, **own}

    @property
    def number_type(self) -> torch.dtype:
        """What the network computes in."""
        return runtime.choose_dtype(self.dtype, self.device)

    def __call__(
        self, first: Float[Tensor, "3 h w"], second: Float[Tensor, "3 h w"]
    ) -> tuple[Float[Tensor, "2 h w"], Float[Tensor, "h w"]]:
        """Motion of the first picture.

        Raises:
            NotEnoughMemory: the pair does not fit into the memory that is free.
            NotFinite: the network's answer is not finite in float32 either.
        """
        network: Any = self.network
        height, width = first.shape[-2:]
        small_height, small_width = _fitting(height, width, self.max_pixels)
        views = torch.stack((first, second)).to(self.device)
        if (small_height, small_width) != (height, width):
            views = images.resize_image(views, small_height, small_width).clamp(0, 1)
        padded, padding = images.pad_to_multiple(255 * views, network.multiple)
        name = type(network).__name__

        needed, free = network.memory_bytes(*padded.shape[-2:]), runtime.available_memory_bytes(self.device)
        if free is not None and needed > free:
            raise NotEnoughMemory(
                f"{name} needs about {needed / 1e9:.1f} GB for {small_width}x{small_height} px on {self.device}, and "
                f"{free / 1e9:.1f} GB are free; give max_pixels={small_height * small_width // 2} "
                f"(--set max_pixels={small_height * small_width // 2})."
            )
        given = searched_flow(padded[:1], padded[1:]) if self.search else None
        found = compute_finite(
            lambda: network.rated(padded[:1], padded[1:], given=given, **self.options),
            lambda answer: images.unpad(answer[0], padding),
            name=name,
            what="pair",
            device=self.device,
            dtype=self.number_type,
        )
        answer = images.unpad(found[0].to("cpu", torch.float32), padding).clone()
        if given is not None and self.change_px is not None:
            searched = images.unpad(given[0, :2].to("cpu", torch.float32), padding)
            change = answer[:2] - searched
            taken = 1.5 - torch.linalg.vector_norm(change, dim=0) / (2 * self.change_px)
            answer[:2] = searched + change * taken.clamp(0, 1)
        if (small_height, small_width) == (height, width):
            return answer[:2], answer[2].clamp(0, 1)
        answer = images.resize_image(answer, height, width)
        ratio = torch.tensor([width / small_width, height / small_height])
        return answer[:2] * ratio[:, None, None], answer[2].clamp(0, 1)


def searched_flow(first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Flow of dense inverse search in px, and its disagreement with the way back in px, as networks are given it.

    Args:
        first, second: RGB, 0 to 255.
    """
    found = []
    for one, two in zip(first, second, strict=True):
        both = flow_both_ways(*(images.grey_image((view / 255).clamp(0, 1)) for view in (one, two)), quick=False)
        found.append(np.concatenate((both.forward, both.error_forward_px[..., None]), axis=-1))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous().to(first.device)


class FlowMatcher:
    """Any method for optical flow behind one call.

    >>> flow = FlowMatcher(DenseInverseSearch())("frame0.png", "frame1.png")

    With ``check`` the method also answers for the way back (twice the time), and a pixel is valid where its motion u
    stays in the picture and the motion v back from there agrees: |u + v|^2 < 0.01 (|u|^2 + |v|^2) + 0.5 (Sundaram et
    al., Dense point trajectories by GPU-accelerated large displacement optical flow, ECCV 2010, eq. 5). Its confidence
    is exp(-|u + v| / 1 px), or what the network says of itself if that is less. Both are heuristics: where a method is
    wrong in the same way in both directions its motion is called valid. Without, pixels are valid where the motion
    stays in the picture, and confidence is what the network says, if it does.

    Args:
        method: see `FlowMethod`, or a bare network, which `NetworkFlow` wraps.
        check: match both ways.
        card: facts for manifests.
    """

    def __init__(self, method: FlowMethod | nn.Module, *, check: bool = True, card: ModelCard | None = None) -> None:
        self.method: FlowMethod = NetworkFlow(method) if isinstance(method, nn.Module) else method
        self.check = check
        self.card = card

    @property
    def name(self) -> str:
        """Of the model."""
        if self.card is not None:
            return self.card.name
        method = self.method
        return type(method.network if isinstance(method, NetworkFlow) else method).__name__

    def __call__(self, first: Picture, second: Picture) -> FlowMap:
        """Motion from the first picture to the second, for every pixel of the first.

        Args:
            first, second: of one size; paths, PIL pictures, arrays or tensors.

        Raises:
            WrongInput: pictures of different sizes, or of fewer than 16 px.
            WrongFile: a path that does not hold a picture.
            NotEnoughMemory, NotFinite: see `NetworkFlow`.
        """
        one, two = read_picture(first), read_picture(second)
        height, width = one.shape[-2:]
        if two.shape != one.shape:
            raise WrongInput(
                f"the pictures have {width}x{height} and {two.shape[-1]}x{two.shape[-2]} px; flow needs two of one "
                "size, so resize one of them first."
            )
        if min(height, width) < SMALLEST_SIDE_PX:
            raise WrongInput(f"pictures of {width}x{height} px are too small; flow needs {SMALLEST_SIDE_PX} px a side.")
        flow, rating = self.method(one, two)
        if self.check:
            valid, confidence = agreement(flow, self.method(two, one)[0])
            confidence = confidence if rating is None else torch.minimum(confidence, rating)
            return FlowMap(flow, valid, confidence * valid, one)
        valid = FlowMap(flow, torch.ones(height, width, dtype=torch.bool)).inside
        return FlowMap(flow, valid, None if rating is None else rating * valid, one)

    def facts(self) -> dict[str, Any]:
        """What made a result, for its manifest."""
        card, method = self.card, self.method
        facts: dict[str, Any] = {
            "model": self.name,
            "revision": None if card is None else card.revision,
            "licence": None if card is None else card.licence,
            "options": dict(method.settings),
            "check": self.check,
            "device": "cpu",
            "dtype": "float32",
            "network": None,
        }
        if isinstance(method, NetworkFlow):
            config = getattr(method.network, "config", None)
            facts["network"] = asdict(config) if is_dataclass(config) and not isinstance(config, type) else None
            facts["device"] = str(method.device)
            facts["dtype"] = str(method.number_type).removeprefix("torch.")
        return facts


def agreement(
    forward: Float[Tensor, "2 h w"],
    backward: Float[Tensor, "2 h w"],
    *,
    relative: float | int = 0.01,
    absolute_px2: float | int = 0.5,
) -> tuple[Bool[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Whether the way there and the way back agree, and exp(-|u + v| / 1 px); see `FlowMatcher`.

    Args:
        forward: u, motion of the first picture in px.
        backward: motion of the second picture in px.
        relative, absolute_px2: bound of |u + v|^2, see `FlowMatcher`.
    """
    back, inside = geometry.warp_by_flow(backward, forward)
    apart = (forward + back).square().sum(0)
    bound = relative * (forward.square().sum(0) + back.square().sum(0)) + absolute_px2
    return inside & (apart < bound), torch.exp(-apart.sqrt()) * inside


def _fitting(height: int, width: int, max_pixels: int | None) -> tuple[int, int]:
    """The size with the same shape and at most so many pixels."""
    share = 1.0 if max_pixels is None else min(1.0, (max_pixels / (height * width)) ** 0.5)
    return max(SMALLEST_SIDE_PX, int(height * share)), max(SMALLEST_SIDE_PX, int(width * share))


def _channels_first(flow: Any) -> Float[Tensor, "2 h w"]:
    return torch.from_numpy(np.ascontiguousarray(flow.transpose(2, 0, 1)))
