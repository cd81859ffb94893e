"""Weights from names: every tensor of a state dict is made from its key and its shape, so none has to be kept.

key -> crc32 -> numpy's PCG64 -> float64 draws -> rule -> float32. The rules keep activations sane under random weights:
gates unsaturated, updates and upsampling visible, position tables rough enough that a wrong resampling shows.

A residual block's shortcut norm is registered twice (``norm3`` and ``downsample.1``), a dense head's lateral
convolution too (``layer1_rn`` and ``layer_rn.0``); both names get the same values.
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

PIXEL_MEAN = 255 * np.array([0.485, 0.456, 0.406])
PIXEL_STD = 255 * np.array([0.229, 0.224, 0.225])
RESIDUAL_SECOND = re.compile(r"(resConfUnit[12]|(?:cnet|fnet)\..*\.[01])\.conv2\.weight$")
"""The second convolution of a residual unit: half the gain, or random branches blow activations up."""
TRANSPOSED = (".resize_layers.0.", ".resize_layers.1.", ".act_postprocess.0.1.", ".act_postprocess.1.1.")
CORRELATION_ENTRY = ("encoder.convc1.weight", "encoder.convd1.weight")
FIXED = (-0.0447209589, 0.027578555, 0.0452001691)
"""First values of ``fnet.conv2.weight`` (256, 128, 1, 1): they show if numpy ever changes its stream."""


def canonical(key: str) -> str:
    once = re.sub(r"\.downsample\.1\.", ".norm3.", key.removeprefix("module."))
    return re.sub(r"\.layer_rn\.(\d)\.", lambda match: f".layer{int(match[1]) + 1}_rn.", once)


def value_for(key: str, shape: tuple[int, ...] | list[int]) -> np.ndarray:
    """The values of one entry: float32, or int64 for a counter."""
    key, shape = canonical(key), tuple(shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode("utf-8"))))
    if key in ("mean", "std"):
        values = (PIXEL_MEAN if key == "mean" else PIXEL_STD).reshape(shape)
    elif last == "running_var":
        values = 0.5 + generator.random(shape)
    else:
        values = _normal_rule(key, last, generator.standard_normal(shape))
    return values.astype(np.float32)


def _normal_rule(key: str, last: str, normal: np.ndarray) -> np.ndarray:
    if last == "weight" and normal.ndim > 1:
        return _matrix_rule(key, normal)
    rules = {
        "running_mean": (0.0, 0.1),
        "gamma": (0.3, 0.1),
        "pos_embed": (0.0, 0.2),
        "cls_token": (0.0, 0.2),
        "mask_token": (0.0, 0.02),
        "weight": (1.0, 0.1),
        "bias": (0.0, 0.02),
    }
    mean, deviation = rules[last]
    return mean + deviation * normal


def _matrix_rule(key: str, normal: np.ndarray) -> np.ndarray:
    inputs = normal.shape[0] if any(part in key for part in TRANSPOSED) else int(np.prod(normal.shape[1:]))
    values = normal * ((0.5 if RESIDUAL_SECOND.search(key) else 1.0) / np.sqrt(inputs))
    if key.endswith("depth_head.scratch.output_conv2.2.weight"):
        values = np.abs(values)  # or the closing ReLU leaves no depth at all
    if key.endswith(CORRELATION_ENTRY):
        values = 0.1 * values
    return 4.0 * values if key.endswith("mask.2.weight") else values


def tensor_for(key: str, shape: tuple[int, ...] | list[int]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(value_for(key, shape))).reshape(tuple(shape))


def fill_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same keys in the same order, with values from their names."""
    return {key: tensor_for(key, tuple(value.shape)) for key, value in state.items()}


def fill_model(model: nn.Module) -> nn.Module:
    model.load_state_dict(fill_state_dict(model.state_dict()), strict=True)
    return model


def from_keys_json(path: Path | str, prefix: str = "") -> dict[str, Tensor]:
    """A whole state dict from a recorded list of keys (``{"keys": {key: [shape, dtype]}}``), without any network."""
    recorded = json.loads(Path(path).read_text(encoding="utf-8"))
    keys = recorded.get("keys", recorded)
    return {prefix + key: tensor_for(key, shape) for key, (shape, _) in keys.items()}


def smooth_images(count: int, height: int, width: int) -> np.ndarray:
    """Sums of waves in [-1, 1], (count, 3, height, width) float32; each is the one before moved left by 3 px."""
    generator = np.random.Generator(np.random.PCG64(7))
    y, x = np.mgrid[:height, : width + 3 * count].astype(np.float64)
    wide = np.zeros((3, *y.shape))
    for channel in wide:
        for _ in range(8):
            frequency_y, frequency_x = generator.uniform(-0.35, 0.35), generator.uniform(-0.35, 0.35)
            phase, amplitude = generator.uniform(0, 6.28), generator.uniform(0.3, 1)
            channel += amplitude * np.sin(frequency_y * y + frequency_x * x + phase)
    return np.stack([np.tanh(wide / 2)[:, :, 3 * k : 3 * k + width] for k in range(count)]).astype(np.float32)


def self_check() -> None:
    got = value_for("fnet.conv2.weight", (256, 128, 1, 1)).ravel()[:3]
    assert np.allclose(got, FIXED, rtol=0, atol=1e-7), (got, FIXED)
