"""The flow type, its files and its colours."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from depthweave import FlowMap, images
from depthweave.errors import WrongFile, WrongInput
from depthweave.io import read_image


@pytest.fixture
def flow() -> FlowMap:
    generator = torch.Generator().manual_seed(3)
    values = 20 * torch.randn(2, 24, 32, generator=generator)
    valid = torch.rand(24, 32, generator=generator) < 0.8
    confidence = torch.rand(24, 32, generator=generator) * valid
    return FlowMap(values, valid, confidence, torch.rand(3, 24, 32, generator=generator))


def test_inside_and_warp_of_a_shift() -> None:
    values = torch.zeros(2, 8, 10)
    values[0] = 3  # the second picture shows everything three px farther to the right
    shift = FlowMap(values, torch.ones(8, 10, dtype=torch.bool))
    assert shift.inside[:, :7].all()
    assert not shift.inside[:, 7:].any()
    second = torch.rand(3, 8, 10)
    first = shift.warp(second)
    torch.testing.assert_close(first[..., :7], second[..., 3:], atol=1e-5, rtol=0)
    assert (first[..., 7:] == 0).all()
    wider = replace(shift, target_size=(8, 13))
    assert wider.inside.all()
    with pytest.raises(WrongInput, match="leads to"):
        wider.warp(second)


@pytest.mark.parametrize("suffix", [".npz", ".flo", ".png", ""])
def test_the_way_there_and_back(flow: FlowMap, tmp_path: Path, suffix: str) -> None:
    flow.save(tmp_path / f"flow{suffix}")
    found = FlowMap.read(tmp_path / f"flow{suffix}")
    assert bool((found.valid == flow.valid).all())
    error = (found.values - flow.values).abs()[:, flow.valid].max()
    assert error <= (0.5 / 64 + 1e-6 if suffix == ".png" else 0)
    if suffix in (".npz", ""):
        assert found.confidence is not None
        assert flow.confidence is not None
        assert bool((found.confidence == flow.confidence).all())
        assert found.target_size == (24, 32)


def test_a_result_folder_says_what_it_holds(flow: FlowMap, tmp_path: Path) -> None:
    flow.save(tmp_path / "out", facts={"model": "by hand"})
    manifest = json.loads((tmp_path / "out" / "result.json").read_text())
    assert manifest["type"] == "flow"
    assert manifest["unit"] == "px"
    assert manifest["model"] == "by hand"
    assert set(manifest["files"].values()) == {"flow.npz", "flow.flo", "flow_kitti.png", "preview.png"}
    assert all((tmp_path / "out" / name).is_file() for name in manifest["files"].values())
    assert manifest["valid_share"] == pytest.approx(float(flow.valid.float().mean()))
    preview = read_image(tmp_path / "out" / "preview.png")
    assert preview.shape == (24, 64, 3)
    assert flow.image is not None
    assert (preview[:, :32] == images.image_from_tensor(flow.image)).all()
    assert (preview[-4:, -4:] == images.flow_legend(4)).all()
    # Motion that KITTI's file cannot hold leaves that file out, also where it was before.
    far = replace(flow, values=flow.values + 600)
    far.save(tmp_path / "out")
    assert not (tmp_path / "out" / "flow_kitti.png").exists()
    assert FlowMap.read(tmp_path / "out").values.max() > 600


def test_numpy_has_nan_where_nothing_is_known(flow: FlowMap) -> None:
    array = np.asarray(flow)
    assert array.shape == (24, 32, 2)
    assert array.dtype == np.float32
    assert (np.isnan(array).all(-1) == ~flow.valid.numpy()).all()
    assert array[flow.valid.numpy()][0].tolist() == flow.values[:, flow.valid][:, 0].tolist()


def test_what_is_refused(flow: FlowMap, tmp_path: Path) -> None:
    with pytest.raises(WrongInput, match="finite"):
        replace(flow, values=flow.values.masked_fill(~flow.valid, torch.nan))
    with pytest.raises(WrongInput, match="image has size"):
        replace(flow, image=torch.zeros(3, 3, 4))
    for path in ("flow.pfm", "flow.jpg"):
        with pytest.raises(WrongFile, match="saved as"):
            flow.save(tmp_path / path)
        with pytest.raises(WrongFile, match="read from"):
            FlowMap.read(tmp_path / path)
    (tmp_path / "result.json").write_text('{"format": "depthweave-result", "version": 1, "type": "disparity"}')
    with pytest.raises(WrongFile, match="holds disparity, not flow"):
        FlowMap.read(tmp_path)


def test_the_wheel_has_the_hues_of_the_paper() -> None:
    wheel = images.flow_wheel()
    assert wheel.shape == (55, 3)
    # Starts of the six ramps, from Baker et al.'s lengths 15, 6, 4, 11, 13 and 6.
    starts = [(255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255)]
    assert [tuple(wheel[place]) for place in (0, 15, 21, 25, 36, 49)] == starts
    assert tuple(wheel[1]) == (255, 17, 0)


def test_colours_of_directions_by_hand() -> None:
    # Right, left, down, up, none, and twice the largest; what Middlebury's own picture of a wheel shows.
    vectors = torch.tensor([[2.0, 0], [-2, 0], [0, 2], [0, -2], [0, 0], [4, 0]]).T[:, None]
    everywhere = torch.ones(1, 6, dtype=torch.bool)
    right, left, down, up, none, beyond = images.colorize_flow(vectors, everywhere, 2)[0].tolist()
    assert right == [255, 0, 0]
    assert none == [255, 255, 255]
    assert beyond == [191, 0, 0]
    assert left[2] == 255
    assert left[0] == 0
    assert down[1] > 200
    assert down[2] == 0
    assert up[2] > 200
    assert up[1] == 0
    half = images.colorize_flow(vectors[..., :1], everywhere[:, :1], 4)[0, 0].tolist()
    assert half == [255, 127, 127]
    grey = images.colorize_flow(vectors, ~everywhere, 2)
    assert (grey == 128).all()


def test_largest_motion_is_a_quantile_of_what_is_known() -> None:
    flow, valid = torch.zeros(2, 10, 10), torch.ones(10, 10, dtype=torch.bool)
    flow[0, 0, 0], flow[1, 1, 1] = 1000, 5
    assert images.largest_motion(flow, valid, percent=100) == 1000
    valid[0, 0] = False
    assert images.largest_motion(flow, valid, percent=100) == 5
    assert images.largest_motion(flow, torch.zeros_like(valid)) == 1
    assert images.largest_motion(torch.zeros(2, 3, 3), torch.ones(3, 3, dtype=torch.bool)) == 1e-3
    with pytest.raises(WrongInput, match="above 0"):
        images.colorize_flow(flow, valid, 0)
    with pytest.raises(WrongInput, match="legend"):
        images.flow_legend(2)
