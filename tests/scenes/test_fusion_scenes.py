"""The streaming fusion on noisy pointmaps of a known room, beside DUSt3R's rule on the same pairs."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from fusion import compare, default, reference, with_smooth_errors

sys.path.append(str(Path(__file__).parents[1] / "parity"))
from pointmap_scenes import make_scene


@pytest.mark.parametrize(("noise", "bound"), [(0.01, 0.006), (0.05, 0.012)])
def test_depth_has_one_scale_over_a_clip(noise: float, bound: float) -> None:
    scene = make_scene(40, noise=noise)
    pairs = with_smooth_errors(scene.pairs, 0.02, 1000)
    error, spread, trajectory, rotation = compare(*default(pairs, 40), scene)
    assert error < bound
    assert spread < 1.03
    assert trajectory < 0.005
    assert rotation < 0.5
    rule_error, rule_spread, rule_trajectory, _ = compare(*reference(pairs, 40), scene)
    assert rule_error > 1.8 * error
    assert rule_spread > spread
    assert rule_trajectory > trajectory


def test_far_apart_frames_hold_together_without_loops() -> None:
    scene = make_scene(120, 18, 24, noise=0.01, step=0.03)
    depth, poses = default(scene.pairs, 120)
    error, spread, trajectory, _ = compare(depth, poses, scene)
    assert torch.isfinite(poses).all()
    assert error < 0.01
    assert spread < 1.04
    assert trajectory < 0.01
