"""Typed values that know their unit, their scale and their camera."""

from depthweave.types.camera import Camera
from depthweave.types.clip import Clip, DepthVideo
from depthweave.types.cloud import PointCloud
from depthweave.types.flow import FlowMap
from depthweave.types.maps import DepthMap, DisparityMap, InverseDepthMap, Scale, read_map
from depthweave.types.pair import StereoPair
from depthweave.types.picture import Picture, read_picture
from depthweave.types.pointmaps import PairPointmaps
from depthweave.types.reconstruction import Reconstruction
from depthweave.types.sparse import SparseDepth

__all__ = [
    "Camera",
    "Clip",
    "DepthMap",
    "DepthVideo",
    "DisparityMap",
    "FlowMap",
    "InverseDepthMap",
    "PairPointmaps",
    "Picture",
    "PointCloud",
    "Reconstruction",
    "Scale",
    "SparseDepth",
    "StereoPair",
    "read_map",
    "read_picture",
]
