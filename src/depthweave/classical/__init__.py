"""Classical stereo: matching costs, block and semi-global matching, two-way checks, and what features say of a pair."""

from depthweave.classical.block import BlockConfig, BlockMatching
from depthweave.classical.consistency import (
    Match,
    background_fill,
    left_right_check,
    left_right_difference,
    local_support,
    match_confidence,
    median_filter,
    parabola_offset,
    right_cost_volume,
    rival_cost,
    winner_take_all,
)
from depthweave.classical.cost import (
    census,
    census_transform,
    cross_correlation,
    default_max_disparity,
    nssd,
    sad,
    ssd,
    zncc,
)
from depthweave.classical.semiglobal import (
    OpenCVBlockConfig,
    OpenCVBlockMatching,
    SemiGlobalConfig,
    SemiGlobalMatching,
    structure_channels,
)
from depthweave.classical.two_view import PairCheck, check_pair, match_features

__all__ = [
    "BlockConfig",
    "BlockMatching",
    "Match",
    "OpenCVBlockConfig",
    "OpenCVBlockMatching",
    "PairCheck",
    "SemiGlobalConfig",
    "SemiGlobalMatching",
    "background_fill",
    "census",
    "census_transform",
    "check_pair",
    "cross_correlation",
    "default_max_disparity",
    "left_right_check",
    "left_right_difference",
    "local_support",
    "match_confidence",
    "match_features",
    "median_filter",
    "nssd",
    "parabola_offset",
    "right_cost_volume",
    "rival_cost",
    "sad",
    "ssd",
    "structure_channels",
    "winner_take_all",
    "zncc",
]
