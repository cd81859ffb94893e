"""The temporal refiner on rendered clips with the errors of a first stage: jitter of scale, noise on moving things."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from depthweave import Clip, geometry
from depthweave.images import gaussian_blur
from depthweave.metrics.temporal import band_values
from depthweave.pipelines.temporal_refiner import TemporalRefiner
from depthweave.types import Camera, DepthMap
from depthweave.worlds import Material, Part, RenderedClip, Scene, Thing, render_clip
from depthweave.worlds.motion import HandHeld, Motion
from depthweave.worlds.shapes import IDENTITY, Box, Quadric, Room

WIDTH, HEIGHT, FRAMES = 128, 96, 40
FOCAL_PX = 107.0
CAMERA = Camera(geometry.intrinsics_matrix(FOCAL_PX, FOCAL_PX, (WIDTH - 1) / 2, (HEIGHT - 1) / 2), WIDTH, HEIGHT)
STILL, MOVING = HandHeld(), HandHeld(velocity_m_s=(0.25, 0.0, 0.15), spin_rad_s=(0.0, -0.04, 0.0))
CASES = ("things move", "camera moves", "both move")


def thing(shape: object, x: float, y: float, z: float, texture: int, **motion: object) -> Thing:
    return Thing((Part(shape, Material(texture=texture)),), (x, y, z), IDENTITY, Motion(**motion))  # type: ignore[arg-type]


def scene(things_move: bool, path: HandHeld) -> Scene:
    first = {"velocity_m_s": (0.15, 0.0, 0.1)} if things_move else {}
    second = {"velocity_m_s": (-0.2, 0.05, -0.15)} if things_move else {}
    things = (
        thing(Room((-3.0, -2.0, -30.0), (3.0, 1.2, 7.0)), 0.0, 0.0, 0.0, 2),
        thing(Box((0.5, 0.5, 0.5)), 0.9, 0.7, 3.6, 5),
        thing(Box((0.3, 0.8, 0.3)), -1.2, 0.2, 5.2, 9),
        thing(Quadric.ellipsoid((0.6, 0.6, 0.6)), -0.7, 0.2, 3.2, 7, **first),
        thing(Box((0.5, 0.5, 0.3)), 0.9, -0.6, 4.0, 11, **second),
    )
    return Scene(things, CAMERA, path, name="room")


@dataclass(frozen=True)
class Case:
    truth: RenderedClip
    stage1: Tensor
    refined: Tensor
    moving: Tensor

    def bands(self, values: Tensor, region: Tensor) -> Tensor:
        return band_values(self.errors(values, region))

    def errors(self, values: Tensor, region: Tensor) -> Tensor:
        """AbsRel of every frame on a region, in the first stage's own scale."""
        off = (values / self.truth.left.depth.double() - 1).abs()
        return (off * region).sum((1, 2)) / region.sum((1, 2))


def disturb(truth: RenderedClip, moving: Tensor, seed: int, *, one_sided: bool = True) -> Tensor:
    """True depth with a lasting error of the scene, drift, 3 % jitter of scale, 8 % smooth noise on moving things.

    With ``one_sided`` depth is too far nearly everywhere, so that AbsRel is linear in the errors and its bands are
    theirs. Otherwise less jitter lowers the slow bands too, since |a + b| is not |a| + |b|.
    """
    generator = torch.Generator().manual_seed(seed)
    true = truth.left.depth.double()
    frames = len(true)
    time = torch.arange(frames, dtype=torch.float64) / (frames - 1)
    drift = 0.12 * torch.sin(2 * math.pi * 0.6 * time)
    jitter = 0.03 * torch.randn(frames, generator=generator, dtype=torch.float64)
    lasting = 0.15 * torch.log(true / true.median()) + (0.35 if one_sided else 0.0)
    waves = gaussian_blur(torch.randn(frames, 1, HEIGHT, WIDTH, generator=generator), 5.0)[:, 0].double()
    noise = 0.08 * waves / waves.std() * moving
    return true * torch.exp(lasting + noise + (drift + jitter)[:, None, None])


def maps(values: Tensor) -> list[DepthMap]:
    return [DepthMap(v.float(), torch.ones_like(v, dtype=torch.bool), None, CAMERA) for v in values]


def refine(pictures: list[Tensor], values: Tensor, folder: Path, **options: object) -> Tensor:
    found = TemporalRefiner(**options).refine(Clip(pictures, camera=CAMERA), maps(values), folder)  # type: ignore[arg-type]
    return torch.stack([depth.values.double() for depth in found])


@cache
def render(name: str) -> RenderedClip:
    made = scene(name != "camera moves", STILL if name == "things move" else MOVING)
    return render_clip(made, frames=FRAMES, fps=10, stereo=False, smooth=False, noise=False)


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    truth = render(request.param)
    # Where only the camera moves, the noise lies on the things that move elsewhere.
    moving = truth.left.things >= 3
    stage1 = disturb(truth, moving, seed=1)
    return Case(truth, stage1, refine(list(truth.left.image), stage1, tmp_path_factory.mktemp("work")), moving)


@pytest.mark.parametrize("region", ["static", "dynamic"])
def test_fast_errors_fall_and_slow_ones_stay(case: Case, region: str) -> None:
    where = case.moving if region == "dynamic" else ~case.moving
    before, after = case.bands(case.stage1, where), case.bands(case.refined, where)
    assert (before[6:] > 1e-3).all()
    assert (after[6:] < 0.6 * before[6:]).all()
    assert ((after[:3] - before[:3]).abs() <= 0.05 * before[:3]).all()


def test_a_clip_without_errors_hardly_changes(case: Case, tmp_path: Path) -> None:
    truth = case.truth.left
    refined = refine(list(truth.image), truth.depth.double(), tmp_path)
    change = (refined / truth.depth - 1).abs()
    assert change.mean() < 0.002
    assert change[case.moving].mean() < 0.002
    assert change.flatten()[::7].quantile(0.99) < 0.01


def test_known_poses_serve_as_well(case: Case, tmp_path: Path) -> None:
    poses = case.truth.world_from_camera
    refined = refine(list(case.truth.left.image), case.stage1, tmp_path, world_from_camera=poses.float())
    for where in (case.moving, ~case.moving):
        before, after = case.bands(case.stage1, where), case.bands(refined, where)
        assert after[6:].sum() < 0.5 * before[6:].sum()
        assert ((after[:3] - before[:3]).abs() <= 0.06 * before[:3]).all()
