"""Depth of pictures from models, files and real pairs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from depthweave import images, io
from depthweave.classical import BlockConfig, BlockMatching
from depthweave.errors import WrongFile, WrongInput
from depthweave.geometry import intrinsics_matrix
from depthweave.models.mono.estimate import Estimate
from depthweave.pipelines.depth_sources import (
    DepthSource,
    FileDepth,
    ModelDepth,
    PairDepth,
    Shot,
    flip_confidence,
    read_depth,
)
from depthweave.pipelines.mono import MonoEstimator
from depthweave.pipelines.stereo import StereoMatcher
from depthweave.types import Camera, DepthMap, DisparityMap, InverseDepthMap, Scale

HEIGHT, WIDTH = 18, 24


@dataclass
class Config:
    size: int = 14


@dataclass
class Lopsided:
    """Says that red is inverse depth, and adds more to the right of a picture."""

    scale: Scale = Scale.UNKNOWN_SCALE_AND_SHIFT
    config: Config = field(default_factory=Config)
    asked: list[Tensor] = field(default_factory=list)

    def to(self, device: torch.device) -> None:
        pass

    def __call__(self, image: Tensor) -> Estimate:
        self.asked.append(image)
        ramp = torch.linspace(0, 0.5, image.shape[-1])
        return Estimate(image[0] + ramp, "inverse_depth", self.scale)


def ramp() -> Tensor:
    return torch.arange(float(HEIGHT * WIDTH)).reshape(HEIGHT, WIDTH)


def everywhere() -> Tensor:
    return torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


def shot(name: str = "a", image: Tensor | None = None, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Shot:
    return Shot(name, torch.rand(3, HEIGHT, WIDTH) if image is None else image, None, size)


def test_agreement_by_hand() -> None:
    direct = torch.tensor([[0.0, 5.0, 10.0]])
    # n is 0, 0.5, 1 against 0, 0, 1, so that c is 1, 0.5, 1 before it is stretched.
    found = flip_confidence(direct, torch.tensor([[7.0, 7.0, 9.0]]))
    assert found.tolist() == [[1.0, 0.0, 1.0]]
    found = flip_confidence(direct, torch.tensor([[0.0, 4.0, 8.0]]))
    assert found.tolist() == [[1.0, 1.0, 1.0]]
    shades = flip_confidence(torch.tensor([[0.0, 1.0, 2.0, 4.0]]), torch.tensor([[0.0, 2.0, 3.0, 4.0]]))
    assert shades[0].tolist() == pytest.approx([1.0, 0.0, 0.0, 1.0])
    assert flip_confidence(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


def test_a_model_is_asked_twice_and_trusted_where_it_agrees() -> None:
    model = Lopsided()
    source = ModelDepth(MonoEstimator(model, device="cpu"))
    image = torch.rand(3, HEIGHT, WIDTH)
    found = source(shot(image=image))
    assert torch.equal(model.asked[1], image.flip(-1))
    assert isinstance(found, InverseDepthMap)
    bias = torch.linspace(0, 0.5, WIDTH)
    torch.testing.assert_close(found.values, image[0] + bias)
    torch.testing.assert_close(found.confidence, flip_confidence(image[0] + bias, image[0] + bias.flip(-1)))
    assert source.facts()["flip_test"] is True
    assert "device" not in source.facts()
    assert source.facts()["model_seed"] is None
    once = ModelDepth(MonoEstimator(model, device="cpu"), confidence=False)
    assert once(shot(image=image)).confidence is None
    assert len(model.asked) == 3
    assert once.facts() != source.facts()


def test_files_know_or_are_told_what_they_hold(tmp_path: Path) -> None:
    inverse = InverseDepthMap(ramp(), everywhere(), torch.rand(HEIGHT, WIDTH))
    inverse.save(tmp_path / "a.npz")
    inverse.save(tmp_path / "b.pfm")
    inverse.save(tmp_path / "c")
    io.write_image(tmp_path / "d.png", ramp().numpy().astype(np.uint16))
    DisparityMap(ramp() / 8, everywhere()).save(tmp_path / "e.png")
    DepthMap(ramp() / 10 + 1, everywhere(), scale=Scale.METRIC).save(tmp_path / "f.png")
    plain = FileDepth(tmp_path)
    for name in ("a", "c"):
        found = plain(shot(name))
        assert isinstance(found, InverseDepthMap)
        assert torch.equal(found.values, ramp())
        assert torch.equal(found.confidence, inverse.confidence)
    for name in ("b", "d"):
        found = FileDepth(tmp_path, "inverse-depth")(shot(name))
        assert isinstance(found, InverseDepthMap)
        assert torch.equal(found.values, ramp())
        assert bool(found.valid.all())
    px = FileDepth(tmp_path, "disparity")(shot("e"))
    assert isinstance(px, DisparityMap)
    assert torch.equal(px.values[1:], ramp()[1:] / 8)
    metres = FileDepth(tmp_path, "depth")(shot("f"))
    assert isinstance(metres, DepthMap)
    assert metres.scale == Scale.METRIC
    assert plain.files("c") == {"depth": tmp_path / "c" / "inverse_depth.npz"}
    for place in (tmp_path / "c", tmp_path / "a.npz"):
        assert torch.equal(FileDepth(place)(shot("whatever")).values, ramp())


def test_files_of_the_full_size_are_shrunk_with_the_picture(tmp_path: Path) -> None:
    DisparityMap(torch.full((HEIGHT, WIDTH), 6.0), everywhere()).save(tmp_path / "a.npz")
    DepthMap(torch.full((HEIGHT, WIDTH), 6.0), everywhere()).save(tmp_path / "b.npz")
    small = torch.rand(3, HEIGHT // 2, WIDTH // 2)
    for name, value in (("a", 3.0), ("b", 6.0)):
        found = FileDepth(tmp_path)(shot(name, small))
        assert (found.height, found.width) == (HEIGHT // 2, WIDTH // 2)
        assert found.values.unique().tolist() == [value]
    # A file of yet another size is not of this picture; it comes back as it is, and is refused later.
    assert FileDepth(tmp_path)(shot("a", small, (40, 60))).width == WIDTH


def test_resizing_keeps_unknown_pixels_apart() -> None:
    camera = Camera(intrinsics_matrix(50.0, 50.0, 11.5, 8.5), WIDTH, HEIGHT)
    values, valid = ramp(), everywhere()
    valid[:, 0] = False
    found = InverseDepthMap(values, valid, torch.ones(HEIGHT, WIDTH), camera).resized(HEIGHT * 2, WIDTH * 2)
    assert set(found.values.unique().tolist()) == set(ramp().unique().tolist())
    assert (~found.valid).sum() == HEIGHT * 2 * 2
    assert found.camera.focal_px == 100
    assert found.resized(found.height, found.width) is found


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("z", None, r"has no depth for z; expected z{.npz,.pfm,.png,.exr} or a result folder z/"),
        ("b", None, r"b\.pfm does not say what it holds; give --depth-kind"),
        ("a", "depth", r"a\.npz holds inverse-depth, not depth"),
        ("c", "disparity", r"c\.png is not a PNG file"),
    ],
)
def test_sentences(tmp_path: Path, name: str, kind: str | None, sentence: str) -> None:
    InverseDepthMap(ramp(), everywhere()).save(tmp_path / "a.npz")
    InverseDepthMap(ramp(), everywhere()).save(tmp_path / "b.pfm")
    (tmp_path / "c.png").write_text("no picture")
    with pytest.raises(WrongFile, match=sentence):
        FileDepth(tmp_path, kind)(shot(name))


def test_wrong_places_and_kinds(tmp_path: Path) -> None:
    with pytest.raises(WrongFile, match="none does not exist"):
        FileDepth(tmp_path / "none")
    with pytest.raises(WrongInput, match="'metres' is no kind of depth; take one of disparity"):
        FileDepth(tmp_path, "metres")
    with pytest.raises(WrongFile, match="does not exist"):
        PairDepth(StereoMatcher(BlockMatching(BlockConfig())), tmp_path / "none")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(WrongFile, match="is not an NPZ file or is cut short"):
        read_depth(tmp_path / "a.npz")


def test_a_pair_is_matched(tmp_path: Path) -> None:
    wide = torch.rand(3, 24, 70, generator=torch.Generator().manual_seed(1))
    left, right = wide[..., :64], wide[..., 4:68]
    for side, picture in (("left", left), ("right", right)):
        io.write_image(tmp_path / side / "a.png", images.image_from_tensor(picture))
    source = PairDepth(StereoMatcher(BlockMatching(BlockConfig()), max_disparity=8, device="cpu"), tmp_path / "right")
    assert source.files("a") == {"right": tmp_path / "right" / "a.png"}
    path = tmp_path / "left" / "a.png"
    found = source(Shot("a", left, path, (24, 64)))
    assert float(found.values.median()) == pytest.approx(4, abs=0.1)
    half = source(Shot("a", images.resize_image(left, 12, 32), path, (24, 64)))
    assert (half.height, half.width) == (12, 32)
    assert float(half.values.median()) == pytest.approx(2, abs=0.05)
    with pytest.raises(WrongFile, match="has no partner for b"):
        source.files("b")
    with pytest.raises(WrongInput, match="frames of a video have no right pictures"):
        source(Shot("a", left, None, (24, 64)))
    assert source.facts()["depth"] == "pair"
    assert isinstance(source, DepthSource)
