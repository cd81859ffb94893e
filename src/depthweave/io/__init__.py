"""Bytes to arrays and back: one file per format, a mask beside every map, metres and px inside."""

from depthweave.io.calibration import StereoCalibration, read_calibration, write_calibration
from depthweave.io.colmap import ColmapModel, read_colmap, write_colmap
from depthweave.io.dpt import read_dpt, write_dpt
from depthweave.io.exr import read_exr, write_exr
from depthweave.io.files import atomic_path, natural_key, read_json, require_file, require_folder
from depthweave.io.flo import read_flo, write_flo
from depthweave.io.flow_png import read_flow_png, write_flow_png
from depthweave.io.image import IMAGE_SUFFIXES, is_image, read_image, write_image
from depthweave.io.manifest import claim_folder, discard_result, read_manifest, write_manifest
from depthweave.io.nerfstudio import write_transforms
from depthweave.io.npz import MapFile, MapKind, read_arrays, read_npz, write_npz
from depthweave.io.pfm import read_pfm, write_pfm
from depthweave.io.png16 import (
    read_depth_png,
    read_kitti_png,
    read_ranged_png,
    read_scaled_png,
    write_depth_png,
    write_kitti_png,
    write_ranged_png,
)
from depthweave.io.points import gltf_from_opencv, read_glb, read_ply, write_glb, write_ply
from depthweave.io.trajectory import read_trajectory, write_trajectory
from depthweave.io.video import FrameStream, open_frames, write_frames, write_video

__all__ = [
    "IMAGE_SUFFIXES",
    "ColmapModel",
    "FrameStream",
    "MapFile",
    "MapKind",
    "StereoCalibration",
    "atomic_path",
    "claim_folder",
    "discard_result",
    "gltf_from_opencv",
    "is_image",
    "natural_key",
    "open_frames",
    "read_arrays",
    "read_calibration",
    "read_colmap",
    "read_depth_png",
    "read_dpt",
    "read_exr",
    "read_flo",
    "read_flow_png",
    "read_glb",
    "read_image",
    "read_json",
    "read_kitti_png",
    "read_manifest",
    "read_npz",
    "read_pfm",
    "read_ply",
    "read_ranged_png",
    "read_scaled_png",
    "read_trajectory",
    "require_file",
    "require_folder",
    "write_calibration",
    "write_colmap",
    "write_depth_png",
    "write_dpt",
    "write_exr",
    "write_flo",
    "write_flow_png",
    "write_frames",
    "write_glb",
    "write_image",
    "write_kitti_png",
    "write_manifest",
    "write_npz",
    "write_pfm",
    "write_ply",
    "write_ranged_png",
    "write_trajectory",
    "write_transforms",
    "write_video",
]
