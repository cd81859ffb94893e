"""Pictures and exact truth of scenes: both views rendered on their own from one description.

Colour is anti-aliased: textures by mip levels, outlines by more rays. Truth is that of the ray through the pixel's
centre and comes from the shapes' equations; nothing of it is interpolated or averaged.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Int32
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.worlds.cast import RAYS, Eye, FreeRays, Rays, Tables, first_hits, invert
from depthweave.worlds.intersect import along
from depthweave.worlds.materials import Textures
from depthweave.worlds.scene import Scene
from depthweave.worlds.sensor import IDEAL, expose
from depthweave.worlds.shade import Looks, Surface, from_tiles, into_tiles, pixel_rays, surface_at
from depthweave.worlds.views import Match, PairBatch, RenderedClip, RenderedPair, View

GPU_MEMORY_BYTES = 4 * 2**30
"""Default budget on accelerators."""

_CPU_CHUNK = 2**15
_BYTES_PER_RAY = 600
_BYTES_PER_PIXEL = 300
_TOLERANCE = 1e-4
"""Relative difference of inverse depth below which two hits are one surface."""
_SMOOTH = 0.9
"""Cosine of the angle between neighbouring normals below which a pixel is an outline."""


@lru_cache(maxsize=2)
def default_textures(device: str = "cpu") -> Textures:
    """The pool that rendering takes when none is given."""
    return Textures(device=device)


def render_pair(
    scene: Scene,
    *,
    textures: Textures | None = None,
    device: str = "cpu",
    time_s: float | int = 0.0,
    smooth: bool = True,
    noise: bool = True,
) -> RenderedPair:
    """One pair; see `render_pairs`."""
    return render_pairs([scene], textures=textures, device=device, time_s=time_s, smooth=smooth, noise=noise)[0]


def render_pairs(
    scenes: Sequence[Scene],
    *,
    textures: Textures | None = None,
    device: str = "cpu",
    time_s: float | int = 0.0,
    smooth: bool = True,
    noise: bool = True,
    memory_bytes: int = GPU_MEMORY_BYTES,
) -> PairBatch:
    """Both views of scenes of one picture size, with truth.

    On the CPU scenes are rendered one after another and in pieces that fit its cache, so that a scene gives the same
    bytes in every batch. On an accelerator as many scenes as the budget allows share every operation.

    Args:
        scenes: at least one; all with the same picture size and a baseline.
        textures: the pool of tiles, on the same device.
        device: to render on.
        time_s: moment of the scenes.
        smooth: whether outlines are anti-aliased, by four rays per pixel.
        noise: whether the sensors' effects are applied; without them pictures are what ideal cameras see.
        memory_bytes: budget on an accelerator: half for what scenes keep, half for temporary tensors. The CPU needs
            about 300 bytes per pixel of one picture, 80 MiB for 768x384, beside the textures.

    Raises:
        WrongInput: no scenes, different sizes, or a scene without baseline.
    """
    if not scenes:
        raise WrongInput("there are no scenes to render; give at least one.")
    sizes = {(scene.camera.height, scene.camera.width) for scene in scenes}
    if len(sizes) > 1:
        raise WrongInput(f"scenes of one batch have one picture size, not {sorted(sizes)}; render them apart.")
    for scene in scenes:
        if not scene.camera.baseline_m:
            raise WrongInput(f"scene {scene.name} has a camera without baseline; give baseline_m, or render a clip.")
    pool = textures or default_textures(device)
    height, width = sizes.pop()
    at_once = _scenes_at_once(torch.device(device), memory_bytes, height * width)
    views = []
    for first in range(0, len(scenes), at_once):
        some = scenes[first : first + at_once]
        shots = [(place, float(time_s), right) for place in range(len(some)) for right in (False, True)]
        rendered = _Renderer(some, shots, pool, device, smooth, noise, memory_bytes).views()
        views.extend(rendered)
    left, right = View.stack(views[::2]), View.stack(views[1::2])
    return PairBatch(left, right, tuple(s.camera for s in scenes), tuple(s.name for s in scenes))


def render_clip(
    scene: Scene,
    *,
    frames: int = 16,
    fps: float | int = 10.0,
    stereo: bool = True,
    textures: Textures | None = None,
    device: str = "cpu",
    smooth: bool = True,
    noise: bool = True,
    memory_bytes: int = GPU_MEMORY_BYTES,
) -> RenderedClip:
    """Frames of a scene from time 0 on, with truth of every frame and of the motion between them.

    Args:
        scene: with a path and with things that move, or without.
        frames: at least one.
        fps: frames per second.
        stereo: also the right view, which needs a baseline.
        textures, device, smooth, noise, memory_bytes: as in `render_pairs`.

    Raises:
        WrongInput: no frames, or stereo without a baseline.
    """
    if frames < 1:
        raise WrongInput(f"a clip has at least one frame, not {frames}.")
    if stereo and not scene.camera.baseline_m:
        raise WrongInput(f"scene {scene.name} has a camera without baseline; give baseline_m or stereo=False.")
    pool = textures or default_textures(device)
    times = [i / float(fps) for i in range(frames)]
    sides = (False, True) if stereo else (False,)
    views: list[View] = []
    flows: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    moving = []
    for i in range(frames):
        # Both ends of the step to the next frame; the next frame itself is rendered in its own turn.
        shots = [(0, times[i], right) for right in sides]
        step = [(0, times[i + 1], False)] if i + 1 < frames else []
        renderer = _Renderer([scene], shots, pool, device, smooth, noise, memory_bytes, unseen=step)
        views.extend(renderer.views(frame=i))
        moving.append(renderer.moving(views[-len(sides)].things))
        if step:
            flows.append((*renderer.flow(0, len(shots)), *renderer.flow(len(shots), 0)))
    poses = np.stack([scene.path.world_from_camera(time_s) for time_s in times])
    height, width = scene.camera.height, scene.camera.width
    empty = (torch.zeros(0, height, width, 2), torch.zeros(0, height, width, dtype=torch.uint8))
    forward, ahead, backward, behind = (
        (torch.stack(list(column)) for column in zip(*flows, strict=True)) if flows else (*empty, *empty)
    )
    return RenderedClip(
        View.stack(views[:: len(sides)]),
        View.stack(views[1::2]) if stereo else None,
        scene.camera,
        torch.from_numpy(poses),
        float(fps),
        forward,
        backward,
        ahead,
        behind,
        torch.stack(moving),
        scene.name,
    )


def _scenes_at_once(device: torch.device, memory_bytes: int, pixels: int) -> int:
    return 1 if device.type == "cpu" else max(1, memory_bytes // 2 // (_BYTES_PER_PIXEL * pixels))


class _Renderer:
    """Some shots (scene, time, whether the right eye) of some scenes; pairs of shots follow each other."""

    def __init__(
        self,
        scenes: Sequence[Scene],
        shots: Sequence[tuple[int, float, bool]],
        textures: Textures,
        device: str,
        smooth: bool,
        noise: bool,
        memory_bytes: int,
        *,
        unseen: Sequence[tuple[int, float, bool]] = (),
    ) -> None:
        self.scenes, self.shots, self.smooth, self.noise = scenes, shots, smooth, noise
        self.height, self.width = scenes[0].camera.height, scenes[0].camera.width
        self.tables = Tables(scenes, [_eye(scenes[shot[0]], *shot) for shot in (*shots, *unseen)], torch.device(device))
        on_cpu = torch.device(device).type == "cpu"
        self.chunk = _CPU_CHUNK if on_cpu else max(_CPU_CHUNK, memory_bytes // 2 // _BYTES_PER_RAY)
        self.looks = Looks(self.tables, textures, chunk=self.chunk)
        self.rays = pixel_rays(self.tables, self.height, self.width)
        self.depth, self.row = first_hits(self.tables, self.rays, chunk=self.chunk)

    @property
    def groups(self) -> int:
        """Per eye."""
        return len(self.rays) // len(self.tables.eyes)

    def views(self, frame: int = 0) -> list[View]:
        """Pictures and truth of the shots."""
        count = len(self.shots) * self.groups
        rays, depth, row = self.rays[:count], self.depth[:count], self.row[:count]
        light, normals = self._shade(rays, depth, row, bounce=True)
        if self.smooth:
            self._smooth_outlines(rays, light, normals, row)
        # Row -1 reads the entry before the first, which stands for the sky.
        thing = self.tables.thing_or_sky.index_select(0, row.view(-1) + 1).view(row.shape)
        disparity = self._disparity(rays.eye, depth)
        paired = len(self.shots) > 1
        match = self._stereo_match(rays, depth) if paired else torch.zeros_like(depth, dtype=torch.uint8)
        views = []
        for place, (scene, _, right) in enumerate(self.shots):
            own = slice(place * self.groups, (place + 1) * self.groups)
            image, depth_, disparity_, normals_, thing_, match_ = (
                from_tiles(values[..., own, :], 1, self.height, self.width).squeeze(-3).contiguous()
                for values in (light, depth, disparity, normals, thing, match)
            )
            sensor = self.scenes[scene].sensors[int(right)] if self.noise else IDEAL
            generator = torch.Generator(self.tables.device)
            generator.manual_seed(((self.scenes[scene].seed * 2 + int(right)) * 1_000_003 + frame) % 2**63)
            views.append(View(expose(image, sensor, generator), depth_, disparity_, normals_, thing_, match_))
        return views

    def moving(self, things: Int32[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
        """Pixels of things of the first scene that move by themselves."""
        table = torch.tensor([thing.motion.moves for thing in self.scenes[0].things] + [False], device=things.device)
        return table[things.long()]

    def flow(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        """Motion in px of the pixels of one eye to another, and their `Match` codes there."""
        tables = self.tables
        own = slice(start * self.groups, (start + 1) * self.groups)
        rays, depth, row = self.rays[own], self.depth[own], self.row[own]
        first, second = tables.eyes[start], tables.eyes[end]
        camera = invert(second.world_from_camera)
        # Points keep their place on their part; the sky keeps its direction.
        steps = camera @ tables.world_from_part[end] @ invert(tables.world_from_part[start]) @ first.world_from_camera
        steps = np.concatenate((steps, (camera @ first.world_from_camera)[None]))[:, :3].reshape(-1, 12).T
        count = tables.world_from_part[start].shape[0]
        part = torch.where(row < 0, count, row - start * tables.parts)
        frame = [f.view(row.shape) for f in tables.tensor(steps).index_select(1, part.view(-1)).unbind(0)]
        near = 1 / depth
        # R (x, y, 1) + T / depth: the point over its old depth, which the sky has, too.
        translation, turned = rays.seen_from(frame)
        x, y, z = along(turned, translation, near)
        there = Rays(torch.full_like(rays.eye, end), x / z, y / z)
        gone = torch.cat(
            (tables.kind[end * tables.parts :][:count] < 0, torch.zeros(1, dtype=torch.bool, device=row.device))
        )
        match = self._match(there, near / z, front=z > 0, gone=gone[part])
        ahead = (z > 0).to(z.dtype)
        flow = torch.stack(
            [
                (new * second.focal_px[i] + second.centre_px[i]) - (old * first.focal_px[i] + first.centre_px[i])
                for i, (new, old) in enumerate(((there.x, rays.x), (there.y, rays.y)))
            ]
        )
        flow = flow.nan_to_num() * ahead
        picture = from_tiles(flow, 1, self.height, self.width)[:, 0].permute(1, 2, 0).contiguous()
        return picture, from_tiles(match, 1, self.height, self.width)[0].contiguous()

    def _picture(self, values: Tensor) -> Tensor:
        return from_tiles(values, len(self.shots), self.height, self.width)

    def _shade(self, rays: Rays | FreeRays, t: Tensor, row: Tensor, *, bounce: bool) -> tuple[Tensor, Tensor]:
        """Light and normals, both (3, g, rays), of what rays have met.

        With `bounce`, mirrors and glass get what one more ray finds, whose own hit counts as neither.
        """
        light = torch.empty(3, *t.shape, device=t.device)
        normals = torch.empty_like(light)
        bounces: list[tuple[Tensor, ...]] = []
        # Groups of sky alone need no surface.
        solid = (row.amax(1) >= 0).nonzero().squeeze(1)
        for groups in torch.split(solid, max(1, self.chunk // RAYS)):
            some, own = rays.take(groups), row.index_select(0, groups)
            surface = surface_at(self.tables, some, t.index_select(0, groups), own)
            light.index_copy_(1, groups, self.looks.shade(surface, some.eye))
            for values, normal in zip(normals.unbind(0), surface.normal, strict=True):
                values.index_copy_(0, groups, normal)
            if bounce and self.looks.has_secondary:
                bounces.extend(self._bounces(surface, some.eye, own, groups))
        sky = (row.view(-1) < 0).nonzero().squeeze(1)
        if sky.shape[0]:
            toward = rays.toward(sky)
            light.view(3, -1).index_copy_(1, sky, self.looks.sky(toward, rays.eye.index_select(0, sky // RAYS)))
            normals.view(3, -1).index_fill_(1, sky, 0.0)
        if bounces:
            place, share, owner, origin, direction = (
                torch.cat(column, dim=-1) for column in zip(*bounces, strict=True)
            )
            mixed = light.view(3, -1)
            seen = self._light_from(origin, direction, owner) - mixed.index_select(1, place)
            mixed.index_add_(1, place, share * seen)
        return light, normals

    def _bounces(
        self, surface: Surface, eye: Tensor, row: Tensor, groups: Tensor
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """Places, shares, eyes, origins (3, n) and directions (3, n) of rays that leave mirrors and pass glass."""
        there = (row.view(-1) >= 0).float()
        for share, side in zip(self.looks.shares(surface.part), (1.0, -1.0), strict=True):
            chosen = (share * there).nonzero().squeeze(1)
            if chosen.shape[0] == 0:
                continue
            point, toward, normal = (
                torch.stack(vector).view(3, -1).index_select(1, chosen)
                for vector in (surface.point, surface.toward, surface.normal)
            )
            direction = toward - 2 * (toward * normal).sum(0) * normal if side > 0 else toward
            origin = point + side * 1e-4 * (1 + point[2]) * normal
            group = chosen // RAYS
            place = chosen + RAYS * (groups.index_select(0, group) - group)
            yield place, share.index_select(0, chosen), eye.index_select(0, group), origin, direction

    def _light_from(self, origin: Tensor, direction: Tensor, owner: Tensor) -> Tensor:
        """Light (3, n) that arrives at points against directions, both (3, n), each in the axes of its eye."""
        place, eye = self._grouped(owner, RAYS)
        rays = FreeRays(
            eye, origin.index_select(1, place).view(3, -1, RAYS), direction.index_select(1, place).view(3, -1, RAYS)
        )
        light, _ = self._shade(rays, *first_hits(self.tables, rays, chunk=self.chunk), bounce=False)
        return torch.empty_like(origin).index_copy_(1, place, light.view(3, -1))

    def _grouped(self, owner: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Places of samples in groups of one eye each, filled up by repeating the last sample, and the groups' eyes."""
        order = owner.argsort(stable=True)
        counts = torch.bincount(owner, minlength=len(self.tables.eyes)).tolist()
        places, eyes = [], []
        for eye, own in enumerate(torch.split(order, counts)):
            if own.shape[0]:
                places.append(torch.cat((own, own[-1:].expand(-own.shape[0] % size))))
                eyes.append(torch.full((places[-1].shape[0] // size,), eye, device=owner.device))
        return torch.cat(places), torch.cat(eyes)

    def _smooth_outlines(self, rays: Rays, light: Tensor, normals: Tensor, row: Tensor) -> None:
        """Average more rays with the one of every pixel whose neighbour shows another part or another side."""
        shown, facing = self._picture(row), self._picture(normals)
        edge = torch.zeros(shown.shape, dtype=torch.bool, device=shown.device)
        for dim in (-1, -2):
            n = shown.shape[dim] - 1
            a, b = shown.narrow(dim, 0, n), shown.narrow(dim, 1, n)
            turned = sum(p.narrow(dim, 0, n) * p.narrow(dim, 1, n) for p in facing.unbind(0))
            differs = (a != b) | ((turned < _SMOOTH) & (a >= 0))
            edge.narrow(dim, 0, n).logical_or_(differs)
            edge.narrow(dim, 1, n).logical_or_(differs)
        flagged = into_tiles(edge).view(-1).nonzero().squeeze(1)
        if flagged.shape[0] == 0:
            return
        offsets = torch.tensor(_OFFSETS, device=flagged.device)
        per_group = RAYS // len(_OFFSETS)
        place, eye = self._grouped(torch.div(flagged, self.groups * RAYS, rounding_mode="floor"), per_group)
        pixels = flagged.index_select(0, place)
        focal = self.tables.cameras[0].index_select(0, eye).repeat_interleave(per_group)[:, None]
        x, y = (
            (values.reshape(-1).index_select(0, pixels)[:, None] + offset / focal).view(eye.shape[0], -1)
            for values, offset in zip((rays.x, rays.y), offsets.unbind(1), strict=True)
        )
        # Three rays per pixel leave one of a group over.
        used, spare = x.shape[1], (0, RAYS - x.shape[1])
        finer = Rays(eye, *(torch.nn.functional.pad(v, spare, mode="replicate") for v in (x, y)))
        fine, _ = self._shade(finer, *first_hits(self.tables, finer, chunk=self.chunk), bounce=True)
        flat = light.view(3, -1)
        total = fine[..., :used].reshape(3, -1, len(_OFFSETS)).sum(-1) + flat.index_select(1, pixels)
        flat.index_copy_(1, pixels, total / (1 + len(_OFFSETS)))

    def _disparity(self, eye: Tensor, depth: Tensor) -> Tensor:
        """f b / z, 0 for the sky."""
        scenes = [self.scenes[scene] for scene, _, _ in self.shots]
        strength = self.tables.tensor(np.array([s.camera.focal_px * (s.camera.baseline_m or 0.0) for s in scenes]))
        return strength.index_select(0, eye)[:, None] / depth

    def _stereo_match(self, rays: Rays, depth: Tensor) -> Tensor:
        """Codes of every pixel in the other picture of its pair: shots 0 and 1, 2 and 3, ..."""
        base = self.tables.tensor(
            np.array(
                [
                    (1.0 if right else -1.0) * (self.scenes[scene].camera.baseline_m or 0.0)
                    for scene, _, right in self.shots
                ]
            )
        )
        near = 1 / depth
        there = Rays(rays.eye ^ 1, torch.addcmul(rays.x, base.index_select(0, rays.eye)[:, None], near), rays.y)
        return self._match(there, near)

    def _match(self, there: Rays, near: Tensor, *, front: Tensor | None = None, gone: Tensor | None = None) -> Tensor:
        """Whether points at known positions of an eye, with known inverse depth, are what it sees first.

        Points that are not in front of the eye are out of view; those of things that are gone count as hidden.
        """
        focal_x, focal_y, centre_x, centre_y = self.tables.cameras.index_select(1, there.eye)[..., None].unbind(0)
        x, y = there.x * focal_x + centre_x, there.y * focal_y + centre_y
        middle_x, middle_y = 0.5 * (self.width - 1), 0.5 * (self.height - 1)
        beyond = torch.maximum((x - middle_x).abs() - 0.5 * self.width, (y - middle_y).abs() - 0.5 * self.height)
        # Positions outside do not matter, but must not widen their group.
        kept = Rays(
            there.eye,
            _clamped(there.x, (-0.5 - centre_x) / focal_x, (self.width - 0.5 - centre_x) / focal_x),
            _clamped(there.y, (-0.5 - centre_y) / focal_y, (self.height - 0.5 - centre_y) / focal_y),
        )
        first, _ = first_hits(self.tables, kept, chunk=self.chunk, before=1 / near)
        hidden = 1 / first > near * (1 + _TOLERANCE) + 1e-9
        if gone is not None:
            hidden |= gone
        outside = (beyond > 0) | (beyond != beyond)
        if front is not None:
            outside |= ~front
        # Outside counts twice as much as hidden, which it covers.
        return (outside.to(torch.uint8) * Match.OUT_OF_VIEW).maximum(hidden.to(torch.uint8) * Match.OCCLUDED)


def _clamped(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(value.nan_to_num(0.0), low), high)


_OFFSETS = ((0.36, 0.12), (-0.28, 0.26), (-0.08, -0.38))
"""Of the rays beside a pixel's centre."""


def _eye(scene: Scene, place: int, time_s: float, right: bool) -> Eye:
    pose = scene.path.world_from_camera(time_s)
    if right:
        shift = np.eye(4)
        shift[0, 3] = scene.camera.baseline_m or 0.0
        pose = pose @ shift
    k = scene.camera.intrinsics.double().numpy()
    return Eye(place, pose, (float(k[0, 0]), float(k[1, 1])), (float(k[0, 2]), float(k[1, 2])), time_s)
