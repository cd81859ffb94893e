"""Pair graphs, focal lengths and the global initialisation against what the reference gave for the same scenes.

Scenes are made anew (`pointmap_scenes`); recorded are results only, maps on every sixth pixel.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pointmap_scenes import PointmapScene, make_scene
from recordings import read_recording

from depthweave import geometry
from depthweave.fusion.focal import focal_from_pointmap
from depthweave.fusion.pair_graph import pair_graph
from depthweave.fusion.reference import Initialisation, initialise, initialise_pair

DATA = Path(__file__).parent / "data" / "dust3r"
RECORDED, SCENES = read_recording(DATA / "initialisation.npz")
GRAPHS = json.loads((DATA / "initialisation_pairs.json").read_text())
CASES = ["exact", "noisy", "complete", "lowconf"]
SOURCES = ["root", "registered", "resected", "none"]
PICKED = (slice(2, None, 6), slice(2, None, 6))

case = pytest.mark.parametrize("case", CASES)


@cache
def scene_of(case: str) -> PointmapScene:
    made: dict[str, Any] = SCENES[case]
    return make_scene(
        made["T"],
        pairs=pair_graph("complete", made["T"]) if made["complete"] else None,
        noise=made["noise"],
        seed=made["seed"],
        focal_jitter=made["focal_jitter"],
        unsure=made["unsure"],
    )


@cache
def found_for(case: str) -> Initialisation:
    return initialise(scene_of(case).pairs)


def relative_error(found: torch.Tensor, name: str) -> float:
    wanted = RECORDED[name]
    assert tuple(found.shape) == wanted.shape
    return float(np.abs(found.numpy() / wanted - 1).max())


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs_have_the_pairs_of_the_originals(name: str) -> None:
    original, kind, frames = name.split("|")
    one_way = original == "monst3r" and frames != "2" and kind.startswith(("oneref", "swin-1"))
    found = pair_graph(kind, int(frames), symmetric=not one_way)
    assert len(set(found)) == len(found)
    # The originals pair frames with themselves where a window wraps, which is of no use.
    assert sorted(found) == sorted({(i, j) for i, j in GRAPHS[name] if i != j})


@case
def test_focal_of_every_pair(case: str) -> None:
    found = torch.stack([focal_from_pointmap(pair.points_first) for pair in scene_of(case).pairs])
    assert relative_error(found, f"{case}/pair_focal_px") < 1e-5


@case
def test_scenes_have_the_recorded_pairs(case: str) -> None:
    pairs = [[pair.first, pair.second] for pair in scene_of(case).pairs]
    assert pairs == RECORDED[f"{case}/pairs"].tolist()


@case
def test_tree_in_the_order_of_placing(case: str) -> None:
    found = found_for(case)
    assert found.tree == [tuple(edge) for edge in RECORDED[f"{case}/tree"].tolist()]
    assert found.pose_source == [SOURCES[kind] for kind in RECORDED[f"{case}/pose_source"]]
    assert relative_error(found.pair_score, f"{case}/pair_score") < 1e-5


@case
def test_poses_and_focal_lengths(case: str) -> None:
    found, wanted = found_for(case), RECORDED[f"{case}/world_from_camera"]
    assert relative_error(found.focal_px, f"{case}/focal_px") < 1e-5
    extent = float(np.linalg.norm(wanted[:, :3, 3] - wanted[:, :3, 3].mean(0), axis=-1).max())
    for t, source in enumerate(found.pose_source):
        # RANSAC's choice of points is OpenCV's own matter, and differs between its versions.
        turn_deg, share = (1.0, 0.1) if source == "resected" else (0.03, 2e-4)
        pose = found.world_from_camera[t].numpy()
        cosine = (np.trace(pose[:3, :3].T @ wanted[t, :3, :3]) - 1) / 2
        assert np.degrees(np.arccos(min(cosine, 1.0))) < turn_deg
        assert np.linalg.norm(pose[:3, 3] - wanted[t, :3, 3]) < share * extent


@case
def test_pairs_in_the_world(case: str) -> None:
    found = found_for(case)
    normaliser = float(RECORDED[f"{case}/normaliser"])
    assert found.normaliser == pytest.approx(normaliser, rel=1e-5)
    assert relative_error(found.pair_scale / found.normaliser, f"{case}/pair_scale") < 1e-5
    wanted = RECORDED[f"{case}/world_from_pair"]
    scale = found.pair_scale.numpy()[:, None, None]
    np.testing.assert_allclose(found.world_from_pair[:, :3, :3].numpy() * scale, wanted[:, :3, :3], atol=1e-5)
    np.testing.assert_allclose(found.world_from_pair[:, :3, 3].numpy(), wanted[:, :3, 3], atol=1e-4)


@case
def test_depth_confidence_and_cloud(case: str) -> None:
    found = found_for(case)
    np.testing.assert_array_equal(found.confidence[:, *PICKED].numpy(), RECORDED[f"{case}/confidence"])
    np.testing.assert_array_equal(found.valid[:, *PICKED].numpy(), RECORDED[f"{case}/mask"])
    cloud = geometry.transform_points(
        found.world_from_camera, geometry.unproject(found.depth.double(), found.intrinsics).flatten(1, 2)
    ).reshape(*found.depth.shape, 3)
    extent = RECORDED[f"{case}/points"].std()
    for t, source in enumerate(found.pose_source):
        tolerance = 0.03 if source == "resected" else 1e-5
        depth = found.depth[t][PICKED].numpy() / RECORDED[f"{case}/depth"][t] - 1
        assert np.abs(depth).max() < tolerance
        points = cloud[t][PICKED].numpy() - RECORDED[f"{case}/points"][t]
        assert np.abs(points).max() < max(tolerance, 1e-4) * extent


def test_two_frames() -> None:
    found = initialise_pair(scene_of("pair").pairs)
    assert relative_error(found.focal_px, "pair/focal_px") < 1e-5
    assert found.normaliser == 1.0
    wanted = torch.from_numpy(RECORDED["pair/world_from_camera"]).double()
    torch.testing.assert_close(found.world_from_camera, wanted, rtol=0, atol=0.02)
    depth = found.depth[:, *PICKED].numpy() / RECORDED["pair/depth"] - 1
    assert np.abs(depth).max() < 0.01


def test_noise_free_frames_are_the_truth_in_one_scale() -> None:
    found, scene = found_for("exact"), scene_of("exact")
    ratio = found.depth.double() / torch.from_numpy(scene.depth)
    assert float((ratio / ratio.median() - 1).abs().max()) < 1e-4
    truth = torch.from_numpy(scene.world_from_camera)
    relative = geometry.relative_pose(found.world_from_camera[1:], found.world_from_camera[:-1])
    wanted = geometry.relative_pose(truth[1:], truth[:-1])
    torch.testing.assert_close(relative[:, :3, :3], wanted[:, :3, :3], rtol=0, atol=1e-3)
