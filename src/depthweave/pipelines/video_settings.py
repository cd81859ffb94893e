"""How a clip is sampled by diffusion: DepthCrafter's own way and StereoDiff's."""

from dataclasses import dataclass, replace

import torch

from depthweave.errors import WrongInput
from depthweave.models.video.depthcrafter import SCHEDULES, noise_levels
from depthweave.models.video.depthcrafter.schedule import first_noise_level

OFFLOADS = ("auto", "none", "cpu", "disk")


@dataclass(frozen=True)
class DiffusionSettings:
    """Settings of the video diffusion model; None takes what the method (`for_generation`, `for_refinement`) says.

    Attributes:
        steps: calls of the network for DepthCrafter (5); for StereoDiff the length T of the schedule of which one step
            is taken (4).
        schedule: noise levels, see `depthweave.models.video.depthcrafter.schedule.noise_levels`: ``karras`` for
            DepthCrafter, ``table-trailing`` for StereoDiff.
        start: StereoDiff's step starts where so many steps remain; 2 of 4 is the third noise level.
        sigma_start: noise level to start that step from, in place of ``schedule`` and ``start``.
        return_x0: StereoDiff's step ends on the clean prediction; False ends on the schedule's next noise level.
        skip_last: DepthCrafter goes to clean from the last but one noise level: one call less.
        guidance: above 1, classifier-free guidance, which doubles the time.
        noise_augmentation: standard deviation of the noise on the frames, which the network is told.
        window, overlap: frames denoised together, and shared with the next window.
        stitch: cross-fade of overlapping windows in ``latents`` (DepthCrafter) or ``decoded`` maps (StereoDiff).
        seed: of the noise; run k of several draws from seed + k.
        runs: results are averaged over so many runs.
        size: (height, width) in px to work at, multiples of 8; None follows ``max_size`` and ``multiple``.
        max_size: limit of the longer side in px.
        multiple: sides are rounded to it; 64 is DepthCrafter's rule.
        back: resize of the maps to the frames' size, ``bilinear`` (DepthCrafter) or ``nearest`` (StereoDiff).
        encode_chunk: frames encoded at once; changes no values.
        decode_chunk: frames decoded at once; the decoder mixes them, so it changes values.
        decode_context: frames decoded on both sides of each chunk and thrown away, against seams.
        feed_forward_parts: the denoiser's widest layers run in so many parts; changes no values.
    """

    steps: int | None = None
    schedule: str | None = None
    start: int = 2
    sigma_start: float | int | None = None
    return_x0: bool = True
    skip_last: bool = False
    guidance: float | int = 1.0
    noise_augmentation: float | int = 0.02
    window: int = 110
    overlap: int = 25
    stitch: str | None = None
    seed: int = 0
    runs: int = 1
    size: tuple[int, int] | None = None
    max_size: int = 1024
    multiple: int = 64
    back: str | None = None
    encode_chunk: int = 8
    decode_chunk: int = 8
    decode_context: int = 0
    feed_forward_parts: int = 8

    def __post_init__(self) -> None:
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise WrongInput(f"'{self.schedule}' is not a noise schedule; use one of {', '.join(SCHEDULES)}.")
        if self.stitch not in (None, "latents", "decoded"):
            raise WrongInput(f"windows are stitched in latents or decoded, not in '{self.stitch}'.")
        if self.back not in (None, "nearest", "bilinear"):
            raise WrongInput(f"maps go back to the frames' size by nearest or bilinear, not by '{self.back}'.")
        if not 0 <= self.overlap < self.window:
            raise WrongInput(
                f"windows of {self.window} frames cannot overlap by {self.overlap}; take 0 to {self.window - 1}."
            )
        for name in ("runs", "encode_chunk", "decode_chunk", "feed_forward_parts"):
            if getattr(self, name) < 1:
                raise WrongInput(f"{name} is {getattr(self, name)}; take at least 1.")
        for name in ("seed", "decode_context", "noise_augmentation"):
            if getattr(self, name) < 0:
                raise WrongInput(f"{name} is {getattr(self, name)}; take 0 or more.")
        if self.sigma_start is not None and not self.sigma_start > 0:
            raise WrongInput(f"a step cannot start from noise level {self.sigma_start}; take one above 0.")
        if self.size is not None and (min(self.size) < 8 or any(side % 8 for side in self.size)):
            raise WrongInput(f"{self.size[1]}x{self.size[0]} px cannot be encoded; take sides that are multiples of 8.")

    def for_generation(self) -> "DiffusionSettings":
        """With DepthCrafter's own choices where there is None."""
        return replace(
            self,
            steps=5 if self.steps is None else self.steps,
            schedule=self.schedule or "karras",
            stitch=self.stitch or "latents",
            back=self.back or "bilinear",
        )

    def for_refinement(self) -> "DiffusionSettings":
        """With StereoDiff's choices where there is None."""
        return replace(
            self,
            steps=4 if self.steps is None else self.steps,
            schedule=self.schedule or "table-trailing",
            stitch=self.stitch or "decoded",
            back=self.back or "nearest",
        )

    def generation_levels(self) -> tuple[float, ...]:
        """Noise levels of DepthCrafter, zero at the end.

        Raises:
            WrongInput: one step of which the last is skipped.
        """
        levels = self.for_generation()._levels()
        if not self.skip_last:
            return levels
        if len(levels) < 3:
            raise WrongInput("skip_last leaves nothing of a single step; take 2 steps or more.")
        return (*levels[:-2], levels[-1])

    def first_noise(self) -> float:
        """Factor of the unit noise that DepthCrafter starts from."""
        own = self.for_generation()
        assert own.schedule is not None
        return first_noise_level(torch.tensor(own._levels()), own.schedule)

    def refinement_levels(self) -> tuple[float, float]:
        """Noise levels that StereoDiff's step starts from and ends on.

        Raises:
            WrongInput: a start outside the schedule.
        """
        levels = self.for_refinement()._levels()
        steps = len(levels) - 1
        if self.sigma_start is not None:
            first = float(self.sigma_start)
        elif 1 <= self.start <= steps:
            first = levels[steps - self.start]
        else:
            raise WrongInput(f"a step cannot start with {self.start} of {steps} steps left; take 1 to {steps}.")
        return first, 0.0 if self.return_x0 else next(level for level in levels if level < first)

    def _levels(self) -> tuple[float, ...]:
        assert self.steps is not None
        assert self.schedule is not None
        return tuple(float(level) for level in noise_levels(self.steps, self.schedule))
