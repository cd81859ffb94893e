import pytest

from depthweave.errors import WrongInput
from depthweave.fusion.pair_graph import connected_components, earlier_partners, graph_window, pair_graph

KINDS = [
    "complete",
    "oneref-2",
    *(
        f"{window}-{count}{end}"
        for window in ("swin", "logwin", "swinstride", "swin2stride")
        for count in (1, 2, 3)
        for end in ("", "-noncyclic")
    ),
]
kinds = pytest.mark.parametrize("kind", KINDS)


def test_graphs_by_hand() -> None:
    def forward(kind: str, frames: int) -> list[tuple[int, int]]:
        return pair_graph(kind, frames, symmetric=False)

    assert forward("complete", 3) == [(1, 0), (2, 0), (2, 1)]
    assert forward("oneref-1", 4) == [(1, 0), (1, 2), (1, 3)]
    assert forward("swin-2-noncyclic", 4) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    assert forward("swin-1", 4) == [(0, 1), (1, 2), (2, 3), (0, 3)]
    assert forward("logwin-3-noncyclic", 6) == [
        *((0, 1), (0, 2), (0, 4), (1, 2), (1, 3), (1, 5), (2, 3), (2, 4), (3, 4), (3, 5), (4, 5))
    ]
    assert forward("swinstride-2-noncyclic", 5) == [(0, 1), (0, 3), (1, 2), (1, 4), (2, 3), (3, 4)]
    assert forward("swin2stride-3-noncyclic", 9)[:3] == [(0, 1), (0, 4), (0, 7)]
    assert pair_graph("swin-1-noncyclic", 3) == [(0, 1), (1, 2), (1, 0), (2, 1)]


@kinds
@pytest.mark.parametrize("frames", [3, 4, 5, 9, 20])
def test_no_pair_twice_none_with_itself_and_both_directions(kind: str, frames: int) -> None:
    pairs = pair_graph(kind, frames)
    assert len(set(pairs)) == len(pairs)
    assert all(first != second and 0 <= first < frames and 0 <= second < frames for first, second in pairs)
    half = len(pairs) // 2
    assert pairs[half:] == [(second, first) for first, second in pairs[:half]]
    assert pairs[:half] == pair_graph(kind, frames, symmetric=False)
    assert len({frozenset(pair) for pair in pairs[:half]}) == half


@kinds
@pytest.mark.parametrize("frames", [3, 4, 5, 9, 20])
def test_partners_of_a_stream_are_the_pairs_of_the_graph(kind: str, frames: int) -> None:
    streamed = {(early, frame) for frame in range(frames) for early in earlier_partners(kind, frame, frames)}
    assert streamed == {(min(pair), max(pair)) for pair in pair_graph(kind, frames)}
    window = graph_window(kind)
    if window is not None:
        assert window == max(late - early for early, late in pair_graph(kind, 50) if early < late)
        assert all(earlier_partners(kind, frame) == earlier_partners(kind, frame, frames) for frame in range(frames))


def test_windows_by_hand() -> None:
    assert [graph_window(f"{name}-3-noncyclic") for name in ("swin", "logwin", "swinstride", "swin2stride")] == [
        *(3, 4, 5, 7)
    ]
    assert [graph_window(name) for name in ("complete", "oneref-0", "swin-2")] == [None, None, None]
    assert earlier_partners("swin-2", 6, 7) == [0, 1, 4, 5]
    assert earlier_partners("oneref-2", 2) == [0, 1]
    assert earlier_partners("oneref-2", 1) == []


def test_one_frame_has_no_partner() -> None:
    for kind in ("complete", "oneref-0", "swin-2", "swin-2-noncyclic"):
        assert pair_graph(kind, 1) == []


@pytest.mark.parametrize(
    "kind", ["swin", "swin-", "swin-2-cyclic", "complete-noncyclic", "oneref-1-noncyclic", "ring", ""]
)
def test_unknown_names_are_refused(kind: str) -> None:
    for call in (lambda: pair_graph(kind, 3), lambda: earlier_partners(kind, 1, 3), lambda: graph_window(kind)):
        with pytest.raises(WrongInput, match=f"no graph of pairs named '{kind}'"):
            call()


def test_what_a_graph_cannot_do_is_refused() -> None:
    with pytest.raises(WrongInput, match="must be at least 1"):
        pair_graph("swin-0", 3)
    with pytest.raises(WrongInput, match="frame 3, but there are 3"):
        pair_graph("oneref-3", 3)
    with pytest.raises(WrongInput, match="at least one frame"):
        pair_graph("complete", 0)
    with pytest.raises(WrongInput, match="use 'swin-2-noncyclic'"):
        earlier_partners("swin-2", 3)


def test_components_by_hand() -> None:
    assert connected_components([(5, 4), (0, 2), (2, 3)], 7) == [[0, 2, 3], [4, 5], [1], [6]]
    assert connected_components([(1, 0), (0, 1)], 2) == [[0, 1]]
    assert connected_components([], 2) == [[0], [1]]
    for wrong in ((0, 3), (-1, 0)):
        with pytest.raises(WrongInput, match="names a frame that does not exist"):
            connected_components([(0, 1), wrong], 3)
