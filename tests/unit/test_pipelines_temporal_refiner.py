"""The temporal refiner and the stabiliser on small clips: what they keep, fill and refuse, and how they go on."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import Clip, geometry
from depthweave.alignment import fit_scale_shift
from depthweave.errors import NeedsMetric, WrongFile, WrongInput
from depthweave.pipelines.stabilise import MapLink, MapStabiliser, solve_links
from depthweave.pipelines.temporal_refiner import TemporalRefiner
from depthweave.pipelines.video import Stabilising
from depthweave.pipelines.video_refiner import Refiner
from depthweave.types import Camera, DepthMap, InverseDepthMap, Scale

WIDTH, HEIGHT = 64, 48


def pictures(count: int, *, seed: int = 0, step: int = 1) -> list[Tensor]:
    """Smooth noise that moves to the left."""
    rough = torch.rand(1, 3, HEIGHT, WIDTH + step * count + 8, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(rough, 5, 1, 2)[0]
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return [smooth[:, :, step * i : step * i + WIDTH].contiguous() for i in range(count)]


def plane(scale: float = 1.0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    return (torch.linspace(4, 2, size[0])[:, None] * scale).expand(size).contiguous()


def depth_map(values: Tensor, **fields: object) -> DepthMap:
    return DepthMap(values, torch.ones_like(values, dtype=torch.bool), **fields)  # type: ignore[arg-type]


def refine(frames: list[Tensor], maps: Sequence[DepthMap], folder: Path, **options: object) -> list[DepthMap]:
    return list(TemporalRefiner(**options).refine(Clip(frames), maps, folder))  # type: ignore[arg-type]


def test_it_is_a_refiner() -> None:
    refiner = TemporalRefiner(radius=3)
    assert isinstance(refiner, Refiner)
    assert refiner.name == "temporal"
    assert refiner.facts()["options"] == {
        "radius": 3, "spread": 1.7, "period": 12, "side_px": 320, "poses": "from flow",
    }  # fmt: skip
    known = TemporalRefiner(world_from_camera=torch.eye(4).expand(3, 4, 4))
    assert known.facts()["options"]["poses"] == "given"


def test_scale_that_goes_to_and_fro_comes_to_rest(tmp_path: Path) -> None:
    maps = [depth_map(plane(1.03 if i % 2 else 0.97)) for i in range(16)]
    found = torch.stack([depth.values.log().mean() for depth in refine(pictures(16), maps, tmp_path)])
    before = torch.stack([depth.values.log().mean() for depth in maps])
    assert before.std() > 0.03
    assert found[2:-2].std() < 0.1 * before.std()
    assert found.mean() == pytest.approx(float(before.mean()), abs=2e-3)


def test_drift_survives(tmp_path: Path) -> None:
    maps = [depth_map(plane(1.02**i)) for i in range(16)]
    for found, given in zip(refine(pictures(16), maps, tmp_path), maps, strict=True):
        assert (found.values / given.values - 1).abs().mean() < 2e-3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_short_clips_come_back(count: int, tmp_path: Path) -> None:
    maps = [depth_map(plane()) for _ in range(count)]
    found = refine(pictures(count), maps, tmp_path)
    assert len(found) == count
    for depth in found:
        assert depth.values.numpy() == pytest.approx(plane().numpy(), rel=5e-3)
        assert depth.valid.all()
    assert refine([], [], tmp_path) == []


def test_identical_frames_stay_identical(tmp_path: Path) -> None:
    frames, values = pictures(1) * 8, plane()
    for depth in refine(frames, [depth_map(values)] * 8, tmp_path):
        assert depth.values.numpy() == pytest.approx(values.numpy(), rel=1e-5)


def test_nothing_passes_a_cut(tmp_path: Path) -> None:
    frames = pictures(6) + pictures(6, seed=9)
    jitter = [0.03, -0.03, 0.02, -0.01, 0.03, -0.02]
    first = [depth_map(plane(float(np.exp(j)))) for j in jitter]
    second = [depth_map(plane(float(1.1 * np.exp(j)))) for j in jitter]
    together = refine(frames, first + second, tmp_path / "both")
    apart = refine(frames[:6], first, tmp_path / "a") + refine(frames[6:], second, tmp_path / "b")
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.valid, other.valid)


def test_holes_are_filled_with_less_confidence_or_left(tmp_path: Path) -> None:
    camera = Camera(geometry.intrinsics_matrix(60.0, 60.0, 31.5, 23.5), WIDTH, HEIGHT)
    maps = [
        depth_map(plane(), confidence=torch.full((HEIGHT, WIDTH), 0.8), camera=camera, scale=Scale.METRIC)
        for _ in range(5)
    ]
    hole = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    hole[20:28, 30:38] = False
    wrong = torch.where(hole, plane(), 50.0)
    maps[2] = replace(maps[2], values=wrong, valid=hole)
    nowhere = torch.ones_like(hole)
    nowhere[:6, :6] = False
    maps = [replace(depth, valid=depth.valid & nowhere) for depth in maps]
    found = refine(pictures(5, step=0), maps, tmp_path)[2]
    assert found.valid[20:28, 30:38].all()
    assert found.values[20:28, 30:38].numpy() == pytest.approx(plane()[20:28, 30:38].numpy(), rel=0.02)
    assert found.confidence is not None
    assert 0.1 < float(found.confidence[20:28, 30:38].max()) <= 0.5
    assert found.confidence[40:, :].numpy() == pytest.approx(0.8)
    assert not found.valid[:6, :6].any()
    assert torch.equal(found.values[:6, :6], maps[2].values[:6, :6])
    assert (found.confidence[:6, :6] == 0).all()
    assert found.scale == Scale.METRIC
    assert found.camera is camera


def test_holes_are_filled_at_the_scale_of_their_frame_after_refining(tmp_path: Path) -> None:
    maps = [depth_map(plane(1.05 if i % 2 else 0.95)) for i in range(12)]
    known = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
    known[20:28, 30:38] = False
    maps[6] = replace(maps[6], valid=known)
    found = refine(pictures(12, step=0), maps, tmp_path)[6]
    share = found.values / plane()
    assert float(share[20:28, 30:38].mean()) == pytest.approx(float(share[known].mean()), rel=5e-3)


def test_large_pictures_are_shrunk_for_motion_only(tmp_path: Path) -> None:
    maps = [depth_map(plane(1.03 if i % 2 else 0.97)) for i in range(12)]
    small = refine(pictures(12), maps, tmp_path, side_px=32)
    assert small[0].values.shape == (HEIGHT, WIDTH)
    found = torch.stack([depth.values.log().mean() for depth in small])
    assert found[2:-2].std() < 0.012
    assert small[5].values.numpy() == pytest.approx(plane(float(small[5].values[0, 0] / 4)).numpy(), rel=5e-3)


class Watched(Sequence[Tensor]):
    """Pictures that count how many were gone through."""

    def __init__(self, frames: list[Tensor]) -> None:
        self.frames, self.read = frames, 0

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        return self.frames[index]

    def __iter__(self) -> Iterator[Tensor]:
        for frame in self.frames:
            self.read += 1
            yield frame


def test_it_streams_and_goes_on_from_its_numbers(tmp_path: Path) -> None:
    maps = [depth_map(plane(1.03 if i % 2 else 0.97)) for i in range(14)]
    watched = Watched(pictures(14))
    run: Iterator[DepthMap] = TemporalRefiner(radius=2).refine(Clip(watched), maps, tmp_path)
    first = next(run)
    rest = list(run)
    assert watched.read == 14
    again = Watched(pictures(14))
    second = list(TemporalRefiner(radius=2).refine(Clip(again), maps, tmp_path))
    assert again.read == 0
    for one, other in zip([first, *rest], second, strict=True):
        assert torch.equal(one.values, other.values)
    with pytest.raises(WrongFile, match=r"steps\.npz belongs to another clip"):
        refine(pictures(5), maps[:5], tmp_path)
    (tmp_path / "links" / "000003.npz").write_bytes(b"no")
    with pytest.raises(WrongFile, match=r"000003\.npz is not an NPZ file or is cut short; delete .* made again"):
        refine(pictures(14), maps, tmp_path)
    (tmp_path / "steps.npz").write_bytes(b"no")
    with pytest.raises(WrongFile, match=r"steps\.npz is not an NPZ file .*; delete it"):
        refine(pictures(14), maps, tmp_path)


def test_what_lies_under_invalid_pixels_plays_no_part(tmp_path: Path) -> None:
    hole = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3)) < 0.3
    found = []
    for filler in (0.0, 1e-3, 1e6):
        maps = [
            DepthMap(torch.where(hole, filler, plane(1 + 0.02 * (-1) ** i)), ~hole, torch.where(hole, 0.0, 0.9))
            for i in range(8)
        ]
        found.append(refine(pictures(8), maps, tmp_path / str(filler)))
    for plain, *others in zip(*found, strict=True):
        assert plain.valid[~hole].all()
        for other in others:
            assert torch.equal(plain.valid, other.valid)
            assert torch.equal(plain.values[plain.valid], other.values[other.valid])


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    maps = [depth_map(plane()) for _ in range(3)]
    for options in ({"radius": 0}, {"spread": 0}, {"period": 2}, {"side_px": 8}):
        with pytest.raises(WrongInput, match="takes radius"):
            TemporalRefiner(**options)  # type: ignore[arg-type]
    with pytest.raises(WrongInput, match="more pictures than the 3"):
        refine(pictures(4), maps, tmp_path)
    with pytest.raises(WrongInput, match="has 2 pictures"):
        refine(pictures(2), maps, tmp_path)
    with pytest.raises(WrongInput, match="of one size"):
        refine(pictures(3), [depth_map(plane(size=(40, WIDTH)))] * 3, tmp_path)
    with pytest.raises(WrongInput, match="unknown shift"):
        refine(pictures(3), [replace(maps[0], scale=Scale.UNKNOWN_SCALE_AND_SHIFT)] * 3, tmp_path)
    with pytest.raises(WrongInput, match="2 poses for 3"):
        refine(pictures(3), maps, tmp_path, world_from_camera=torch.eye(4).expand(2, 4, 4))


# -- maps of models for single pictures


def test_the_stabiliser_is_what_video_depth_asks_for() -> None:
    assert isinstance(MapStabiliser(), Stabilising)
    assert MapStabiliser(gaps=(1, 2)).facts()["options"] == {"gaps": [1, 2], "side_px": 320}
    for gaps in ((), (2, 4), (1, 4, 2)):
        with pytest.raises(WrongInput, match="gaps begin with 1"):
            MapStabiliser(gaps=gaps)
    with pytest.raises(WrongInput, match="side_px is at least 16"):
        MapStabiliser(side_px=4)


def affine_maps(true: Tensor) -> list[InverseDepthMap]:
    generator = torch.Generator().manual_seed(4)
    scales = torch.exp(0.3 * torch.randn(len(true), generator=generator))
    shifts = 0.2 * torch.randn(len(true), generator=generator)
    everywhere = torch.ones(true.shape[1:], dtype=torch.bool)
    return [InverseDepthMap(a * v + b, everywhere) for v, a, b in zip(true, scales, shifts, strict=True)]


def true_clip(count: int, step: int) -> Tensor:
    """Inverse depth that is fixed to the pictures' points."""
    columns = torch.arange(WIDTH + step * count)
    strip = 0.4 + 0.15 * torch.sin(columns / 9.0)[None] + torch.linspace(0, 0.2, HEIGHT)[:, None]
    return torch.stack([strip[:, step * i : step * i + WIDTH] for i in range(count)])


@pytest.mark.parametrize("step", [0, 1, 2])
def test_scale_and_shift_of_every_frame_are_undone(step: int, tmp_path: Path) -> None:
    true = true_clip(20, step)
    maps = affine_maps(true)
    found = list(MapStabiliser().stabilise(Clip(pictures(20, step=step)), maps, tmp_path))
    assert all(isinstance(one, InverseDepthMap) and one.scale == Scale.UNKNOWN_SCALE_AND_SHIFT for one in found)
    values, everywhere = torch.stack([one.values for one in found]), torch.ones_like(true, dtype=torch.bool)
    error = (fit_scale_shift(values, true, everywhere, over="clip").apply(values) / true - 1).abs()
    raw = torch.stack([one.values for one in maps])
    before = (fit_scale_shift(raw, true, everywhere, over="clip").apply(raw) / true - 1).abs()
    assert before.mean() > 0.1
    assert error.mean() < 0.01
    again = list(MapStabiliser().stabilise(Clip(pictures(20, step=step)), maps, tmp_path))
    assert all(torch.equal(one.values, other.values) for one, other in zip(found, again, strict=True))


def test_metric_depth_keeps_its_unit_and_gets_no_shift(tmp_path: Path) -> None:
    true = 1 / true_clip(12, 1)
    factors = torch.tensor([1.2, 1 / 1.2] * 6)
    maps = [depth_map(v * f, scale=Scale.METRIC) for v, f in zip(true, factors, strict=True)]
    found = list(MapStabiliser().stabilise(Clip(pictures(12)), maps, tmp_path))
    assert all(isinstance(one, DepthMap) and one.scale == Scale.METRIC for one in found)
    assert (torch.stack([one.values for one in found]) / true - 1).abs().mean() < 0.01


def test_shots_keep_scales_of_their_own(tmp_path: Path) -> None:
    true = true_clip(6, 1)
    maps = affine_maps(torch.cat((true, true)))
    clip = Clip(pictures(6) + pictures(6, seed=9))
    together = list(MapStabiliser().stabilise(clip, maps, tmp_path / "both"))
    alone = list(MapStabiliser().stabilise(Clip(pictures(6)), maps[:6], tmp_path / "a"))
    for one, other in zip(together[:6], alone, strict=True):
        assert one.values.numpy() == pytest.approx(other.values.numpy(), abs=1e-3)


def test_links_are_solved_by_hand() -> None:
    # Values of map 1 are half of those of map 0 and 0.1 more: p = 2 q - 0.2.
    links = [MapLink(0, 1, 2.0, 1.0, 0.6, 1.0)]
    factors, shifts = solve_links(links, 3, with_shift=True)
    assert factors == pytest.approx([2**-0.5, 2**0.5, 1.0])
    assert shifts[:2].sum() == pytest.approx(0)
    assert factors[0] * 1.0 + shifts[0] == pytest.approx(factors[1] * 0.6 + shifts[1])
    assert shifts[2] == 0
    assert (solve_links(links, 3, with_shift=False)[1] == 0).all()
    nothing = solve_links([], 2, with_shift=True)
    assert nothing[0].tolist() == [1, 1]
    assert nothing[1].tolist() == [0, 0]


def test_a_wrong_link_is_outvoted() -> None:
    chain = [MapLink(i, i + 1, 1.1, 1.0, 1.0, 1.0) for i in range(9)]
    across = [MapLink(i, i + 2, 1.1**2, 1.0, 1.0, 1.0) for i in range(8)]
    right = solve_links(chain + across, 10, with_shift=False)[0]
    wrong = solve_links([*chain, *across, MapLink(0, 9, 9.0, 1.0, 1.0, 1.0)], 10, with_shift=False)[0]
    assert right[1:] / right[:-1] == pytest.approx(1.1)
    assert wrong == pytest.approx(right, rel=0.01)


def test_maps_that_cannot_be_stabilised_are_refused(tmp_path: Path) -> None:
    maps = affine_maps(true_clip(4, 1))
    frames = pictures(4)
    stabiliser = MapStabiliser()
    assert list(stabiliser.stabilise(Clip([]), [], tmp_path)) == []
    with pytest.raises(WrongInput, match="has 4 pictures, but there are 3"):
        list(stabiliser.stabilise(Clip(frames), maps[:3], tmp_path))
    with pytest.raises(WrongInput, match="one model"):
        list(stabiliser.stabilise(Clip(frames), [*maps[:3], replace(maps[3], scale=Scale.METRIC)], tmp_path))
    with pytest.raises(WrongInput, match="one size"):
        list(stabiliser.stabilise(Clip([frame[:, :40] for frame in frames]), maps, tmp_path))
    shifted = [depth_map(plane(), scale=Scale.UNKNOWN_SCALE_AND_SHIFT)] * 4
    with pytest.raises(NeedsMetric):
        list(stabiliser.stabilise(Clip(frames), shifted, tmp_path))
    list(stabiliser.stabilise(Clip(frames), maps, tmp_path))
    with pytest.raises(WrongFile, match="clip of 4 frames, not 3"):
        list(stabiliser.stabilise(Clip(frames[:3]), maps[:3], tmp_path))
    (tmp_path / "links.json").write_text('{"links": 3}')
    with pytest.raises(WrongFile, match="does not hold links"):
        list(stabiliser.stabilise(Clip(frames), maps, tmp_path))
