"""Light and colour of surface points: materials, lamp, shadow map, sky. Linear light, any number of samples at once."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from depthweave.worlds.cast import RAYS, SIDE, Eye, FreeRays, Rays, Tables, first_hits, invert, moved
from depthweave.worlds.intersect import Kind, Triple, along, dot, normal_at, room_normal_at
from depthweave.worlds.materials import LEVELS, TEXELS, TILE, Textures
from depthweave.worlds.scene import Material, Scene

SHADOW_SIDE = 256
"""Width of a shadow map in px."""

_FAR_M = 1e6
_LARGEST_SHADOW_M = 8.0


@dataclass(frozen=True, eq=False)
class Surface:
    """What rays meet, in the axes of their eye; meaningless for the sky.

    Attributes:
        part: (n,) places of all samples' parts among all parts.
        point: m.
        toward: direction of the ray, not of unit length.
        normal: of unit length, on the side that the ray comes from.
        cosine: between the ray and the normal, in [0, 1].
        u, v: on the surface, m.
        footprint_m: width of a pixel there, seen head-on; of a mirrored ray, of its whole way.
    """

    part: Int[Tensor, "n"]
    point: Triple
    toward: Triple
    normal: Triple
    cosine: Float[Tensor, "g rays"]
    u: Float[Tensor, "g rays"]
    v: Float[Tensor, "g rays"]
    footprint_m: Float[Tensor, "g rays"]


def scaled(vector: Triple, factor: Tensor) -> Triple:
    """Every coordinate times the same."""
    return vector[0] * factor, vector[1] * factor, vector[2] * factor


def surface_at(
    tables: Tables, rays: Rays | FreeRays, t: Float[Tensor, "g rays"], row: Int[Tensor, "g rays"]
) -> Surface:
    """Points, normals and texture coordinates of hits.

    Args:
        tables: the scenes.
        rays: groups of rays.
        t: ray parameter of the hits.
        row: what was hit.
    """
    flat = row.clamp_min(0).view(-1)
    frame = [f.view(row.shape) for f in tables.frame.index_select(1, flat).unbind(0)]
    t = t.clamp_max(_FAR_M)
    point = rays.points(t)
    # Of a mirrored ray, the way to the mirror counts, too.
    way = t if isinstance(rays, Rays) else t + rays.origin[2].abs()
    footprint = way / tables.cameras[0].index_select(0, rays.eye)[:, None]
    origin, local = rays.seen_from(frame)
    here = along(origin, local, t)
    found, part = _normals(tables, flat, here)
    size = dot(found, found).clamp_min(1e-30).rsqrt()
    against = dot(found, local) * size
    # A grazing ray still gets a side.
    side = -(against - 1e-30).sign() * size
    normal = scaled(found, side)
    nx, ny, nz = normal
    ax, ay, az = nx.abs(), ny.abs(), nz.abs()
    first = (ax >= torch.maximum(ay, az)).float()
    second = (ay > torch.maximum(ax, az)).float()
    px, py, pz = here
    u = torch.addcmul(px, first, pz - px)
    v = torch.addcmul(py, second, pz - py)
    # Faces of a box are not cut from one piece of cloth.
    u = u + 0.37 * first + 0.61 * second
    # The transposed rotation leads back to the axes of the eye.
    outward = [torch.addcmul(torch.addcmul(frame[i] * nx, frame[i + 4], ny), frame[i + 8], nz) for i in range(3)]
    direction = rays.toward()
    length = dot(direction, direction).sqrt()
    return Surface(
        part,
        point,
        direction,
        (outward[0], outward[1], outward[2]),
        (against.abs() / length).clamp_max(1.0),
        u,
        v,
        footprint,
    )


def _normals(tables: Tables, row: Int[Tensor, "n"], point: Triple) -> tuple[Triple, Int[Tensor, "n"]]:
    """Normals in the axes of the shapes, and the parts."""
    kinds, parts = tables.kind.index_select(0, row), tables.part.index_select(0, row)
    flat = [p.reshape(-1) for p in point]
    normals = torch.zeros(3, row.shape[0], device=row.device)
    present = torch.bincount(kinds + 1, minlength=1 + len(Kind)).tolist()
    for kind in tables.kinds:
        if not present[1 + kind]:
            continue
        chosen = (kinds == int(kind)).nonzero().squeeze(1)
        part = parts.index_select(0, chosen)
        columns = tables.shape[: tables.used[kind]].index_select(1, part).unbind(0)
        x, y, z = (p.index_select(0, chosen) for p in flat)
        if kind == Kind.ROOM:
            found, face = room_normal_at((x, y, z), columns)
            parts = parts.index_copy(0, chosen, tables.face_part.index_select(0, 6 * part + face))
        else:
            found = normal_at(kind, (x, y, z), columns)
        for values, own in zip(normals.unbind(0), found, strict=True):
            values.index_copy_(0, chosen, own)
    x, y, z = (n.view(point[0].shape) for n in normals.unbind(0))
    return (x, y, z), parts


class Looks:
    """Materials, lamps, skies and shadow maps of a batch of scenes, as tables on the device."""

    def __init__(self, tables: Tables, textures: Textures, *, chunk: int) -> None:
        self.tables = tables
        scenes = tables.scenes
        materials = [part.material for scene in scenes for thing in scene.things for part in thing.parts]
        materials.append(Material(texture=scenes[0].sky.texture))
        wanted = sorted({material.texture for material in materials} | {scene.sky.texture for scene in scenes})
        slot = dict(zip(wanted, textures.slots(wanted), strict=True))
        self.texels = textures.texels
        self.materials = tables.tensor(
            np.array(
                [
                    (
                        math.cos(m.turn_rad) / m.size_m,
                        math.sin(m.turn_rad) / m.size_m,
                        *m.shift,
                        *m.gain,
                        *m.lift,
                        m.specular,
                        m.shininess,
                        m.mirror,
                        m.glass,
                        TILE / m.size_m,
                    )
                    for m in materials
                ]
            ).T
        )
        self.tile = tables.tensor(np.array([slot[m.texture] * TEXELS for m in materials], dtype=np.int32))
        self.sky_tile = tables.tensor(
            np.array([slot[scenes[eye.scene].sky.texture] * TEXELS for eye in tables.eyes], dtype=np.int32)
        )
        self.has_secondary = any(m.mirror > 0 or m.glass > 0 for m in materials)
        self.eyes = tables.tensor(np.array([_eye_row(scenes[eye.scene], eye) for eye in tables.eyes]).T)
        self.shadows = _Shadows(tables, chunk=chunk) if any(scene.light.shadows for scene in scenes) else None

    def shade(self, surface: Surface, eye: Int[Tensor, "g"]) -> Float[Tensor, "3 g rays"]:
        """Light that leaves surface points towards the eye, without mirrors and glass; nonsense for the sky."""
        shape, part = surface.cosine.shape, surface.part
        material = [m.view(shape) for m in self.materials.index_select(1, part).unbind(0)]
        cos, sin, shift_u, shift_v, *gain_lift = material[:10]
        specular, shininess, density = material[10], material[11], material[14]
        u = torch.addcmul(torch.addcmul(shift_u, cos, surface.u), sin, surface.v)
        v = torch.addcmul(torch.addcmul(shift_v, cos, surface.v), sin, surface.u, value=-1)
        # The geometric mean of both widths of the footprint: sharper than the longer one, calmer than the shorter.
        width = surface.footprint_m * density * surface.cosine.clamp_min(0.02).rsqrt()
        texel = self._texel(self.tile.index_select(0, part).view(shape), u, v, width.clamp_min(1e-6).log2())
        constants = self.eyes.index_select(1, eye)[..., None].unbind(0)
        lamp = (constants[0] - surface.point[0], constants[1] - surface.point[1], constants[2] - surface.point[2])
        lamp = scaled(lamp, dot(lamp, lamp).rsqrt())
        facing = dot(lamp, surface.normal).clamp_min(0)
        if self.shadows is not None:
            facing = facing * self.shadows.lit(surface, eye)
        view = scaled(surface.toward, -dot(surface.toward, surface.toward).rsqrt())
        half = (lamp[0] + view[0], lamp[1] + view[1], lamp[2] + view[2])
        gloss = dot(half, surface.normal) * dot(half, half).clamp_min(1e-12).rsqrt()
        highlight = specular * (shininess * gloss.clamp_min(1e-6).log2()).exp2() * facing.sign()
        # Half of the ambient light comes from above.
        skyward = 0.75 + 0.25 * dot((constants[9], constants[10], constants[11]), surface.normal)
        light = []
        for channel in range(3):
            encoded = torch.addcmul(gain_lift[3 + channel], gain_lift[channel], texel[channel]).clamp_min(0)
            color, ambient = constants[3 + channel], constants[6 + channel]
            received = torch.addcmul(ambient * skyward, color, facing)
            light.append(torch.addcmul(encoded * encoded * received, color, highlight))
        return torch.stack(light)

    def shares(self, part: Int[Tensor, "n"]) -> tuple[Tensor, Tensor]:
        """Shares of mirrored and of transmitted light."""
        return self.materials[12].index_select(0, part), self.materials[13].index_select(0, part)

    def sky(self, toward: Triple, eye: Int[Tensor, "n"]) -> Float[Tensor, "3 n"]:
        """Light from infinity along directions in the axes of their eyes."""
        constants = self.eyes.index_select(1, eye)
        x, y, z = (dot((constants[i], constants[i + 1], constants[i + 2]), toward) for i in (12, 15, 18))
        length = torch.sqrt(x * x + y * y + z * z)
        height = (-y / length).clamp(0, 1)
        far = 0.25 / (height + 0.08) / length
        tile = self.sky_tile.index_select(0, eye)
        cloud = self._texel(tile, x * far, z * far, torch.full_like(x, 0.5))[1]
        cover = (constants[27] * (2 * cloud - 0.5)).clamp(0, 1) * (6 * height).clamp_max(1)
        blend = height.sqrt()
        light = []
        for channel in range(3):
            clear = torch.lerp(constants[24 + channel], constants[21 + channel], blend)
            light.append(torch.lerp(clear, torch.full_like(clear, 0.9), cover))
        return torch.stack(light)

    def _texel(self, tile: Int[Tensor, "*s"], u: Tensor, v: Tensor, level: Tensor) -> list[Tensor]:
        """Trilinear values of tiles in [0, 1], per channel."""
        level = level.clamp(0, LEVELS - 1)
        lower = level.floor()
        upper_share = level - lower
        u, v = u - u.floor(), v - v.floor()
        channels = [torch.zeros_like(u) for _ in range(3)]
        for step, share in ((0, 1 - upper_share), (1, upper_share)):
            size = (LEVELS - 1 - step - lower).clamp_min(0).exp2()
            # Levels before this one hold (4^9 - 4 size^2) / 3 texels.
            start = ((4.0**LEVELS - 4 * size * size) * (1 / 3) + 0.5).floor()
            x, y = u * size - 0.5, v * size - 0.5
            x0, y0 = x.floor(), y.floor()
            right, below = x - x0, y - y0
            x1, y1 = x0 + 1, y0 + 1
            # Both ends wrap: -1 to the last texel, the size to the first.
            x0, y0 = x0 + (-x0).clamp_min(0) * size, y0 + (-y0).clamp_min(0) * size
            x1, y1 = x1 - (x1 - size + 1).clamp_min(0) * size, y1 - (y1 - size + 1).clamp_min(0) * size
            above = share - share * below
            below = share * below
            for texel_y, share_y in ((y0, above), (y1, below)):
                line = torch.addcmul(start, texel_y, size)
                for texel_x, weight in ((x0, share_y - share_y * right), (x1, share_y * right)):
                    place = (line + texel_x).to(torch.int32) + tile
                    packed = self.texels.index_select(0, place.view(-1)).view(u.shape)
                    for channel, shift in zip(channels, (0, 8, 16), strict=True):
                        channel.addcmul_(((packed >> shift) & 255).to(torch.float32), weight)
        return [channel.mul_(1 / 255) for channel in channels]


def _eye_row(scene: Scene, eye: Eye) -> list[float]:
    """Lamp 0-2, its colour 3-5, ambient 6-8, up 9-11, world_from_camera 12-20, zenith, horizon 21-26, clouds 27."""
    camera_from_world = invert(eye.world_from_camera)
    lamp = camera_from_world[:3, :3] @ np.asarray(scene.light.position) + camera_from_world[:3, 3]
    rotation = eye.world_from_camera[:3, :3]
    return [
        *lamp,
        *scene.light.color,
        *scene.light.ambient,
        *-rotation[1],
        *rotation.reshape(-1),
        *scene.sky.zenith,
        *scene.sky.horizon,
        scene.sky.clouds,
    ]


class _Shadows:
    """Depth as every lamp sees it (Williams, SIGGRAPH 1978), read with soft comparisons (Reeves et al., 1987)."""

    def __init__(self, tables: Tables, *, chunk: int) -> None:
        moments = {(eye.scene, eye.time_s) for eye in tables.eyes}
        order = {moment: place for place, moment in enumerate(sorted(moments))}
        lamps = [_lamp_eye(tables, scene, time_s) for scene, time_s in order]
        inside = Tables(tables.scenes, lamps, tables.device)
        rays = pixel_rays(inside, SHADOW_SIDE, SHADOW_SIDE)
        depth, _ = first_hits(inside, rays, chunk=chunk)
        self.depth = from_tiles(depth, len(lamps), SHADOW_SIDE, SHADOW_SIDE).reshape(-1)
        rows, firsts = [], []
        for eye in tables.eyes:
            place = order[eye.scene, eye.time_s]
            lamp = lamps[place]
            lamp_from_camera = (invert(lamp.world_from_camera) @ eye.world_from_camera)[:3].reshape(-1)
            used = float(tables.scenes[eye.scene].light.shadows)
            rows.append([*lamp_from_camera, lamp.focal_px[0], used])
            firsts.append(place * SHADOW_SIDE**2)
        self.rows = tables.tensor(np.array(rows).T)
        self.first = tables.tensor(np.array(firsts, dtype=np.int32))

    def lit(self, surface: Surface, eye: Int[Tensor, "g"]) -> Float[Tensor, "g rays"]:
        """Share of the lamp that surface points see, in [0, 1]."""
        frame = self.rows.index_select(1, eye)[..., None].unbind(0)
        focal, used, first = frame[12], frame[13], self.first.index_select(0, eye)[:, None]
        z = moved(frame, surface.point)[2].clamp_min(0.05)
        # A point is compared from a little above the surface, by the width of a texel.
        lifted = along(surface.point, surface.normal, 2.5 * z / focal)
        x, y, z = moved(frame, lifted)
        z = z.clamp_min(0.05)
        centre, last = 0.5 * (SHADOW_SIDE - 1), SHADOW_SIDE - 1
        px, py = x / z * focal + centre, y / z * focal + centre
        beyond = torch.maximum((px - centre).abs(), (py - centre).abs()) - (centre - 1)
        px, py = px.clamp(0, last - 1e-3), py.clamp(0, last - 1e-3)
        x0, y0 = px.floor(), py.floor()
        right, below = px - x0, py - y0
        at = first + (y0 * SHADOW_SIDE + x0).to(torch.int32)
        nearness = z / (0.5 * z / focal + 0.01)
        seen = torch.zeros_like(z)
        for step, share in (
            (0, (1 - right) * (1 - below)),
            (1, right * (1 - below)),
            (SHADOW_SIDE, (1 - right) * below),
            (SHADOW_SIDE + 1, right * below),
        ):
            blocker = self.depth.index_select(0, (at + step).view(-1)).view(z.shape)
            seen.addcmul_(((blocker / z - 1) * nearness + 1).clamp(0, 1), share)
        outside = beyond.clamp(0, 1)
        return 1 - used * (1 - seen) * (1 - outside)


def _lamp_eye(tables: Tables, place: int, time_s: float) -> Eye:
    """A camera in the lamp of a scene that looks at the middle of its things, as wide as they reach."""
    scene, placed = tables.scenes[place], tables.placed[place]
    here = np.asarray(scene.light.position)
    world_from_part, present = placed.at(time_s)
    throwing = present & (placed.reach < _LARGEST_SHADOW_M)
    centres, radii = world_from_part[throwing, :3, 3], placed.reach[throwing]
    camera = scene.path.world_from_camera(time_s)
    target = centres.mean(0) if len(centres) else camera[:3, 3] + 3 * camera[:3, 2]
    spread = float((np.linalg.norm(centres - target, axis=1) + radii).max(initial=0.5))
    distance = float(np.linalg.norm(target - here))
    reach = min(max(min(spread, 2 * _LARGEST_SHADOW_M) / max(distance, 1e-3), 0.01), 2.0)
    forward = (target - here) / max(distance, 1e-9) if distance > 1e-9 else np.array([0.0, 1.0, 0.0])
    helper = np.array([1.0, 0.0, 0.0]) if abs(forward[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(forward, right), forward, here
    focal = 0.5 * SHADOW_SIDE / reach
    return Eye(place, pose, (focal, focal), ((SHADOW_SIDE - 1) / 2,) * 2, time_s)


def pixel_rays(tables: Tables, height: int, width: int) -> Rays:
    """Rays through all pixel centres of all eyes, a square to a group; sizes are rounded up."""
    down, across = -(-height // SIDE), -(-width // SIDE)
    device = tables.device
    inside = torch.arange(RAYS, device=device)
    tile = torch.arange(down * across, device=device)
    x = (tile % across * SIDE)[:, None] + inside % SIDE
    y = (tile // across * SIDE)[:, None] + inside // SIDE
    focal_x, focal_y, centre_x, centre_y = tables.cameras[..., None, None].unbind(0)
    eyes = torch.arange(len(tables.eyes), device=device).repeat_interleave(down * across)
    return Rays(
        eyes,
        ((x - centre_x) / focal_x).reshape(-1, RAYS),
        ((y - centre_y) / focal_y).reshape(-1, RAYS),
    )


def from_tiles(values: Tensor, eyes: int, height: int, width: int) -> Tensor:
    """(..., groups of `pixel_rays`, rays) to (..., eyes, height, width)."""
    down, across = -(-height // SIDE), -(-width // SIDE)
    shape = values.shape[:-2]
    tiles = values.reshape(*shape, eyes, down, across, SIDE, SIDE)
    return tiles.transpose(-3, -2).reshape(*shape, eyes, SIDE * down, SIDE * across)[..., :height, :width]


def into_tiles(picture: Tensor) -> Tensor:
    """(eyes, height, width) to (groups, rays); what lies beyond the border is zero."""
    eyes, height, width = picture.shape
    padded = torch.nn.functional.pad(picture, (0, -width % SIDE, 0, -height % SIDE))
    down, across = padded.shape[1] // SIDE, padded.shape[2] // SIDE
    return padded.reshape(eyes, down, SIDE, across, SIDE).transpose(2, 3).reshape(-1, RAYS)
