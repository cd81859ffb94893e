"""Compares DEFOM-Stereo with outputs of the original, recorded under weights from names (see `fill`).

A recorded tensor is whole (``full/NAME``, and the two results), or a slice of it (``slice/NAME``) with statistics of
all of it (``stats/NAME``).
"""

import json
from pathlib import Path
from typing import Any

import fill
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

DATA = Path(__file__).parent / "data" / "defom"
RESULTS = ("lowres_disp", "final_padded")
"""Disparity of every iteration at 1/4 (the first is where they start), and the last one at full size."""

Case = dict[str, Any]


def cases() -> list[str]:
    return sorted(path.stem.removeprefix("golden_") for path in DATA.glob("golden_*.npz"))


def load_case(name: str) -> Case:
    with np.load(DATA / f"golden_{name}.npz") as file:
        case = dict(file)
    case["meta"] = json.loads(case["meta"].tobytes())
    return case


def recorded_names(case: Case) -> set[str]:
    return {name.split("/")[1] for name in case if "/" in name} | set(RESULTS)


def images(case: Case) -> tuple[Tensor, Tensor]:
    """Left and right, padded as the original saw them."""
    left, right = (
        F.pad(torch.from_numpy(case[side]).permute(0, 3, 1, 2).float(), case["meta"]["pad"], mode="replicate")
        for side in ("left", "right")
    )
    return left, right


def state_dict_for(case: Case, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """ViT-S weights from names, with the case's own factors on some of them."""
    state = dict(fill.from_keys_json(DATA / "keys_vits.json") if state is None else state)
    for name, factor in case["meta"]["mult"].items():
        state[name] = state[name] * factor
    return state


def summary(values: Tensor) -> np.ndarray:
    """Mean, deviation, smallest, largest, and a projection that no permutation of the values leaves alone."""
    x = values.detach().double().flatten()
    wave = torch.cos(0.37 * torch.arange(x.numel(), dtype=torch.float64) + 0.2)
    projection = (x * wave).sum() / x.numel() ** 0.5
    return torch.stack([x.mean(), x.std(unbiased=False), x.min(), x.max(), projection]).numpy()


def diff(found: Tensor, wanted: np.ndarray, atol: float, rtol: float) -> dict[str, Any]:
    """Error against ``atol`` + ``rtol`` times the larger of the value and the tensor's root mean square."""
    if tuple(found.shape) != wanted.shape:
        return {"ok": False, "why": f"shape {tuple(found.shape)}, expected {wanted.shape}"}
    got, want = found.detach().numpy().astype(np.float64), wanted.astype(np.float64)
    error = np.abs(got - want)
    rms = float(np.sqrt(np.mean(want**2))) or 1.0
    ok = bool(np.isfinite(got).all() and (error <= atol + rtol * np.maximum(np.abs(want), rms)).all())
    return {"ok": ok, "max_abs": float(error.max()), "rms": rms}


def compare(case: Case, name: str, found: Tensor, *, atol: float = 2e-3, rtol: float = 1e-4) -> dict[str, Any]:
    """One tensor against whatever is recorded of it."""
    if name in RESULTS or f"full/{name}" in case:
        return diff(found, case[name if name in RESULTS else f"full/{name}"], atol, rtol)
    piece = case["meta"]["slices"][name]
    if list(found.shape) != piece["shape"]:
        return {"ok": False, "why": f"shape {list(found.shape)}, expected {piece['shape']}"}
    rows = (slice(None), *(slice(None, None, step) for step in piece["step"]))
    report = diff(found[rows], case[f"slice/{name}"], atol, rtol)
    got, want = summary(found), case[f"stats/{name}"]
    deviation = abs(want[1]) + 1e-12
    report["stats_rel"] = float(np.max(np.abs(got[:4] - want[:4]) / (np.abs(want[:4]) + deviation)))
    report["projection_err"] = float(abs(got[4] - want[4]) / deviation)
    report["ok"] = report["ok"] and report["stats_rel"] < 1e-3 and report["projection_err"] < 1e-2
    return report
