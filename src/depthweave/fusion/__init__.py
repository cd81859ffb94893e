"""Many local predictions to one consistent whole."""

from depthweave.fusion.cleaning import clean_confidence
from depthweave.fusion.focal import focal_from_pointmap, plausible_focal, shared_focal
from depthweave.fusion.own_view import Average
from depthweave.fusion.pair_graph import connected_components, earlier_partners, graph_window, pair_graph
from depthweave.fusion.placement import Drift, Placement, Spread
from depthweave.fusion.reference import Initialisation, initialise, initialise_pair
from depthweave.fusion.resection import camera_and_focal_from_points, camera_from_points
from depthweave.fusion.tree import maximum_spanning_tree, pair_score
from depthweave.fusion.windows import FusedFrame, PointmapFusion

__all__ = [
    "Average",
    "Drift",
    "FusedFrame",
    "Initialisation",
    "Placement",
    "PointmapFusion",
    "Spread",
    "camera_and_focal_from_points",
    "camera_from_points",
    "clean_confidence",
    "connected_components",
    "earlier_partners",
    "focal_from_pointmap",
    "graph_window",
    "initialise",
    "initialise_pair",
    "maximum_spanning_tree",
    "pair_graph",
    "pair_score",
    "plausible_focal",
    "shared_focal",
]
