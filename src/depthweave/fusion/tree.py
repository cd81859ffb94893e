"""How much a pair says, and the tree of pairs that says most."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from depthweave.errors import WrongInput
from depthweave.types import PairPointmaps


def pair_score(pair: PairPointmaps) -> float:
    """Product of the mean confidences of a pair's two pointmaps, unit-free; unusable pixels count as 0.

    Source: Wang et al., DUSt3R, CVPR 2024, section 3.4.
    """
    first, second = (
        torch.where(usable, confidence, 0.0).to(torch.float64).mean()
        for usable, confidence in zip(pair.usable(), (pair.confidence_first, pair.confidence_second), strict=True)
    )
    return float(first * second)


def maximum_spanning_tree(pairs: Sequence[tuple[int, int]], scores: Sequence[float]) -> list[tuple[int, int]]:
    """Edges of the tree (of each connected group of frames) with the largest sum of scores, by decreasing score.

    Args:
        pairs: directed pairs of frames; of the two directions the better-scored one can be in the tree, and it keeps
            its direction. Self pairs are passed over.
        scores: one finite number for every pair; of equal scores the earlier pair comes first.

    Raises:
        WrongInput: the numbers of pairs and scores differ, or a score is not finite.
    """
    if len(pairs) != len(scores) or not np.isfinite(np.asarray(scores, dtype=np.float64)).all():
        raise WrongInput(f"a tree needs one finite score for each of its {len(pairs)} pairs; got {list(scores)[:5]} ..")
    order = sorted(range(len(pairs)), key=lambda e: (-scores[e], e))
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for first, second in (pairs[e] for e in order):
        if first != second:
            best.setdefault((min(first, second), max(first, second)), (first, second))
    if not best:
        return []
    ends = np.array(list(best))
    # Ranks instead of scores: they give the same tree, ties are settled, and none of them is 0, which means no edge.
    ranks = np.arange(1, len(best) + 1)
    frames = int(ends.max()) + 1
    tree = minimum_spanning_tree(coo_array((ranks, (ends[:, 0], ends[:, 1])), shape=(frames, frames)))
    directed = list(best.values())
    return [directed[int(rank) - 1] for rank in sorted(tree.data)]
