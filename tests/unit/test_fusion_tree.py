import itertools

import numpy as np
import pytest
import torch

from depthweave.errors import WrongInput
from depthweave.fusion.pair_graph import pair_graph
from depthweave.fusion.tree import maximum_spanning_tree, pair_score
from depthweave.types import PairPointmaps


def pair(confidence_first: list[list[float]], confidence_second: list[list[float]]) -> PairPointmaps:
    first, second = torch.tensor(confidence_first), torch.tensor(confidence_second)
    return PairPointmaps(0, 1, torch.ones(*first.shape, 3), torch.ones(*second.shape, 3), first, second)


def test_score_by_hand() -> None:
    assert pair_score(pair([[1.0, 3.0]], [[2.0, 4.0]])) == 6.0


def test_unusable_pixels_score_nothing() -> None:
    spoilt = pair([[1.0, float("nan")]], [[2.0, 4.0]])
    spoilt.points_second[0, 1, 2] = float("inf")
    assert pair_score(spoilt) == 0.5


def test_tree_by_hand() -> None:
    pairs = [(0, 1), (1, 0), (1, 2), (2, 1), (0, 2), (2, 0)]
    assert maximum_spanning_tree(pairs, [1.0, 5.0, 2.0, 3.0, 4.0, 0.5]) == [(1, 0), (0, 2)]


def test_scores_of_zero_and_below_still_connect() -> None:
    assert maximum_spanning_tree([(0, 1), (1, 2), (2, 3)], [0.0, -1.0, 2.0]) == [(2, 3), (0, 1), (1, 2)]


def test_of_equal_scores_the_earlier_pair_comes_first() -> None:
    assert maximum_spanning_tree([(2, 0), (0, 2), (0, 1), (1, 2)], [1.0] * 4) == [(2, 0), (0, 1)]


def test_groups_that_nothing_connects_have_a_tree_each() -> None:
    assert maximum_spanning_tree([(0, 1), (3, 4), (4, 3), (2, 2)], [1.0, 2.0, 3.0, 9.0]) == [(4, 3), (0, 1)]
    assert maximum_spanning_tree([(0, 0)], [1.0]) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_other_tree_scores_more(seed: int) -> None:
    pairs = pair_graph("complete", 4)
    scores = np.random.default_rng(seed).uniform(1, 9, len(pairs)).tolist()
    value = dict(zip(pairs, scores, strict=True))

    def connects(edges: tuple[tuple[int, int], ...]) -> bool:
        reached = {0}
        for _ in range(3):
            reached |= {end for edge in edges if reached & set(edge) for end in edge}
        return len(reached) == 4

    best = max(sum(value[edge] for edge in edges) for edges in itertools.combinations(pairs, 3) if connects(edges))
    found = maximum_spanning_tree(pairs, scores)
    assert connects(tuple(found))
    assert sum(value[edge] for edge in found) == pytest.approx(best)
    assert [value[edge] for edge in found] == sorted((value[edge] for edge in found), reverse=True)


def test_scores_that_do_not_fit_are_refused() -> None:
    for scores in ([1.0], [1.0, float("nan")]):
        with pytest.raises(WrongInput, match="one finite score for each of its 2 pairs"):
            maximum_spanning_tree([(0, 1), (1, 2)], scores)
