"""Ray casting of both views of a scene, each on its own: colour is anti-aliased, truth is exact at pixel centres."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from depthweave import geometry, images, io
from depthweave.types import DisparityMap, StereoPair
from depthweave.worlds.scene import Plane, Scene, Sphere

GAMMA = 1.8
"""Light adds up before the picture is encoded."""


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """A pair and its truth.

    Attributes:
        pair: both pictures and the camera.
        left_disparity, right_disparity: px, dense and analytic.
        visible: (h, w) left pixels whose point the right camera sees.
    """

    pair: StereoPair
    left_disparity: DisparityMap
    right_disparity: DisparityMap
    visible: Bool[Tensor, "h w"]

    def save(self, folder: str | Path) -> None:
        """Write the scene folder that the ``folder`` reader takes: both pictures, calibration, disparity and mask."""
        folder = Path(folder)
        for name, view in (("left", self.pair.left), ("right", self.pair.right)):
            io.write_image(folder / f"{name}.png", images.image_from_tensor(view))
        camera = self.left_disparity.camera
        if camera is not None:
            calibration = io.StereoCalibration(camera.intrinsics.double().numpy(), camera.baseline_m, camera.doffs_px)
            io.write_calibration(folder / "calib.txt", calibration)
        self.left_disparity.save(folder / "disparity.pfm")
        mask = torch.where(self.visible, 255, 128).to(torch.uint8).numpy()
        io.write_image(folder / "mask0nocc.png", mask)


def render_pair(scene: Scene, *, samples: int = 2, name: str = "rendered") -> RenderedPair:
    """Both views of a scene with exact disparity and visibility.

    Args:
        scene: surfaces that leave no ray without a hit (a wall behind everything).
        samples: colour rays per pixel in each direction.
        name: of the pair.
    """
    camera = scene.camera
    baseline_m = camera.baseline_m or 0.0
    right_eye = torch.tensor([baseline_m, 0.0, 0.0])
    grid = geometry.pixel_grid(camera.height, camera.width)
    rays = _rays(scene, grid.double())
    left_depth, right_depth = (_cast(scene, eye, rays)[0] for eye in (torch.zeros(3), right_eye))
    left_px, right_px = (
        geometry.disparity_from_depth(depth, focal_px=camera.focal_px, baseline_m=baseline_m)
        for depth in (left_depth, right_depth)
    )
    seen_at = grid - torch.stack((left_px, torch.zeros_like(left_px)), dim=-1)
    first_depth, _ = _cast(scene, right_eye, _rays(scene, seen_at))
    in_view = seen_at[..., 0] >= -0.5
    visible = in_view & (first_depth >= left_depth * (1 - 1e-6))
    left, right = (_color(scene, eye, samples) for eye in (torch.zeros(3), right_eye))
    everywhere = torch.ones_like(visible)
    return RenderedPair(
        StereoPair(left, right, camera, name),
        DisparityMap(left_px.float(), everywhere, None, camera, left),
        DisparityMap(right_px.float(), everywhere, None, camera, right),
        visible,
    )


def _rays(scene: Scene, pixels: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 3"]:
    k = scene.camera.intrinsics
    x = (pixels[..., 0] - k[0, 2]) / k[0, 0]
    y = (pixels[..., 1] - k[1, 2]) / k[1, 1]
    return torch.stack((x, y, torch.ones_like(x)), dim=-1)


def _cast(
    scene: Scene, eye: Float[Tensor, "3"], rays: Float[Tensor, "*b 3"]
) -> tuple[Float[Tensor, "*b"], Int[Tensor, "*b"]]:
    """Depth of the first hit (rays have z = 1, so the ray parameter is the depth) and the surface that was hit."""
    hits = torch.stack([_intersect(surface, eye, rays) for surface in scene.surfaces])
    depth, index = hits.min(dim=0)
    return depth, index


def _intersect(surface: Plane | Sphere, eye: Float[Tensor, "3"], rays: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b"]:
    kind = rays.dtype
    origin = eye.to(kind)
    if isinstance(surface, Plane):
        normal = torch.tensor(surface.normal, dtype=kind)
        t = ((torch.tensor(surface.point, dtype=kind) - origin) @ normal) / (rays @ normal)
    else:
        offset = origin - torch.tensor(surface.center, dtype=kind)
        a = rays.square().sum(-1)
        half_b = rays @ offset
        root = (half_b.square() - a * (offset.square().sum() - surface.radius_m**2)).sqrt()
        t = (-half_b - root) / a
    return torch.where(t > 1e-6, t, torch.inf)


def _color(scene: Scene, eye: Float[Tensor, "3"], samples: int) -> Float[Tensor, "3 h w"]:
    camera = scene.camera
    fine = geometry.pixel_grid(camera.height * samples, camera.width * samples)
    rays = _rays(scene, (fine + 0.5) / samples - 0.5)
    depth, index = _cast(scene, eye, rays)
    points = eye + rays * depth[..., None]
    light = torch.nn.functional.normalize(torch.tensor(scene.light), dim=0)
    color = torch.zeros_like(points)
    for number, surface in enumerate(scene.surfaces):
        hit = index == number
        place = points[hit]
        if isinstance(surface, Plane):
            normal = torch.nn.functional.normalize(torch.tensor(surface.normal), dim=0).expand_as(place)
        else:
            normal = (place - torch.tensor(surface.center)) / surface.radius_m
        shade = 0.4 + 0.6 * (normal @ light).clamp_min(0.0)
        pattern = 0.25 + 0.75 * _noise(place / surface.grain_m, surface.texture_seed)
        color[hit] = torch.tensor(surface.color) * (shade * pattern)[:, None]
    linear = torch.nn.functional.avg_pool2d(color.permute(2, 0, 1), samples).clamp(0, 1)
    return linear.pow(1 / GAMMA).contiguous()


def _noise(points: Float[Tensor, "n 3"], seed: int, octaves: int = 5) -> Float[Tensor, "n"]:
    """Solid value noise in [0, 1]: each octave doubles the frequency and keeps three quarters of the strength."""
    total = torch.zeros(points.shape[0])
    strength, mass = 1.0, 0.0
    for octave in range(octaves):
        total += strength * _lattice(points * 2**octave, seed + octave)
        mass += strength
        strength *= 0.75
    # Value noise gathers around one half; the stretch gives it the contrast of printed paper.
    return ((total / mass - 0.5) * 2.0 + 0.5).clamp(0, 1)


def _lattice(points: Float[Tensor, "n 3"], seed: int) -> Float[Tensor, "n"]:
    """Random values at integer coordinates, blended by smoothstep in between."""
    x, y, z = points.unbind(-1)
    (x0, u), (y0, v), (z0, w) = (_cell(axis) for axis in (x, y, z))
    offset = seed * 7919 % 2**30
    rows = [[(x0 + i) * 73856093 + (y0 + j) * 19349663 + offset for i in (0, 1)] for j in (0, 1)]
    total = torch.zeros_like(x)
    for k, along_z in ((0, 1 - w), (1, w)):
        depth = (z0 + k) * 83492791
        near, far = (torch.lerp(_uniform(row[0] + depth), _uniform(row[1] + depth), u) for row in rows)
        total += along_z * torch.lerp(near, far, v)
    return total


def _cell(axis: Float[Tensor, "n"]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    whole = axis.floor()
    inside = axis - whole
    return whole.int(), inside.square() * (3 - 2 * inside)


def _uniform(mixed: Int[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Uniform in [0, 1) from an int32: xor, shift, multiply, all wrapping and so equal on every machine."""
    for factor in (668265263, 374761393):
        mixed = (mixed ^ (mixed >> 15)).mul_(factor)
    return (mixed ^ (mixed >> 16)).bitwise_and_(0x7FFFFFFF).float().div_(2.0**31)
