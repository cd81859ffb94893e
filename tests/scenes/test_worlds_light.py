"""Colours of small scenes against values by hand."""

from dataclasses import replace

import pytest
import torch

from depthweave import geometry
from depthweave.types import Camera
from depthweave.worlds import Light, Material, Part, RenderedPair, Scene, Sky, Thing, render_pair
from depthweave.worlds.shapes import Box, Patch, Quadric, Room, Rotation, Vector

INF = float("inf")
WIDTH, HEIGHT = 64, 48
CAMERA = Camera(geometry.intrinsics_matrix(50.0, 50.0, 31.5, 23.5), WIDTH, HEIGHT, baseline_m=0.1)
FLOOR = Room((-INF, -INF, -INF), (INF, 1.0, INF))
WALL = Room((-INF, -INF, -INF), (INF, INF, 4.0))
LYING: Rotation = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
EVEN = Light(position=(0.0, -5.0, 0.0), color=(0.0, 0.0, 0.0), ambient=(1.0, 1.0, 1.0), shadows=False)


def painted(color: Vector, **more: float) -> Material:
    """One colour everywhere, as it is encoded in a picture."""
    return Material(gain=(0.0, 0.0, 0.0), lift=color, **more)


def rendered(*parts: Part, light: Light = EVEN, smooth: bool = True, sky: Sky | None = None) -> torch.Tensor:
    """The left picture of still parts."""
    scene = Scene(tuple(Thing((part,)) for part in parts), CAMERA, light=light, sky=sky or Sky())
    return render_pair(scene, smooth=smooth).left.image


def test_ambient_light_comes_more_from_above() -> None:
    image = rendered(Part(FLOOR, painted((0.5, 0.4, 0.3))), Part(WALL, painted((0.5, 0.4, 0.3))))
    # Encoded with gamma 2, light is the square: 1 for a surface that looks up, 0.75 for one that looks sideways.
    torch.testing.assert_close(image[:, -1, 32], torch.tensor([0.5, 0.4, 0.3]), rtol=0, atol=2e-3)
    torch.testing.assert_close(image[:, 20, 32], 0.75**0.5 * torch.tensor([0.5, 0.4, 0.3]), rtol=0, atol=2e-3)


def test_lamp_light_follows_the_cosine_and_stops_at_things() -> None:
    lamp = Light(position=(0.0, -3.0, 3.0), color=(1.0, 1.0, 1.0), ambient=(0.2, 0.2, 0.2))
    roof = Part(Box((0.4, 0.05, 0.4)), painted((0.5, 0.5, 0.5)), center=(0.0, -1.5, 3.0))
    open_air = rendered(Part(FLOOR, painted((0.5, 0.5, 0.5))), light=replace(lamp, shadows=False))
    under_roof = rendered(Part(FLOOR, painted((0.5, 0.5, 0.5))), roof, light=lamp)
    # Row 40 looks at the floor 50 / 16.5 m away, column 32 nearly below the lamp, which is 4 m above it.
    depth = 50 / 16.5
    cosine = 4 / (16 + (depth - 3) ** 2 + (0.5 / 50 * depth) ** 2) ** 0.5
    assert open_air[0, 40, 32].item() ** 2 == pytest.approx(0.25 * (0.2 + cosine), rel=1e-3)
    assert under_roof[0, 40, 32].item() ** 2 == pytest.approx(0.25 * 0.2, rel=1e-3)
    # Far aside nothing stands in the way.
    assert under_roof[0, 40, 2].item() == pytest.approx(open_air[0, 40, 2].item(), abs=1e-3)


def test_a_mirror_shows_what_is_above_it() -> None:
    red = Part(WALL, painted((0.8, 0.1, 0.1)))
    image = rendered(Part(FLOOR, painted((0.1, 0.1, 0.8), mirror=1.0)), red, smooth=False)
    reflection, wall = image[:, -1, 32], image[:, 20, 32]
    torch.testing.assert_close(reflection, wall, rtol=0, atol=2e-3)
    half = rendered(Part(FLOOR, painted((0.1, 0.1, 0.8), mirror=0.5)), red, smooth=False)
    mixed = 0.5 * wall.square() + 0.5 * torch.tensor([0.1, 0.1, 0.8]).square()
    torch.testing.assert_close(half[:, -1, 32].square(), mixed, rtol=0, atol=2e-3)


def test_glass_shows_what_is_behind_it_and_is_the_first_surface() -> None:
    pane = Part(Patch((1.0, 1.0)), painted((0.2, 0.9, 0.2), glass=0.75), center=(0.0, 0.0, 2.0))
    scene = Scene((Thing((Part(WALL, painted((0.8, 0.1, 0.1))),)), Thing((pane,))), CAMERA, light=EVEN)
    left = render_pair(scene).left
    expected = 0.75 * (0.75 * torch.tensor([0.8, 0.1, 0.1]).square() + 0.25 * torch.tensor([0.2, 0.9, 0.2]).square())
    torch.testing.assert_close(left.image[:, 24, 32].square(), expected, rtol=0, atol=2e-3)
    assert left.things[24, 32] == 1
    assert left.depth[24, 32] == 2.0


def test_mirrors_of_the_sky_and_mirrors_of_mirrors() -> None:
    blue = Sky(zenith=(0.1, 0.2, 0.9), horizon=(0.1, 0.2, 0.9))
    image = rendered(Part(FLOOR, painted((0.0, 0.0, 0.0), mirror=1.0)), sky=blue)
    torch.testing.assert_close(image[:, -1, 32].square(), torch.tensor([0.1, 0.2, 0.9]), rtol=0, atol=2e-3)
    # The second mirror is seen in its own colour.
    front = Part(WALL, painted((0.6, 0.6, 0.2), mirror=1.0))
    both = rendered(Part(FLOOR, painted((0.0, 0.0, 0.0), mirror=1.0)), front, smooth=False)
    assert both[0, -1, 32].item() ** 2 == pytest.approx(0.75 * 0.36, abs=2e-3)


def test_highlights_move_with_the_eye() -> None:
    lamp = Light(position=(0.0, -4.0, 2.0), color=(1.0, 1.0, 1.0), ambient=(0.1, 0.1, 0.1), shadows=False)
    ball = Part(Quadric.ellipsoid((0.5, 0.5, 0.5)), painted((0.3, 0.3, 0.3), specular=1.0), center=(0.0, 0.0, 2.0))

    wall = Thing((Part(WALL, painted((0.1, 0.1, 0.1))),))
    dull = replace(ball, material=painted((0.3, 0.3, 0.3)))
    pair, matt = (render_pair(Scene((wall, Thing((part,))), CAMERA, light=lamp)) for part in (ball, dull))
    assert pair.left.image.amax() > matt.left.image.amax() + 0.2

    def difference(rendered: RenderedPair) -> float:
        """Between left and right pictures of the same points of the ball."""
        warped, _ = geometry.warp_by_disparity(rendered.right.image, rendered.left.disparity)
        seen = rendered.visible & (rendered.left.things == 1)
        return float((warped - rendered.left.image)[:, seen].abs().mean())

    assert difference(pair) > 5 * difference(matt)


def test_outlines_are_smooth_and_nothing_else_changes() -> None:
    parts = (
        Part(WALL, painted((0.1, 0.1, 0.1))),
        Part(Patch((0.5, 0.5), power=2), painted((0.9, 0.9, 0.9)), center=(0.0, 0.0, 2.0)),
    )
    rough, smooth = rendered(*parts, smooth=False), rendered(*parts)
    assert len(rough[0].unique()) == 2
    between = smooth[0][(smooth[0] != rough[0])]
    assert 20 < between.numel() < 120
    # Four rays give quarters of the light.
    dark, bright = rough[0].min() ** 2, rough[0].max() ** 2
    quarters = (between.square() - dark) / (bright - dark) * 4
    torch.testing.assert_close(quarters, quarters.round(), rtol=0, atol=1e-3)
    # The disc covers pi 12.5^2 px.
    covered = ((smooth[0].square() - dark) / (bright - dark)).sum().item()
    assert covered == pytest.approx(torch.pi * 12.5**2, rel=0.01)


def test_far_texture_is_averaged() -> None:
    near, far = (
        rendered(Part(Room((-INF,) * 3, (INF, INF, z)), Material(texture=3, size_m=0.5)))[1] for z in (1.0, 400.0)
    )
    assert far.std() < 0.05 * near.std()
