"""Layers that several networks share: fast paths against their plain twins, formulas against values by hand."""

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from depthweave.errors import WrongInput
from depthweave.models.layers import strips as room
from depthweave.models.layers.correlation import RowCorrelation
from depthweave.models.layers.dinov2 import SIZES, TABLE_SIDE, VisionTransformer, encoder_of, transformer_size
from depthweave.models.layers.dpt import DptDecoder, resize_aligned
from depthweave.models.layers.encoders import Norm, Trunk, conv_norm
from depthweave.models.layers.fast_trunk import run_trunk
from depthweave.models.layers.fast_update import Recurrence
from depthweave.models.layers.strips import each_strip, saves_time, strips
from depthweave.models.layers.update import UpdateBlock, upsample_convex
from depthweave.models.layers.winograd import RowWinograd, convolve


@pytest.fixture(params=[room.STRIP_BYTES, 1 << 12], ids=["one strip", "many strips"])
def _strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STRIP_BYTES", request.param)


@pytest.fixture
def generator() -> Iterator[torch.Generator]:
    with torch.random.fork_rng():
        yield torch.manual_seed(3)


def direct(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of an (h, w, c) image in float64."""
    wide = F.conv2d(x.double().permute(2, 0, 1)[None], weight.double(), padding=1)[0].permute(1, 2, 0)
    return wide if bias is None else wide + bias.double()


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    """Within ``tolerance`` of the largest wanted value."""
    found, wanted = found.detach().double(), wanted.detach().double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * float(wanted.abs().max()))


@pytest.mark.usefixtures("generator", "_strips")
@pytest.mark.parametrize("width", [1, 2, 17])
def test_a_winograd_convolution_is_the_convolution(width: int) -> None:
    weight, bias = torch.randn(7, 5, 3, 3), torch.randn(7)
    kernel, biased = RowWinograd(weight), RowWinograd(weight, bias)
    for height in range(1, 14):
        x, add = torch.randn(height, width, 5), torch.randn(height, width, 7)
        close(kernel(x), direct(x, weight))
        close(biased(x), direct(x, weight, bias))
        close(kernel(x, add=add), direct(x, weight) + add)
        out = torch.full((height, width, 7), torch.nan)
        assert biased(x, out=out, add=add) is out
        close(out, direct(x, weight, bias) + add)


@pytest.mark.usefixtures("generator", "_strips")
@pytest.mark.parametrize("height", [1, 4, 13, 64])
def test_what_happens_around_a_winograd_convolution(height: int) -> None:
    """The padding stays zero whatever `before` makes of zeros, and `after` sees every row once."""
    weight, x = torch.randn(6, 8, 3, 3), torch.randn(height, 9, 8)
    kept, rows = x.clone(), []

    def double(strip: Tensor, where: tuple[int, int]) -> None:
        assert strip.shape[0] == where[1] - where[0]
        rows.append(where)
        strip.mul_(2)

    found = RowWinograd(weight)(x, before=lambda strip: strip.abs() + 1, after=double)
    close(found, 2 * direct(x.abs() + 1, weight))
    assert torch.equal(x, kept)
    assert [row for first, last in sorted(rows) for row in range(first, last)] == list(range(height))
    if height == 64:
        assert (len(rows) > 1) == (room.STRIP_BYTES == 1 << 12)


@pytest.mark.usefixtures("generator")
def test_rounding_of_a_winograd_convolution_stays_small() -> None:
    """A direct one has 2e-7; ten products for eight rows 3e-6."""
    weight, x = torch.randn(64, 128, 3, 3), torch.randn(48, 40, 128)
    exact = direct(x, weight)
    assert (RowWinograd(weight)(x) - exact).square().mean().sqrt() < 5e-6 * exact.std()


@pytest.mark.usefixtures("generator")
@pytest.mark.parametrize(("channels", "side", "stride"), [(40, 3, 1), (40, 3, 2), (8, 3, 1), (40, 1, 1), (3, 7, 2)])
def test_convolve_takes_any_convolution(channels: int, side: int, stride: int) -> None:
    x, weight, bias = torch.randn(2, channels, 11, 6), torch.randn(9, channels, side, side), torch.randn(9)
    wanted = F.conv2d(x, weight, bias, stride, side // 2)
    with torch.inference_mode():
        found = convolve(x, weight, bias, stride)
    close(found, wanted)


def test_fast_paths_are_for_inference_in_float32_on_a_cpu() -> None:
    x = torch.zeros(1)
    assert not saves_time(x)
    with torch.no_grad():
        assert saves_time(x)
        assert not saves_time(x.double())
        assert not saves_time(x.to("meta"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not saves_time(x)


def test_strips_cover_all_rows_in_nearly_equal_parts() -> None:
    for height, row, multiple in product((1, 3, 4, 5, 97, 540), (1, 6 * 960 * 64, 10**8), (1, 4)):
        found = strips(height, row, multiple)
        heights = [last - first for first, last in found]
        assert found[0][0] == 0
        assert found[-1][1] == height
        assert all(end == start for (_, end), (start, _) in pairwise(found))
        assert min(heights) > 0
        assert all(rows % multiple == 0 for rows in heights[:-1])
        assert heights[0] == max(heights)
        assert heights[0] <= multiple or heights[0] * row <= room.STRIP_BYTES
        assert len(found) == 1 or heights[0] - heights[-1] < multiple * len(found)


def randomise(module: nn.Module) -> None:
    """Every normalisation gets statistics and weights of its own."""
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1, 0.2)
        nn.init.normal_(norm.bias, 0, 0.2)
        nn.init.normal_(norm.running_mean, 0, 0.2)
        nn.init.uniform_(norm.running_var, 0.01, 1.5)


@pytest.mark.usefixtures("generator")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_a_folded_normalisation_is_the_normalisation(kind: type[nn.Module], training: bool) -> None:
    """With variances so small that what is added to them counts."""
    conv, norm = nn.Conv2d(5, 7, 3, padding=1), kind(7).train(training)
    randomise(norm)
    if isinstance(norm, nn.BatchNorm2d):
        norm.running_var.mul_(1e-4)
    x = 1e-2 * torch.randn(2, 5, 6, 9)
    wanted = norm(conv(x))
    close(conv_norm(conv, norm, x), wanted)
    with torch.inference_mode():
        close(conv_norm(conv, norm, x), wanted)


@pytest.mark.usefixtures("generator", "_strips")
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize(("downsample", "size", "first"), [(2, (37, 53), 32), (3, (41, 22), 32), (2, (21, 18), 16)])
def test_the_fast_trunk_is_the_trunk(norm: Norm, downsample: int, size: tuple[int, int], first: int) -> None:
    trunk = Trunk(norm, (first, 36, 40), downsample).eval()
    randomise(trunk)
    # A faint picture, so that what keeps a variance from zero counts.
    images = torch.randn(2, 3, *size) * torch.tensor([1.0, 3e-3]).reshape(2, 1, 1, 1) + 0.3
    kept, wanted = images.clone(), trunk.trunk(images).detach()
    with torch.inference_mode():
        found = run_trunk(trunk, images)
    assert torch.equal(images, kept)
    assert found.shape == (2, 40, -(-size[0] // 2**downsample), -(-size[1] // 2**downsample))
    close(found, wanted, 1e-4 if norm == "instance" else 1e-5)


@pytest.mark.usefixtures("generator", "_strips")
def test_fast_iterations_are_the_iterations() -> None:
    block = UpdateBlock(18, hidden=32, upsample=4)
    sizes = [(13, 19), (7, 10), (4, 5)]
    states = [torch.tanh(torch.randn(2, 32, *size)) for size in sizes]
    context = [torch.randn(2, 96, *size) for size in sizes]
    kept = [state.clone() for state in states]
    plain = Recurrence(block, states, context)
    with torch.inference_mode():
        fast = Recurrence(block, states, context)
    for _ in range(5):
        seen, disparity = 3 * torch.randn(2, 18, 13, 19), 5 * torch.rand(2, 1, 13, 19)
        wanted = plain.step(seen, disparity).detach()
        with torch.inference_mode():
            found = fast.step(seen, disparity)
            close(found, wanted)
            for own, other in zip(fast.states, plain.states, strict=True):
                close(own, other.detach())
    assert all(torch.equal(state, before) for state, before in zip(states, kept, strict=True))
    assert float((plain.states[0] - states[0]).detach().abs().mean()) > 0.1


def test_correlation_by_hand() -> None:
    """V(x, x') = x-th left times x'-th right: rows (10 20 30), (20 40 60), (30 60 90); halved 15, 30, 45."""
    left = torch.tensor([1.0, 2.0, 3.0]).reshape(1, 1, 1, 3)
    correlation = RowCorrelation(left, 10 * left, levels=2)

    def around(disparity: float) -> list[list[float]]:
        return correlation.around(torch.full((1, 1, 1, 3), disparity), 1)[0, :, 0].T.tolist()

    assert around(0.0) == [[0, 10, 20, 0, 15, 0], [20, 40, 60, 15, 15, 0], [60, 90, 0, 45, 0, 0]]
    assert around(0.25)[0] == [0, 7.5, 17.5, 0, 15 * 0.875, 15 * 0.125]
    assert around(-1.5)[0] == [15, 25, 15, 15 * 0.75, 15 * 0.25, 0]
    scaled = correlation.at_scales(torch.ones(1, 1, 1, 3), (0.5, 2.0), 0)[0, :, 0].T.tolist()
    assert scaled == [[5, 0], [30, 0], [75, 30]]


def test_correlation_is_over_the_root_of_the_channels() -> None:
    left, right = torch.full((1, 4, 1, 2), 3.0), torch.full((1, 4, 1, 2), 5.0)
    found = RowCorrelation(left, right, levels=1).around(torch.zeros(1, 1, 1, 2), 0)
    assert found.tolist() == [[[[30.0, 30.0]]]]


def sampled(left: Tensor, right: Tensor, places: list[tuple[int, float]], disparity: Tensor, radius: int) -> Tensor:
    """The look-up as the original does it: height-1 pictures, sampled on a grid."""
    b, c, h, w = left.shape
    volume = torch.einsum("bcyx,bcyu->byxu", left, right).reshape(b * h * w, 1, 1, -1) / c**0.5
    found = []
    for level, scale in places:
        level_volume = F.avg_pool2d(volume, (1, 2**level))
        at = torch.arange(float(w)) - scale * disparity
        at = (at / 2**level).reshape(b * h * w, 1, 1) + torch.arange(-radius, radius + 1.0)
        grid = torch.stack([2 * at / (level_volume.shape[-1] - 1) - 1, torch.zeros_like(at)], -1)
        found.append(F.grid_sample(level_volume, grid, padding_mode="zeros", align_corners=True))
    return torch.cat([values.reshape(b, h, w, -1) for values in found], -1).permute(0, 3, 1, 2)


@pytest.mark.usefixtures("generator")
@pytest.mark.parametrize("stored_bytes", [1 << 30, 5000, 1], ids=["stored", "three rows at a time", "row by row"])
def test_correlation_is_what_sampling_a_grid_gives(stored_bytes: int) -> None:
    features = [torch.randn(2, 6, 5, 13, requires_grad=True) for _ in range(2)]
    disparity = 20 * torch.rand(2, 1, 5, 13) - 4
    own = RowCorrelation(*features, levels=3, stored_bytes=stored_bytes)
    scales = (0.125, 1.0, 2.0)
    for found, wanted in (
        (own.around(disparity, 4), sampled(*features, [(0, 1.0), (1, 1.0), (2, 1.0)], disparity, 4)),
        (own.at_scales(disparity, scales, 2), sampled(*features, [(0, scale) for scale in scales], disparity, 2)),
    ):
        close(found, wanted)
        weights = torch.randn_like(wanted)
        slopes = [torch.autograd.grad((f * weights).sum(), features, retain_graph=True) for f in (found, wanted)]
        for got, want in zip(*slopes, strict=True):
            close(got, want)


def test_a_large_volume_is_not_kept() -> None:
    left = torch.randn(1, 4, 3, 10)
    stored = RowCorrelation(left, left, levels=2)._stored
    assert stored is not None
    # The second level has half the columns, and both have a margin.
    size = sum(level.numel() for level in stored) * 4
    assert RowCorrelation(left, left, levels=2, stored_bytes=2 * size)._stored is not None
    assert RowCorrelation(left, left, levels=2, stored_bytes=size // 2)._stored is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3e38, -1e9])
def test_correlation_far_away_or_nowhere_is_zero(value: float) -> None:
    left = torch.ones(1, 2, 1, 6)
    correlation = RowCorrelation(left, left, levels=2)
    disparity = torch.zeros(1, 1, 1, 6)
    disparity[..., 2] = value
    for found in (correlation.around(disparity, 4), correlation.at_scales(disparity, (0.5, 2.0), 2)):
        assert bool((found[..., 2] == 0).all())
        assert bool((found[..., 3] != 0).any())
        assert bool(found.isfinite().all())


def choose(neighbour: int, factor: int, h: int, w: int) -> Tensor:
    """A mask that takes one of 9 neighbours everywhere."""
    mask = torch.zeros(1, 9, factor**2, h, w)
    mask[:, neighbour] = 1e4
    return mask.reshape(1, -1, h, w)


def test_convex_upsampling_by_hand() -> None:
    disparity = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    centre = upsample_convex(disparity, choose(4, 2, 2, 2), 2)
    assert centre[0, 0].tolist() == [[2, 2, 4, 4], [2, 2, 4, 4], [6, 6, 8, 8], [6, 6, 8, 8]]
    from_left = upsample_convex(disparity, choose(3, 2, 2, 2), 2)
    assert from_left[0, 0].tolist() == [[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 6, 6], [0, 0, 6, 6]]
    from_below = upsample_convex(disparity, choose(7, 2, 2, 2), 2)
    assert from_below[0, 0].tolist() == [[6, 6, 8, 8], [6, 6, 8, 8], [0, 0, 0, 0], [0, 0, 0, 0]]
    mask = choose(4, 2, 2, 2).reshape(1, 9, 2, 2, 2, 2)
    mask[:, 5, 0, 1] = 2e4  # in the upper right corner of every cell: the right neighbour
    corner = upsample_convex(disparity, mask.reshape(1, -1, 2, 2), 2)
    assert corner[0, 0].tolist() == [[2, 4, 4, 0], [2, 2, 4, 4], [6, 8, 8, 0], [6, 6, 8, 8]]
    even = upsample_convex(disparity, torch.zeros(1, 36, 2, 2), 2)
    torch.testing.assert_close(even, torch.full((1, 1, 4, 4), 2 * 10 / 9))


def cubic(t: Tensor) -> Tensor:
    """Keys's kernel with a = -3/4."""
    t = t.abs()
    near = (1.25 * t - 2.25) * t**2 + 1
    far = -0.75 * (((t - 5) * t + 8) * t - 4)
    return torch.where(t <= 1, near, torch.where(t < 2, far, torch.zeros_like(t)))


def bicubic_matrix(count: int) -> Tensor:
    """From 37 to ``count`` samples at (i + 1/2) 37 / (count + 0.1) - 1/2, borders repeated."""
    at = (torch.arange(count, dtype=torch.float64) + 0.5) * TABLE_SIDE / (count + 0.1) - 0.5
    matrix = torch.zeros(count, TABLE_SIDE, dtype=torch.float64)
    for step in range(-1, 3):
        place = at.floor() + step
        matrix.scatter_add_(1, place.long().clamp(0, TABLE_SIDE - 1)[:, None], cubic(at - place)[:, None])
    return matrix


@pytest.mark.usefixtures("generator")
def test_positions_are_sampled_as_officially() -> None:
    transformer = VisionTransformer(transformer_size("nano")).requires_grad_(False)
    nn.init.normal_(transformer.pos_embed)
    assert torch.equal(transformer.positions(37, 37), transformer.pos_embed)
    table = transformer.pos_embed[0, 1:].reshape(37, 37, -1).permute(2, 0, 1)
    for rows, columns in ((10, 14), (37, 38), (1, 3), (50, 37)):
        found = transformer.positions(rows, columns)
        assert torch.equal(found[:, 0], transformer.pos_embed[:, 0])
        wanted = bicubic_matrix(rows) @ table.double() @ bicubic_matrix(columns).T
        close(found[0, 1:], wanted.flatten(1).T, 1e-5)
        resized = F.interpolate(table[None], (rows, columns), mode="bicubic")[0].flatten(1).T
        assert float((found[0, 1:] - resized).abs().max()) > 0.01


def test_tokens_come_from_the_tapped_blocks() -> None:
    transformer = VisionTransformer(transformer_size("nano")).requires_grad_(False)
    images = torch.rand(2, 3, 28, 42)
    own = transformer(images)
    assert [tap.patches.shape for tap in own] == [(2, 48, 2, 3)] * 4
    assert [tap.cls.shape for tap in own] == [(2, 48)] * 4
    third, first = transformer(images, (0, 2))[1], transformer(images, (0,))[0]
    assert torch.equal(third.patches, own[2].patches)
    assert torch.equal(first.cls, own[0].cls)
    with pytest.raises(WrongInput, match="43x28 px does not split into patches of 14"):
        transformer(torch.rand(2, 3, 28, 43))


def test_sizes_of_transformers_are_known_by_name_and_by_width() -> None:
    for name, size in SIZES.items():
        assert transformer_size(name) is size
        assert encoder_of({"a.cls_token": torch.zeros(1, 1, size.dim)}, "a.") == name
        assert size.dim % size.heads == 0
        assert max(size.taps) == size.depth - 1
    with pytest.raises(WrongInput, match="no encoder 'vith'; choose one of vits"):
        transformer_size("vith")
    with pytest.raises(WrongInput, match=r"b\.cls_token is missing"):
        encoder_of({"a.cls_token": torch.zeros(1, 1, 48)}, "b.")
    with pytest.raises(WrongInput, match="100 wide, which none of vits"):
        encoder_of({"cls_token": torch.zeros(1, 1, 100)}, "")


def test_resizing_keeps_corners_on_corners() -> None:
    found = resize_aligned(torch.tensor([[0.0, 4.0], [8.0, 12.0]])[None, None], (3, 5))
    assert found[0, 0].tolist() == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12]]
    assert resize_aligned(found, (3, 5)) is found


@pytest.mark.usefixtures("generator")
def test_a_decoder_enlarges_the_finest_map_by_its_factor() -> None:
    size = transformer_size("nano")
    decoder = DptDecoder(size, head=True).requires_grad_(False)
    laterals = decoder.laterals([torch.randn(1, size.dim, 3, 5) for _ in range(4)])
    assert [tuple(map_.shape) for map_ in laterals] == [(1, 16, 12, 20), (1, 16, 6, 10), (1, 16, 3, 5), (1, 16, 2, 3)]
    plain, doubled = decoder.fuse(laterals, factor=1), decoder.fuse(laterals, factor=2)
    assert plain.shape == (1, 16, 12, 20)
    assert doubled.shape == (1, 16, 24, 40)
    torch.testing.assert_close(doubled, resize_aligned(plain, (24, 40)))  # only a 1x1 convolution follows
    assert decoder.head(doubled, (42, 70)).shape == (1, 1, 42, 70)
    assert not hasattr(DptDecoder(size, head=False).scratch, "output_conv1")


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
def test_every_strip_is_worked_on_once_whatever_the_threads(threads: int, count: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done: list[tuple[int, int]] = []
        modes: list[bool] = []

        def work(parts: Sequence[tuple[int, int]]) -> None:
            modes.append(torch.is_inference_mode_enabled())
            done.extend(parts)

        with torch.inference_mode():
            each_strip([(row, row + 1) for row in range(count)], work)
        assert sorted(done) == [(row, row + 1) for row in range(count)]
        assert all(modes)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_failure_in_a_strip_comes_out() -> None:
    def work(parts: Sequence[tuple[int, int]]) -> None:
        raise ValueError(parts[0])

    with pytest.raises(ValueError, match="0"), torch.no_grad():
        each_strip([(row, row + 1) for row in range(8)], work)
