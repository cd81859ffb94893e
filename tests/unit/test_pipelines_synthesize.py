"""One picture and its depth to a typed pair, and its files."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import depthweave as dw
from depthweave import io
from depthweave.data import open_benchmark
from depthweave.errors import NeedsCalibration, NeedsMetric, NotWritable, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.pipelines.synthesize import (
    generator_of,
    make_settings,
    relative_inverse_depth,
    usable_depth,
)
from depthweave.synthesis.pair import SynthesisSettings
from depthweave.training.sources import BenchmarkSource
from depthweave.types import Camera, DepthMap, DisparityMap, InverseDepthMap, Scale

HEIGHT, WIDTH = 24, 64
PLAIN = {"sharpen": False, "edge_aware": False}
FAR, NEAR = 2.0, 12.0


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255


def full(value: float) -> Tensor:
    return torch.full((HEIGHT, WIDTH), value)


def everywhere() -> Tensor:
    return torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


def box() -> Tensor:
    """Disparity of a box (columns 30 to 45) in front of a wall."""
    values = full(FAR)
    values[6:18, 30:46] = NEAR
    return values


def camera(baseline_m: float | None = 0.1, doffs_px: float = 0.0) -> Camera:
    return Camera(intrinsics_matrix(50.0, 50.0, 31.5, 11.5), WIDTH, HEIGHT, baseline_m, doffs_px)


def ramp() -> Tensor:
    """1, 2, ..., WIDTH in every row."""
    return torch.arange(1.0, WIDTH + 1).expand(HEIGHT, WIDTH).contiguous()


def test_a_constant_disparity_shifts_the_picture(image: Tensor) -> None:
    made = dw.synthesize(image, full(7.0), device="cpu")
    assert isinstance(made, dw.SynthesizedPair)
    assert torch.equal(made.pair.left, image)
    torch.testing.assert_close(made.pair.right[..., : WIDTH - 7], image[..., 7:])
    assert bool((made.disparity.values == 7).all())
    assert bool(made.disparity.valid.all())
    columns = torch.arange(WIDTH).expand(HEIGHT, WIDTH)
    assert torch.equal(made.visible, columns >= 7)
    assert torch.equal(made.right_disparity.valid, columns < WIDTH - 7)
    assert bool((made.right_disparity.values[made.right_disparity.valid] == 7).all())
    assert torch.equal(made.inpainted, columns >= WIDTH - 7)
    assert torch.equal(made.border, columns >= WIDTH - 7)
    assert made.facts["rescaling"] is None
    assert torch.equal(made.side_by_side(), torch.cat((image, made.pair.right), dim=-1))
    assert made.anaglyph().shape == image.shape


def test_a_box_hides_and_opens(image: Tensor) -> None:
    made = dw.synthesize(image, box(), device="cpu", **PLAIN)
    row = 10
    # The box moves from 30..45 to 18..33; the wall's 32..47 would go to 30..45, of which 34..43 stay open.
    assert made.inpainted[row].nonzero()[:, 0].tolist() == [*range(34, 44), 62, 63]
    assert made.border[row].nonzero()[:, 0].tolist() == [62, 63]
    hidden = (~made.visible[row]).nonzero()[:, 0].tolist()
    assert hidden == [0, 1, *range(20, 30)]
    assert made.right_disparity.values[row, 18:34].tolist() == [NEAR] * 16
    assert not bool(made.rim.any())
    careful = dw.synthesize(image, box(), device="cpu")
    assert careful.rim[row].nonzero()[:, 0].tolist() == [46]
    assert int(careful.inpainted[row].sum()) > int(made.inpainted[row].sum())


def test_px_are_used_as_they_are_whatever_carries_them(image: Tensor) -> None:
    by_tensor, by_array, by_map = (
        dw.synthesize(image, each, device="cpu", **PLAIN)
        for each in (box(), box().numpy().astype(np.float64), DisparityMap(box(), everywhere()))
    )
    for found in (by_array, by_map):
        assert torch.equal(found.pair.right, by_tensor.pair.right)
        assert torch.equal(found.disparity.values, box())


def test_relative_inverse_depth_is_stretched_to_the_range_asked_for(image: Tensor) -> None:
    values = ramp()
    values[0, 0] = 1e6
    inverse = InverseDepthMap(values, everywhere())
    made = dw.synthesize(image, inverse, max_disparity=10, device="cpu", **PLAIN)
    # The quantiles of 0.5 and 99.5 % are 1 and WIDTH: one wild value does not count.
    assert made.facts["rescaling"] == {"low_px": 0.0, "high_px": 10.0, "bounds": [1.0, float(WIDTH)]}
    assert made.disparity.values[5].tolist() == pytest.approx([10 * x / (WIDTH - 1) for x in range(WIDTH)], abs=1e-5)
    assert float(made.disparity.values[0, 0]) == pytest.approx(10)


def test_depth_without_a_baseline_is_relative(image: Tensor) -> None:
    metric = DepthMap(1 / ramp(), everywhere(), camera=camera(None), scale=Scale.METRIC)
    made = dw.synthesize(image, metric, max_disparity=10, device="cpu", **PLAIN)
    assert float(made.disparity.values.max()) == pytest.approx(10)
    assert made.disparity.camera.baseline_m is None


@pytest.mark.parametrize("as_inverse", [False, True])
def test_metric_depth_with_a_baseline_is_geometry(image: Tensor, as_inverse: bool) -> None:
    metric = DepthMap(full(2.0), everywhere(), scale=Scale.METRIC)
    given = metric.to_inverse_depth() if as_inverse else metric
    # 50 px x 0.1 m / 2 m; the offset of the principal points is not imitated.
    made = dw.synthesize(image, given, camera=camera(doffs_px=3.0), device="cpu")
    assert made.disparity.values.unique().tolist() == pytest.approx([2.5])
    assert made.disparity.camera.baseline_m == 0.1
    assert made.disparity.camera.doffs_px == 0
    assert float(made.disparity.to_depth().values[0, 0]) == pytest.approx(2.0)
    own = replace(given, camera=camera(None))
    wider = dw.synthesize(image, own, baseline_m=0.2, device="cpu")
    assert wider.disparity.values.unique().tolist() == pytest.approx([5.0])
    assert wider.pair.camera.baseline_m == pytest.approx(0.2)


def test_stretched_depth_has_no_baseline(image: Tensor) -> None:
    inverse = InverseDepthMap(ramp(), everywhere(), camera=camera(0.1, 3.0))
    made = dw.synthesize(image, inverse, max_disparity=9, device="cpu")
    assert (made.pair.camera.baseline_m, made.pair.camera.doffs_px) == (None, 0.0)
    assert made.pair.camera.focal_px == 50


def test_affine_depth_begins_at_a_tenth_of_its_range() -> None:
    affine = DepthMap(torch.tensor([[3.0, 4.0, 5.0]]), torch.ones(1, 3, dtype=torch.bool))
    affine = replace(affine, scale=Scale.UNKNOWN_SCALE_AND_SHIFT)
    found = relative_inverse_depth(affine)
    assert found.values[0].tolist() == pytest.approx([1 / 0.2, 1 / 1.2, 1 / 2.2])
    flat = replace(affine, values=torch.full((1, 3), 3.0))
    assert relative_inverse_depth(flat).values.tolist() == [[1.0, 1.0, 1.0]]


def test_unknown_pixels_keep_a_guess_or_take_the_background(image: Tensor) -> None:
    values, valid = box(), everywhere()
    valid[10, 28:34] = False
    values[10, 28:34] = 0
    valid[12, 40] = False
    values[12, 40] = 11
    made = dw.synthesize(image, DisparityMap(values, valid), device="cpu", **PLAIN)
    assert made.disparity.values[10, 28:34].tolist() == [FAR] * 6
    assert float(made.disparity.values[12, 40]) == 11


def test_seeds(image: Tensor) -> None:
    inverse = InverseDepthMap(ramp(), everywhere())
    first, again, other = (dw.synthesize(image, inverse, seed=seed, device="cpu") for seed in (3, 3, 4))
    for name in ("visible", "inpainted", "rim", "border"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(first.pair.right, again.pair.right)
    assert first.facts == again.facts
    assert first.facts["seed"] == 3
    assert first.facts["rescaling"]["high_px"] != other.facts["rescaling"]["high_px"]
    assert not torch.equal(first.pair.right, other.pair.right)


def test_generators_belong_to_names() -> None:
    draws = {(seed, name): generator_of(seed, name).random() for seed in (0, 1) for name in ("a", "b", "ä")}
    assert len(set(draws.values())) == 6
    assert draws[0, "b"] == generator_of(0, "b").random()


def test_cropping_takes_everything_along(image: Tensor) -> None:
    disparity = DisparityMap(full(7.0), everywhere(), torch.rand(HEIGHT, WIDTH), camera())
    made = dw.synthesize(image, disparity, border="crop", device="cpu")
    size = (HEIGHT, WIDTH - 7)
    assert made.pair.left.shape[-2:] == made.pair.right.shape[-2:] == size
    for field in (made.disparity, made.right_disparity):
        assert (field.height, field.width) == size
    for mask in (made.visible, made.inpainted, made.rim, made.border):
        assert mask.shape == size
    assert torch.equal(made.disparity.confidence, disparity.confidence[:, : WIDTH - 7])
    assert made.pair.camera.width == WIDTH - 7
    assert made.pair.camera.intrinsics[0, 2] == 31.5
    assert not bool(made.inpainted.any())
    masked = dw.synthesize(image, disparity, border="mask", device="cpu")
    assert bool((masked.pair.right[..., WIDTH - 7 :] == 0).all())
    assert not bool(masked.right_disparity.valid[:, WIDTH - 7 :].any())


def test_only_the_right_picture_varies(image: Tensor) -> None:
    plain, varied = (dw.synthesize(image, box(), vary=vary, device="cpu") for vary in (False, True))
    assert torch.equal(varied.pair.left, image)
    assert torch.equal(varied.disparity.values, plain.disparity.values)
    assert not torch.equal(varied.pair.right, plain.pair.right)
    assert bool(((varied.pair.right >= 0) & (varied.pair.right <= 1)).all())


class Marker:
    """Fills with one colour."""

    def __call__(
        self, image: Tensor, unknown: Tensor, wanted: Tensor, disparity: Tensor, rng: np.random.Generator
    ) -> Tensor:
        return torch.where(wanted, 0.25, image)


def test_a_filler_of_ones_own(image: Tensor) -> None:
    made = dw.synthesize(image, box(), filler=Marker(), device="cpu", **PLAIN)
    assert bool((made.pair.right[:, made.inpainted] == 0.25).all())
    assert made.facts["filler"] == "Marker"


@pytest.mark.parametrize(
    ("disparity", "options", "error", "sentence"),
    [
        (torch.full((24, 60), 3.0), {}, WrongInput, "the disparity is 60x24 px but the picture is 64x24 px"),
        (torch.full((1, 24, 64), 3.0), {}, WrongInput, r"a disparity is \(h, w\)"),
        (full(float("inf")), {}, WrongInput, "1536 of 1536 disparities are NaN or infinite"),
        (full(float("nan")), {}, WrongInput, "NaN or infinite"),
        (full(-2.0), {}, WrongInput, "goes down to -2 px"),
        (DisparityMap(full(0.0), ~everywhere()), {}, WrongInput, "has no usable pixel"),
        (InverseDepthMap(full(3.0), everywhere()), {}, WrongInput, "no near and far"),
        (full(70.0), {}, WrongInput, "out of a picture 64 px wide"),
        (full(3.0), {"max_disparity": 10}, WrongInput, "this disparity is in px"),
        (InverseDepthMap(ramp(), everywhere()), {"max_disparity": 64}, WrongInput, "leaves nothing of a picture 64"),
        (InverseDepthMap(ramp(), everywhere()), {"max_disparity": 0}, WrongInput, "give a number above 0"),
        (full(3.0), {"filler": "glue"}, WrongInput, "there is no filler 'glue'; take one of background"),
        (full(3.0), {"edge_awareness": True}, WrongInput, "no setting edge_awareness; it has edge_aware"),
        (InverseDepthMap(ramp(), everywhere()), {"baseline_m": 0.1}, NeedsMetric, "take a metric model"),
        (DepthMap(ramp(), everywhere(), scale=Scale.METRIC), {"baseline_m": 0.1}, NeedsCalibration, "focal length"),
        (full(3.0), {"device": "abacus"}, WrongInput, "'abacus' is not a device"),
    ],
)
def test_sentences(image: Tensor, disparity: Any, options: dict[str, Any], error: type, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        dw.synthesize(image, disparity, **{"device": "cpu", **options})


def test_settings_by_name() -> None:
    assert make_settings(filler="ns", border="mask") == SynthesisSettings(filler="ns", border="mask")


def test_a_camera_may_be_given_beside_the_map() -> None:
    found = usable_depth(DisparityMap(box(), everywhere()), camera=camera(0.3))
    assert found.camera.baseline_m == 0.3


def test_the_folder_is_a_benchmark_and_training_takes_it(image: Tensor, tmp_path: Path) -> None:
    confidence = torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH).contiguous()
    made = dw.synthesize(image, DisparityMap(box() + 0.3, everywhere(), confidence), device="cpu")
    made.save(tmp_path, "a", also=("side-by-side", "anaglyph"))
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    places = ("left", "right", "disparity", "disparity_right", "mask0nocc", "inpainted", "rim", "confidence")
    assert names == {f"{place}/a.png" for place in (*places, "side-by-side", "anaglyph")}
    assert io.read_image(tmp_path / "side-by-side" / "a.png").shape == (HEIGHT, 2 * WIDTH, 3)
    greys = io.read_image(tmp_path / "confidence" / "a.png")
    assert greys[0].tolist() == (confidence[0] * 255).round().int().tolist()
    np.testing.assert_array_equal(io.read_image(tmp_path / "inpainted" / "a.png") == 255, made.inpainted.numpy())
    np.testing.assert_array_equal(io.read_image(tmp_path / "rim" / "a.png") == 255, made.rim.numpy())

    (item,) = open_benchmark("folder", tmp_path)
    truth = item.read_truth()
    assert item.key == "a"
    assert bool(truth.valid.all())
    torch.testing.assert_close(truth.disparity, made.disparity.values, atol=1 / 512 + 1e-6, rtol=0)
    assert torch.equal(truth.regions["visible"], made.visible)
    assert torch.equal(truth.right_valid, made.right_disparity.valid)
    seen = truth.right_valid
    torch.testing.assert_close(truth.right_disparity[seen], made.right_disparity.values[seen], atol=0.003, rtol=0)

    raw = BenchmarkSource("folder", tmp_path).raw(0)
    disparity, known, visible = raw.left.truth()
    assert torch.equal(disparity, truth.disparity)
    assert bool(known.all())
    assert torch.equal(visible, made.visible)
    assert torch.equal(raw.right.truth()[1], made.right_disparity.valid)
    assert not raw.sparse
    torch.testing.assert_close(raw.left.image.permute(2, 0, 1) / 255, image)


def test_disparities_too_large_for_a_png_become_pfm(tmp_path: Path) -> None:
    image = torch.rand(3, 16, 600)
    for value, there, gone in ((254.0, ".png", ".pfm"), (300.0, ".pfm", ".png"), (254.0, ".png", ".pfm")):
        made = dw.synthesize(image, torch.full((16, 600), value), device="cpu")
        made.save(tmp_path, "a")
        for place in ("disparity", "disparity_right"):
            assert (tmp_path / place / f"a{there}").is_file()
            assert not (tmp_path / place / f"a{gone}").exists()
        truth = open_benchmark("folder", tmp_path)[0].read_truth()
        assert bool((truth.disparity == value).all())
        assert bool((truth.right_disparity[truth.right_valid] == value).all())


def test_a_pair_that_is_not_whole_has_no_left_picture(image: Tensor, tmp_path: Path) -> None:
    made = dw.synthesize(image, full(3.0), device="cpu")
    made.save(tmp_path, "a")
    (tmp_path / "rim" / "a.png").unlink()
    (tmp_path / "rim" / "a.png").mkdir()
    with pytest.raises(NotWritable):
        made.save(tmp_path, "a")
    assert not (tmp_path / "left" / "a.png").exists()


def test_a_picture_by_its_path_names_the_pair(image: Tensor, tmp_path: Path) -> None:
    from depthweave import images

    io.write_image(tmp_path / "street.png", images.image_from_tensor(image))
    made = dw.synthesize(tmp_path / "street.png", full(3.0), device="cpu")
    assert made.pair.name == "street"
    assert torch.equal(made.pair.left, image)
