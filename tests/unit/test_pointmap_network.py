import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from depthweave.errors import WrongInput
from depthweave.models.layers import rotary_blocks
from depthweave.models.layers.rope import rotate, rotation_table
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig
from depthweave.models.pointmap.heads import DescriptorHead, LinearHead
from depthweave.models.pointmap.mast3r import Mast3r, Mast3rConfig
from depthweave.models.pointmap.network import PointmapNetwork
from depthweave.models.pointmap.preparation import prepare_cropped, prepare_whole, whole_size

CPU = torch.device("cpu")


def made(kind: str) -> PointmapNetwork:
    torch.manual_seed(3)
    if kind == "mast3r":
        return Mast3r(Mast3rConfig.nano()).eval()
    return Dust3r(Dust3rConfig.nano("dpt" if kind == "dpt" else "linear")).eval()


def pictures(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


def explicit(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1) @ value


class TestRotation:
    def test_by_hand(self) -> None:
        """Width 8: four channels turn with the row, four with the column, by one and by a tenth of a radian."""
        table = rotation_table(3, 4, 8, 100.0, CPU)
        token = 2 * 4 + 3  # row 2, column 3
        for channel, partner, angle in ((0, 2, 2.0), (1, 3, 0.2), (4, 6, 3.0), (5, 7, 0.3)):
            unit = torch.zeros(1, 1, 12, 8)
            unit[..., channel] = 1
            wanted = torch.zeros(8)
            wanted[channel], wanted[partner] = math.cos(angle), math.sin(angle)
            torch.testing.assert_close(rotate(unit, table)[0, 0, token], wanted)
        torch.testing.assert_close(rotate(torch.ones(1, 1, 12, 8), table)[0, 0, 0], torch.ones(8))

    def test_products_depend_on_the_offset_alone(self) -> None:
        table = rotation_table(5, 6, 16, 100.0, CPU)
        query, key = torch.randn(2, 1, 1, 1, 16)
        turned = (rotate(query.expand(1, 1, 30, 16), table) @ rotate(key.expand(1, 1, 30, 16), table).mT)[0, 0]
        by_place = turned.reshape(5, 6, 5, 6)
        torch.testing.assert_close(by_place[1, 1, 3, 4], by_place[2, 2, 4, 5])
        assert not torch.isclose(by_place[1, 1, 3, 4], by_place[1, 1, 4, 3])

    def test_a_table_from_inference_serves_a_training(self) -> None:
        net = made("linear")
        with torch.inference_mode():
            net(*pictures(2, 48, 16).split(1))
        net(*pictures(2, 48, 16).split(1)).first.points.mean().backward()
        assert all(
            parameter.grad is not None and bool(parameter.grad.isfinite().all())
            for name, parameter in net.named_parameters()
            if not name.startswith("downstream_head2") and not name.startswith("dec_blocks2.1.")
        )


@pytest.mark.parametrize("kind", ["linear", "dpt", "mast3r"])
class TestNetwork:
    def test_frames_encoded_once_serve_every_pair(self, kind: str) -> None:
        net, images = made(kind), pictures(3, 32, 48)
        with torch.inference_mode():
            tokens = net.encode(images)
            batch = net.decode(tokens[[0, 1, 2]], tokens[[1, 0, 0]], (32, 48))
            alone = net(images[2:], images[:1])
        torch.testing.assert_close(batch.first.points[2:], alone.first.points, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batch.second.confidence[2:], alone.second.confidence, rtol=1e-4, atol=1e-5)
        assert batch.first.points.shape == (3, 32, 48, 3)
        assert not torch.allclose(batch.first.points[0], batch.second.points[1])

    def test_attention_is_the_explicit_one(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        net, images = made(kind), pictures(2, 32, 48)
        with torch.inference_mode():
            fast = net(images[:1], images[1:])
            monkeypatch.setattr(rotary_blocks, "attend", explicit)
            plain = net(images[:1], images[1:])
        torch.testing.assert_close(fast.first.points, plain.first.points, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fast.second.points, plain.second.points, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(("height", "width"), [(16, 16), (48, 16), (48, 80)])
    def test_any_grid_odd_or_portrait(self, kind: str, height: int, width: int) -> None:
        net, images = made(kind), pictures(2, height, width)
        with torch.inference_mode():
            quick = net(images[:1], images[1:])
        slow = net(images[:1], images[1:])  # recorded for training: no fast path
        for found, wanted in ((quick.first, slow.first), (quick.second, slow.second)):
            assert found.points.shape == (1, height, width, 3)
            assert bool((found.confidence >= 1).all())
            torch.testing.assert_close(found.points, wanted.points.detach(), rtol=1e-3, atol=1e-5)

    def test_half_precision_ends_at_the_heads(self, kind: str) -> None:
        net, images = made(kind), pictures(2, 32, 32)
        with torch.inference_mode():
            full = net(images[:1], images[1:])
            with torch.autocast("cpu", torch.bfloat16):
                half = net(images[:1], images[1:])
        assert half.first.points.dtype == half.first.confidence.dtype == torch.float32
        torch.testing.assert_close(half.first.points, full.first.points, rtol=0.1, atol=0.05)
        # Numbers of a head in half precision would have at most 8 bits.
        rounded = half.first.points.bfloat16().float()
        assert float((rounded != half.first.points).float().mean()) > 0.9

    def test_sizes_that_do_not_fit(self, kind: str) -> None:
        net = made(kind)
        with pytest.raises(WrongInput, match="a picture of 40x32 px does not split into patches of 16"):
            net.encode(pictures(1, 32, 40))
        tokens = net.encode(pictures(1, 32, 32))
        with pytest.raises(WrongInput, match="4 tokens are not those of a picture of 48x32 px"):
            net.decode(tokens, tokens, (32, 48))


def constant_head(net: PointmapNetwork, raw: tuple[float, float, float, float]) -> None:
    head = net.downstream_head1
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.proj.weight.zero_()
        head.proj.bias.copy_(torch.tensor(raw).repeat_interleave(256))


def test_points_and_confidence_by_hand() -> None:
    net, images = made("linear"), pictures(2, 16, 32)
    constant_head(net, (3.0, 4.0, 0.0, math.log(2)))
    with torch.inference_mode():
        view = net(images[:1], images[1:]).first
    length = math.exp(5) - 1
    torch.testing.assert_close(view.points, torch.tensor([0.6 * length, 0.8 * length, 0.0]).expand(1, 16, 32, 3))
    torch.testing.assert_close(view.confidence, torch.full((1, 16, 32), 3.0))
    constant_head(net, (0.0, 0.0, 0.0, 0.0))
    with torch.inference_mode():
        assert not bool(net(images[:1], images[1:]).first.points.any())


def test_pixels_of_a_patch_in_their_places() -> None:
    net, images = made("linear"), pictures(2, 32, 16)
    head = net.downstream_head1
    assert isinstance(head, LinearHead)
    with torch.no_grad():
        head.proj.weight.zero_()
        head.proj.bias.zero_()
        head.proj.bias[3 * 256 + 5 * 16 + 2] = 1  # the confidence at row 5, column 2
    with torch.inference_mode():
        confidence = net(images[:1], images[1:]).first.confidence[0]
    assert confidence.gt(2.5).nonzero().tolist() == [[5, 2], [21, 2]]


class TestDescriptors:
    def test_of_length_one_with_a_confidence_of_their_own(self) -> None:
        net, images = made("mast3r"), pictures(2, 32, 48)
        with torch.inference_mode():
            answer = net(images[:1], images[1:])
        for view in (answer.first, answer.second):
            assert view.descriptors is not None
            assert view.descriptor_confidence is not None
            assert view.descriptors.shape == (1, 32, 48, 6)
            torch.testing.assert_close(view.descriptors.norm(dim=-1), torch.ones(1, 32, 48))
            assert 0 < float(view.descriptor_confidence.min()) < 1

    def test_left_away_where_nobody_asks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        net, images = made("mast3r"), pictures(2, 32, 48)
        with torch.inference_mode():
            tokens = net.encode(images)
            full = net.decode(tokens[:1], tokens[1:], (32, 48))
            monkeypatch.delattr(DescriptorHead, "describe")
            spare = net.decode(tokens[:1], tokens[1:], (32, 48), descriptors=False)
        assert spare.first.descriptors is None
        assert torch.equal(spare.first.points, full.first.points)

    def test_without_a_confidence_of_their_own_it_is_the_points(self) -> None:
        net = Mast3r(replace(Mast3rConfig.nano(), two_confidences=False)).eval()
        with torch.inference_mode():
            view = net(*pictures(2, 32, 32).split(1)).second
        assert view.descriptor_confidence is not None
        assert torch.equal(view.descriptor_confidence, view.confidence)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder_heads": 5}, "the encoder of 2 blocks with 48 channels and 5 heads cannot be built"),
        ({"decoder_depth": 0}, "the decoder of 0 blocks"),
        ({"head": "dpt"}, "needs at least 10 blocks, not 2; take the linear head"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_sizes_that_no_network_has(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        replace(Dust3rConfig.nano(), **changes)  # type: ignore[arg-type]


def test_mast3r_needs_deep_decoders_and_a_descriptor() -> None:
    with pytest.raises(WrongInput, match="needs at least 10 blocks, not 9"):
        Mast3rConfig(decoder_depth=9)
    with pytest.raises(WrongInput, match="descriptor_dim=0 leaves no descriptor"):
        Mast3rConfig(descriptor_dim=0)


class TestPreparation:
    @pytest.mark.parametrize(
        ("given", "size", "wanted"),
        [
            ((480, 640), 512, (384, 512)),
            ((640, 480), 512, (512, 384)),
            ((968, 1296), 512, (384, 512)),
            ((352, 640), 512, (288, 512)),
            ((512, 512), 512, (512, 512)),
            ((10, 1000), 512, (16, 512)),
            ((480, 640), 224, (224, 304)),
        ],
    )
    def test_whole_sizes(self, given: tuple[int, int], size: int, wanted: tuple[int, int]) -> None:
        assert whole_size(*given, size) == wanted
        assert tuple(prepare_whole(torch.zeros(3, *given), size).shape[1:]) == wanted

    def test_the_whole_picture_is_seen(self) -> None:
        """A ramp stays a ramp from border to border; the crop cuts its ends off."""
        ramp = torch.linspace(0, 1, 330).expand(3, 160, 330).contiguous()
        whole, cropped = prepare_whole(ramp, 128), prepare_cropped(ramp, 128)
        assert whole.shape == (3, 64, 128)
        wanted = (torch.arange(128) + 0.5) / 128 * 2 - 1
        assert float((whole[0, 32] - wanted).abs().max()) < 0.02
        square = prepare_cropped(ramp, 224)
        assert square.shape == (3, 224, 224)
        assert float(square.min()) > -0.6
        assert cropped.shape[1] == 48

    def test_values_span_minus_one_to_one(self) -> None:
        dark, bright = torch.zeros(3, 20, 30), torch.ones(3, 20, 30)
        for prepare in (prepare_whole, prepare_cropped):
            assert float(prepare(dark, 64).max()) == -1
            assert float(prepare(bright, 64).min()) == 1
