"""Stereo networks as matchers: any size, any number type, values that can be relied on."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from depthweave import images, runtime
from depthweave.classical import Match, background_fill, left_right_difference, match_confidence
from depthweave.errors import WrongInput
from depthweave.pipelines.precision import compute_finite

_PLAIN = (bool, int, float, str, tuple)
_SEEN = 0.5


@runtime_checkable
class StereoNetwork(Protocol):
    """A module ``forward(left, right, *, initial=None, **settings)``: RGB 0-255 (b, 3, h, w) to px (b, 1, h, w)."""

    multiple: ClassVar[int]

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Positive disparity of the left images in px; settings are keywords, e.g. ``iterations``."""

    def memory_bytes(self, height: int, width: int) -> int:
        """Peak of a float32 forward of one pair of that (padded) size, beyond the weights."""


@runtime_checkable
class RatedStereoNetwork(StereoNetwork, Protocol):
    """One that also judges its answer: ``rated`` takes what ``forward`` does and gives (b, 3, h, w)."""

    def rated(self, *args: Any, **kwargs: Any) -> Tensor:
        """Disparity in px, confidence in [0, 1], and the probability that both cameras see the point."""


@dataclass(frozen=True)
class NetworkMatchingConfig:
    """What decides the answer of a network, for manifests.

    Attributes:
        network: its architecture.
        settings: keywords of its forward, e.g. iterations.
        consistency: whether left and right answers were compared.
        threshold_px: largest difference of the two.
        fill_background: whether pixels that are not valid have the disparity of what lies behind.
    """

    network: Mapping[str, Any]
    settings: Mapping[str, Any]
    consistency: bool
    threshold_px: float
    fill_background: bool


class NetworkMatching:
    """A stereo network that takes pictures of any size.

    >>> StereoMatcher(NetworkMatching(DefomStereo(config), iterations=16, consistency=True))(pair)

    Without ``consistency`` a pixel is valid where the network's disparity is not negative and its match lies inside
    the right picture, and there is no confidence. With it the network also answers for the right picture (twice the
    time): valid are pixels on which both agree, |d_L(x) - d_R(x - d_L)| <= threshold_px, and their confidence is
    exp(-difference / 1 px). Both are heuristics that find occlusions and gross errors: where a network is wrong in the
    same way in both directions it is called valid. Underneath invalid pixels is the network's own answer, at least 0,
    or with ``fill_background`` the smaller of the nearest valid disparities to either side.

    A network that judges itself (`RatedStereoNetwork`) gives the confidence, and a pixel is valid only if it says that
    both cameras see the point, with a probability above 0.5. ``consistency`` then asks for both, and the confidence is
    the smaller of the two. One whose forward has a keyword ``max_disparity`` gets the search range.

    Args:
        network: see `StereoNetwork`; its weights are used as they are, in evaluation mode.
        dtype: auto, float32, float16 or bfloat16; half precision runs under autocast. An answer that is not finite is
            computed once more in float32, with a warning.
        consistency: compare with the answer for the right picture.
        threshold_px: largest difference of the two answers.
        fill_background: give pixels that are not valid the disparity of what lies behind; see `background_fill`.
        settings: keywords of the network's forward; None leaves its own.

    Raises:
        WrongInput: not a stereo network, or a setting that it does not have.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dtype: str = "auto",
        consistency: bool = False,
        threshold_px: float = 1.0,
        fill_background: bool = False,
        **settings: Any,
    ) -> None:
        # A compiled network is a shell around the one that knows its name and its settings.
        inner = getattr(network, "_orig_mod", network)
        self.name = type(inner).__name__
        if not isinstance(inner, StereoNetwork):
            raise WrongInput(
                f"{self.name} is not a stereo network: it needs forward(left, right, *, initial=None), "
                "multiple and memory_bytes(height, width)."
            )
        runtime.choose_dtype(dtype, torch.device("cpu"))
        self.network: nn.Module = network.eval()
        self.dtype = dtype
        self.multiple = inner.multiple
        self.rates = isinstance(inner, RatedStereoNetwork)
        self.takes_range = _takes_range(inner.forward)
        self._memory_takes_range = _takes_range(inner.memory_bytes)
        architecture = getattr(inner, "config", None)
        described = asdict(architecture) if is_dataclass(architecture) and not isinstance(architecture, type) else {}
        chosen = network_settings(inner, settings)
        self.config = NetworkMatchingConfig(described, chosen, consistency, threshold_px, fill_background)

    def __call__(
        self,
        left: Float[Tensor, "3 h w"],
        right: Float[Tensor, "3 h w"],
        *,
        max_disparity: int | None = None,
        initial: Float[Tensor, "h w"] | None = None,
    ) -> Match:
        """Match the left view to the right one, where the network's weights are.

        Args:
            left, right: in [0, 1].
            max_disparity: search range in px for networks that take one, None for their own; the others search the
                whole row.
            initial: disparity in px that replaces the network's own start; the check's second pass has its own start.

        Raises:
            NotFinite: the network's answer is not finite in float32 either.
        """
        answer = self._answer(left, right, max_disparity, initial, rated=self.rates)
        found, confidence = answer[0], answer[1].clamp(0, 1) if self.rates else None
        if self.config.consistency:
            mirrored = self._answer(right.flip(-1), left.flip(-1), max_disparity, None)[0].flip(-1)
            difference = left_right_difference(found, mirrored)
            valid = difference <= self.config.threshold_px
            agreement = match_confidence(difference, valid)
            confidence = agreement if confidence is None else torch.minimum(confidence, agreement)
        else:
            place = torch.arange(found.shape[-1], device=found.device) - found
            valid = (found >= 0) & (place >= -0.5)
        if self.rates:
            valid = valid & (answer[2] > _SEEN)
        disparity = found.clamp_min(0)
        if self.config.fill_background:
            disparity = background_fill(disparity, valid)
        return Match(disparity, valid, None if confidence is None else confidence * valid)

    def number_type(self, device: torch.device) -> torch.dtype:
        """What the network computes in on that device."""
        return runtime.choose_dtype(self.dtype, device)

    def memory_bytes(self, height: int, width: int, max_disparity: int | None = None, *, device: torch.device) -> int:
        """Memory that a pair of that size takes beyond the weights; both passes of a check run one after the other.

        In half precision this is half of the float32 peak and thus a lower bound, as correlations may stay float32.
        """
        padded = (-(-side // self.multiple) * self.multiple for side in (height, width))
        reach = {"max_disparity": max_disparity} if self._memory_takes_range else {}
        peak = int(self.network.memory_bytes(*padded, **reach))  # type: ignore[operator]
        return peak if self.number_type(device) == torch.float32 else peak // 2

    def _answer(
        self, left: Tensor, right: Tensor, max_disparity: int | None, initial: Tensor | None, *, rated: bool = False
    ) -> Float[Tensor, "c h w"]:
        """Disparity, and with ``rated`` the two ratings after it."""
        call: Any = self.network.rated if rated else self.network
        settings = {**self.config.settings, **({"max_disparity": max_disparity} if self.takes_range else {})}
        views = torch.stack((left, right)) * 255
        padded, padding = images.pad_to_multiple(views, self.multiple)
        start = None
        if initial is not None:
            start, _ = images.pad_to_multiple(initial[None, None], self.multiple)
        found = compute_finite(
            lambda: call(padded[:1], padded[1:], initial=start, **settings),
            lambda answer: images.unpad(answer[0], padding),
            name=self.name,
            what="pair",
            device=left.device,
            dtype=self.number_type(left.device),
        )
        return images.unpad(found[0].to(torch.float32), padding)


def network_settings(network: StereoNetwork, asked: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a network's forward: those asked for, and its own defaults for the rest.

    Raises:
        WrongInput: a setting that its forward does not have, of another type, or a number of steps below 1.
    """
    defaults = default_settings(network.forward)
    given = {name: value for name, value in asked.items() if value is not None}
    unknown = [name for name in given if name not in defaults]
    if unknown:
        known = ", ".join((*defaults, "consistency", "threshold_px", "fill_background"))
        raise WrongInput(f"{type(network).__name__} has no setting {', '.join(unknown)}; it has {known}.")
    for name, value in given.items():
        if type(value) is not type(defaults[name]):
            raise WrongInput(f"{name} is {type(defaults[name]).__name__}, for example {defaults[name]}, not {value!r}.")
    if given.get("iterations", 1) < 1:
        raise WrongInput(f"{given['iterations']} iterations give no answer; choose at least 1.")
    return defaults | given


def default_settings(forward: Callable[..., Any]) -> dict[str, Any]:
    """Settings of a network's forward: keywords with a plain default.

    What is None or has no default is none: ``initial``, or a place to put intermediate values.
    """
    parameters = inspect.signature(forward).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and isinstance(p.default, _PLAIN)}


def _takes_range(call: Callable[..., Any]) -> bool:
    return "max_disparity" in inspect.signature(call).parameters
