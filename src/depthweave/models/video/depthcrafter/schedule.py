"""Noise levels of Stable Video Diffusion and what its network's answer means at each of them.

A noisy latent is x = x0 + sigma * noise. The network sees x / sqrt(sigma^2 + 1) and the time 0.25 ln(sigma), and
answers with a velocity v (Salimans and Ho, Progressive Distillation, ICLR 2022, in the scaling of Karras et al.,
Elucidating the Design Space of Diffusion-Based Generative Models, NeurIPS 2022).
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from depthweave.errors import WrongInput

SCHEDULES = ("karras", "karras-trailing", "table-leading", "table-trailing", "zero-snr")

TRAINING_STEPS = 1000
BETA_FIRST, BETA_LAST = 0.00085, 0.012
SIGMA_SMALLEST, SIGMA_LARGEST, RHO = 0.002, 700.0, 7.0
_LAST_SIGNAL_SHARE = 2.0**-24
"""Of a table rescaled to end without signal, whose last noise level would be infinite."""


def noise_levels(steps: int, schedule: str) -> Float[Tensor, " n"]:
    """Noise levels from the first to zero, one more than there are steps.

    Args:
        steps: calls of the network.
        schedule: ``karras`` is what Stable Video Diffusion ships: 700 to 0.002, equally spaced in sigma^(1/7)
            (Karras et al., eq. 5); ``karras-trailing`` has the same levels and another first noise. The tables take
            the levels of the 1000 training steps, spaced from the start of each part (``table-leading``) or its end
            (``table-trailing``, Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024);
            ``zero-snr`` also rescales the table to end without signal (Lin et al., algorithm 1).

    Raises:
        WrongInput: no such schedule, or a number of steps that it does not have.
    """
    if schedule not in SCHEDULES:
        raise WrongInput(f"'{schedule}' is not a noise schedule; use one of {', '.join(SCHEDULES)}.")
    if not 1 <= steps <= TRAINING_STEPS:
        raise WrongInput(f"{steps} steps do not make a noise schedule; take 1 to {TRAINING_STEPS}.")
    if schedule.startswith("karras"):
        ramp = np.linspace(0.0, 1.0, steps)
        first, last = SIGMA_LARGEST ** (1 / RHO), SIGMA_SMALLEST ** (1 / RHO)
        levels = (first + ramp * (last - first)) ** RHO
    else:
        if schedule == "table-leading":
            at = (np.arange(steps) * (TRAINING_STEPS // steps))[::-1] + 1.0
        else:
            at = np.round(np.arange(TRAINING_STEPS, 0, -TRAINING_STEPS / steps)) - 1.0
        levels = np.interp(at, np.arange(TRAINING_STEPS), _training_levels(rescaled=schedule == "zero-snr"))
    return torch.from_numpy(np.append(levels, 0.0).astype(np.float32))


def _training_levels(*, rescaled: bool) -> NDArray[np.float32]:
    beta = torch.linspace(BETA_FIRST**0.5, BETA_LAST**0.5, TRAINING_STEPS, dtype=torch.float32) ** 2
    signal = torch.cumprod(1 - beta, 0)
    if rescaled:
        root = signal.sqrt()
        root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
        signal = root**2
        signal[-1] = _LAST_SIGNAL_SHARE
    levels: NDArray[np.float32] = ((1 - signal) / signal).sqrt().numpy()
    return levels


def first_noise_level(levels: Float[Tensor, " n"], schedule: str) -> float:
    """Factor of the noise that sampling starts from: the first level, and with leading spacing sqrt(level^2 + 1)."""
    first = levels[0]
    leading = schedule in ("karras", "table-leading")
    return float((first**2 + 1).sqrt() if leading else first)


def model_time(sigma: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """What the network is told about a noise level: 0.25 ln(sigma)."""
    return 0.25 * sigma.log()


def clean_from_velocity(
    velocity: Float[Tensor, "*b"], noisy: Float[Tensor, "*b"], sigma: Float[Tensor, ""]
) -> Float[Tensor, "*b"]:
    """The clean latent that a velocity means: x0 = x / (sigma^2 + 1) - v sigma / sqrt(sigma^2 + 1).

    Args:
        velocity: the network's answer.
        noisy: x = x0 + sigma * noise, not scaled for the network.
        sigma: noise level of x.
    """
    level = float(sigma)
    return noisy / (level**2 + 1) - velocity * (level / (level**2 + 1) ** 0.5)


def step_to(
    velocity: Float[Tensor, "*b"], noisy: Float[Tensor, "*b"], sigma: Float[Tensor, ""], to_sigma: Float[Tensor, ""]
) -> Float[Tensor, "*b"]:
    """Euler step between two noise levels: x' = x0 + (sigma' / sigma) (x - x0) (Karras et al., algorithm 1).

    Args:
        velocity, noisy, sigma: as in `clean_from_velocity`.
        to_sigma: noise level of the result; 0 gives x0.
    """
    clean = clean_from_velocity(velocity, noisy, sigma)
    return clean if float(to_sigma) == 0 else noisy + (noisy - clean) / sigma * (to_sigma - sigma)
