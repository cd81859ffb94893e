"""Pointmap networks behind `reconstruct`: what is computed once, in which batches, and what comes out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from depthweave.errors import NotFinite, WrongFile, WrongInput
from depthweave.models import conversion
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig
from depthweave.models.pointmap.mast3r import Mast3r, Mast3rConfig
from depthweave.models.pointmap.preparation import prepare_whole
from depthweave.models.registry import find_model
from depthweave.pipelines.network_pairs import NetworkPairs, build
from depthweave.pipelines.pair_estimator import PairEstimator
from depthweave.types import Camera, Clip, PairPointmaps, Scale


def network(family: str = "dust3r") -> Dust3r | Mast3r:
    torch.manual_seed(2)
    return Mast3r(Mast3rConfig.nano()).eval() if family == "mast3r" else Dust3r(Dust3rConfig.nano()).eval()


def frames(count: int, height: int = 30, width: int = 41) -> list[Tensor]:
    return list(torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(4)))


def run(estimator: NetworkPairs, clip: list[Tensor]) -> list[PairPointmaps]:
    """As `reconstruct` does: a window of prepared frames, the newest one's pairs."""
    estimator.calibrate(Clip(clip))
    prepared: dict[int, Any] = {}
    found = []
    for number, picture in enumerate(clip):
        prepared.pop(number - estimator.window - 1, None)
        prepared[number] = estimator.prepare(picture)
        found += estimator.estimate(number, prepared)
    return found


class Counted:
    """Calls of a network's two halves, by batch."""

    def __init__(self, net: Dust3r | Mast3r, monkeypatch: pytest.MonkeyPatch) -> None:
        self.encoded: list[int] = []
        self.decoded: list[int] = []
        encode, decode = net.encode, net.decode

        def counting_encode(images: Tensor) -> Tensor:
            self.encoded.append(len(images))
            return encode(images)

        def counting_decode(first: Tensor, *rest: Any, **how: Any) -> Any:
            self.decoded.append(len(first))
            return decode(first, *rest, **how)

        monkeypatch.setattr(net, "encode", counting_encode)
        monkeypatch.setattr(net, "decode", counting_decode)


@pytest.mark.parametrize(("count", "batch"), [(2, 8), (7, 8), (7, 3)])
def test_every_frame_is_encoded_once(count: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    counted = Counted(net, monkeypatch)
    found = run(NetworkPairs(net, device="cpu", batch=batch), frames(count))
    assert counted.encoded == [1] * count
    assert sum(counted.decoded) == len(found) == 4 * count - 6
    assert max(counted.decoded) == min(batch, 4, len(found))
    pairs = [(pair.first, pair.second) for pair in found]
    assert sorted(pairs) == sorted(
        (t + step * way, t + step * (1 - way)) for step in (1, 2) for t in range(count - step) for way in (0, 1)
    )


def test_pairs_are_what_the_network_says_of_two_pictures() -> None:
    net, clip = network(), frames(3)
    found = run(NetworkPairs(net, device="cpu"), clip)
    shown = [prepare_whole(picture, 64)[None] for picture in clip]
    assert shown[0].shape == (1, 3, 48, 64)
    for pair in found:
        with torch.inference_mode():
            wanted = net(shown[pair.first], shown[pair.second])
        torch.testing.assert_close(pair.points_first, wanted.first.points[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(pair.points_second, wanted.second.points[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(pair.confidence_first, wanted.first.confidence[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(pair.confidence_second, wanted.second.confidence[0], rtol=1e-4, atol=1e-6)
        assert pair.first_from_second is None
        assert not pair.points_first.is_inference()
        assert pair.points_first.untyped_storage().nbytes() == 48 * 64 * 3 * 4


@pytest.mark.parametrize(
    ("graph", "window", "pairs"),
    [("swin-1-noncyclic", 1, 4), ("swinstride-2-noncyclic", 3, 5), ("complete", None, 10), ("oneref-0", None, 4)],
)
def test_graphs(graph: str, window: int | None, pairs: int) -> None:
    estimator = NetworkPairs(network(), graph=graph, device="cpu", size=32)
    assert estimator.window == window or (window is None and estimator.window >= 500)
    clip = frames(5 if graph != "swinstride-2-noncyclic" else 4)
    expected = 2 * (4 if graph == "swinstride-2-noncyclic" else pairs)
    assert len(run(estimator, clip)) == expected


def test_a_graph_around_the_end_is_refused() -> None:
    with pytest.raises(WrongInput, match="'swin-2' goes around the end"):
        NetworkPairs(network(), graph="swin-2", device="cpu")
    with pytest.raises(WrongInput, match="no graph of pairs named 'all'"):
        NetworkPairs(network(), graph="all", device="cpu")
    with pytest.raises(WrongInput, match="batch=0"):
        NetworkPairs(network(), batch=0, device="cpu")


def test_a_single_frame_is_paired_with_itself() -> None:
    estimator = NetworkPairs(network(), device="cpu")
    (pair,) = run(estimator, frames(1))
    assert (pair.first, pair.second) == (0, 0)
    assert not torch.equal(pair.points_first, pair.points_second)
    assert len(run(estimator, frames(2))) == 2
    with pytest.raises(WrongInput, match="clip has no frames"):
        estimator.calibrate(Clip([]))


def test_frames_of_another_size() -> None:
    estimator = NetworkPairs(network(), device="cpu")
    prepared = {0: estimator.prepare(frames(1)[0]), 1: estimator.prepare(frames(1, 30, 80)[0])}
    with pytest.raises(WrongInput, match="sees frame 0 at 64x48 px and frame 1 at 64x32 px; give frames of one size"):
        estimator.estimate(1, prepared)


def test_frames_that_are_gone_are_passed_over() -> None:
    estimator = NetworkPairs(network(), device="cpu")
    prepared = {number: estimator.prepare(frame) for number, frame in zip((3, 5), frames(2), strict=True)}
    assert [(pair.first, pair.second) for pair in estimator.estimate(5, prepared)] == [(3, 5), (5, 3)]
    assert estimator.estimate(3, prepared) == []


def test_what_it_says_of_itself() -> None:
    plain, metric = (NetworkPairs(network(family), device="cpu") for family in ("dust3r", "mast3r"))
    assert isinstance(plain, PairEstimator)
    assert (plain.scale, metric.scale) == (Scale.UNKNOWN_SCALE, Scale.METRIC)
    assert (plain.window, plain.min_confidence, plain.size) == (2, 1.5, 64)
    camera = Camera(torch.eye(3), 41, 30)
    assert plain.calibrate(Clip(frames(2), camera=camera)) is camera
    assert plain.calibrate(Clip(frames(2))) is None
    assert plain.facts() == {
        "model": "dust3r",
        "revision": None,
        "licence": None,
        "options": {"graph": "swin-2-noncyclic", "size": 64, "min_confidence": 1.5},
        "device": "cpu",
        "dtype": "float32",
    }


def test_descriptors_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network("mast3r")
    monkeypatch.delattr("depthweave.models.pointmap.heads.DescriptorHead.describe")
    assert len(run(NetworkPairs(net, device="cpu", size=32), frames(2))) == 2


def test_half_precision_gives_float32() -> None:
    net, clip = network(), frames(2)
    full, half = (run(NetworkPairs(net, device="cpu", dtype=dtype), clip) for dtype in ("float32", "bfloat16"))
    assert half[0].points_first.dtype == half[0].confidence_second.dtype == torch.float32
    assert not torch.equal(half[0].points_first, full[0].points_first)
    torch.testing.assert_close(half[0].points_first, full[0].points_first, rtol=0.1, atol=0.05)


def with_bias(net: nn.Module, place: int, value: float) -> None:
    with torch.no_grad():
        net.downstream_head1.proj.bias[place] = value


def test_points_that_are_not_finite_get_no_confidence() -> None:
    net = network()
    with_bias(net, 7, 200.0)  # x of the patch's pixel (0, 7): e^200 is more than float32 holds
    pair = run(NetworkPairs(net, device="cpu"), frames(2))[0]
    first, second = pair.usable()
    assert not bool(first[::16, 7::16].any())
    assert not bool(pair.confidence_first[::16, 7::16].any())
    assert int((~first).sum()) == 3 * 4
    assert bool(second.all())


def test_weights_that_are_damaged() -> None:
    net = network()
    with_bias(net, 3 * 256, float("nan"))
    with pytest.raises(NotFinite, match="dust3r gave values that are not finite in float32"):
        run(NetworkPairs(net, device="cpu"), frames(2))


class TestBuild:
    def test_a_folder_of_ours_and_one_of_the_hub(self, tmp_path: Path) -> None:
        net = network()
        card = replace(find_model("monst3r"), name="tiny", revision="r1")
        ours, hub = net.save_pretrained(tmp_path / "ours"), conversion.write_hub(net, tmp_path / "hub")
        clip = frames(2)
        wanted = run(NetworkPairs(net, device="cpu"), clip)
        for estimator in (build(ours, device="cpu"), build(hub, card=card, device="cpu")):
            assert torch.equal(run(estimator, clip)[1].points_second, wanted[1].points_second)
        found = build(hub, card=card, device="cpu", graph="swin-1-noncyclic")
        assert (found.min_confidence, found.window, found.name) == (1.1, 1, "tiny")
        assert found.facts()["licence"] == "CC BY-NC-SA 4.0"
        assert found.facts()["revision"] == "r1"
        assert build(hub, card=card, device="cpu", min_confidence=2.0).min_confidence == 2.0

    def test_a_card_whose_weights_were_converted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEPTHWEAVE_WEIGHTS", str(tmp_path))
        network("mast3r").save_pretrained(tmp_path / "mast3r")
        found = build(find_model("mast3r"), device="cpu")
        assert (found.name, found.scale) == ("mast3r", Scale.METRIC)

    def test_what_cannot_be_built(self, tmp_path: Path) -> None:
        ours, hub = network().save_pretrained(tmp_path / "ours"), conversion.write_hub(network(), tmp_path / "hub")
        with pytest.raises(WrongInput, match="no option colour; they have graph, size, batch, min_confidence"):
            build(ours, device="cpu", colour=1)
        with pytest.raises(WrongFile, match=r"does not state its family; say it with `depthweave convert FAMILY"):
            build(hub, device="cpu")
        with pytest.raises(WrongFile, match="the family defom, which gives no pointmaps"):
            build(hub, card=find_model("defom-vits"), device="cpu")
