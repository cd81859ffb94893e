import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

import depthweave
from depthweave.classical import Match
from depthweave.errors import UnknownModel, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import Camera, DisparityMap, StereoPair

HEIGHT, WIDTH = 18, 24


@dataclass
class Config:
    window: int = 3


@dataclass
class Oracle:
    """Answers with the column number, so that a flip shows, and remembers what it was asked."""

    config: Config = field(default_factory=Config)
    asked: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)

    def __call__(self, left: Tensor, right: Tensor, *, max_disparity: int) -> Match:
        self.asked.append((left, right, max_disparity))
        columns = torch.arange(float(left.shape[-1])).expand(left.shape[-2:])
        return Match(columns.clone(), columns > 3, columns / left.shape[-1])


@pytest.fixture
def pair() -> StereoPair:
    left, right = torch.rand(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    camera = Camera(intrinsics_matrix(100.0, 100.0, 11.5, 8.5), WIDTH, HEIGHT, baseline_m=0.2, doffs_px=1.0)
    return StereoPair(left, right, camera)


@pytest.fixture
def matcher() -> StereoMatcher:
    return StereoMatcher(Oracle(), check=False, device="cpu")


def test_left_answer_knows_its_pair(pair: StereoPair, matcher: StereoMatcher) -> None:
    found = matcher(pair)
    assert found.camera is pair.camera
    assert torch.equal(found.image, pair.left)
    assert torch.equal(found.values[0], torch.arange(float(WIDTH)))
    left, right, _ = matcher.matching.asked[0]
    assert torch.equal(left, pair.left)
    assert torch.equal(right, pair.right)


def test_right_answer_is_the_mirrored_one_with_the_right_camera(pair: StereoPair, matcher: StereoMatcher) -> None:
    found = matcher(pair, right=True)
    left, right, _ = matcher.matching.asked[0]
    assert torch.equal(left, pair.right.flip(-1))
    assert torch.equal(right, pair.left.flip(-1))
    assert torch.equal(found.values[0], torch.arange(float(WIDTH)).flip(0))
    assert torch.equal(found.valid[0], torch.arange(WIDTH).flip(0) > 3)
    assert torch.equal(found.confidence[0], torch.arange(float(WIDTH)).flip(0) / WIDTH)
    assert torch.equal(found.image, pair.right)
    assert found.camera.intrinsics[0, 2] == 12.5
    assert pair.camera.intrinsics[0, 2] == 11.5


def test_one_point_has_the_same_place_from_both_views(pair: StereoPair) -> None:
    # A point with d = 7 at left column 15 stands at right column 8; doffs = 1 gives it Z = 100 * 0.2 / 8 = 2.5 m.
    camera = pair.camera
    right_camera = replace(camera, intrinsics=intrinsics_matrix(100.0, 100.0, 12.5, 8.5))
    clouds = []
    for column, own in ((15, camera), (8, right_camera)):
        valid = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        valid[4, column] = True
        disparity = DisparityMap(torch.full((HEIGHT, WIDTH), 7.0), valid, camera=own)
        clouds.append(disparity.to_points(keep_flying=True).points)
    left, right = clouds
    assert left[0, 2].item() == pytest.approx(2.5)
    torch.testing.assert_close(right, left - torch.tensor([0.2, 0.0, 0.0]))


def test_search_range_comes_from_the_nearest_source(pair: StereoPair) -> None:
    calibrated = replace(pair, camera=replace(pair.camera, max_disparity_px=9))

    def asked(pair: StereoPair, *, own: int | None = None, call: int | None = None) -> int:
        matcher = StereoMatcher(Oracle(), max_disparity=own, check=False, device="cpu")
        matcher(pair, max_disparity=call)
        return matcher.matching.asked[0][2]

    assert asked(calibrated, own=5, call=7) == 7
    assert asked(calibrated, own=5) == 5
    assert asked(calibrated) == 9
    assert 1 <= asked(pair) <= WIDTH
    assert asked(pair, call=10_000) == WIDTH
    with pytest.raises(WrongInput, match=r"search range of 0 px.*at least 1"):
        asked(pair, call=0)


def test_pictures_and_lists(pair: StereoPair, matcher: StereoMatcher) -> None:
    found = matcher([pair, pair])
    assert [type(item) for item in found] == [DisparityMap, DisparityMap]
    noise = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    assert matcher((noise, noise)).values.shape == (20, 30)
    assert matcher((noise, noise)).camera is None


@pytest.mark.parametrize(("value", "words"), [(0.0, "all black"), (0.5, "all of one colour")])
def test_a_picture_without_content_is_refused(
    value: float, words: str, pair: StereoPair, matcher: StereoMatcher
) -> None:
    with pytest.raises(WrongInput, match=f"the right picture is {words}, so there is nothing to match"):
        matcher(replace(pair, right=torch.full_like(pair.right, value)))


def test_facts_say_what_made_a_result() -> None:
    facts = StereoMatcher(Oracle(), max_disparity=8, device="cpu").facts()
    assert facts["model"] == "Oracle"
    assert facts["options"] == {"window": 3}
    assert (facts["max_disparity"], facts["device"], facts["dtype"]) == (8, "cpu", "float32")


@pytest.mark.parametrize("name", ["sgm", "bm", "block"])
def test_loaded_matchers_find_a_shift(name: str) -> None:
    # The left picture is the right one moved by six pixels.
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(3, 64, 112, generator=generator)
    pair = StereoPair(scene[..., :96].clone(), scene[..., 6:102].clone())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = depthweave.load(name, device="cpu")(pair, max_disparity=16)
    assert found.valid.float().mean() > 0.7
    assert (found.values[found.valid] - 6).abs().median() < 0.1
    assert depthweave.load(name, device="cpu").facts()["model"] == name


def test_unknown_names_and_options() -> None:
    with pytest.raises(UnknownModel, match="sgn"):
        depthweave.load("sgn")
    with pytest.raises(WrongInput, match=r"block has no option iterations; it has .*cost"):
        depthweave.load("block", iterations=3)
