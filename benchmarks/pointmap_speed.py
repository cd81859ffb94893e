"""Time of pointmap networks on a clip: every frame encoded once, against every pair from its pictures.

    python benchmarks/pointmap_speed.py --frames 3 --size 512x384 --threads 2
    python benchmarks/pointmap_speed.py --device cuda --dtype bfloat16 --frames 60 --without-plain

Both ways have the same weights (random ones), the same pairs (``swin-2-noncyclic``, both directions) and run in turn in
one process. The plain way does for every directed pair what a network without a cache does: encodes both pictures,
with attention as explicit products and softmax, and heads with direct convolutions. Ours is `NetworkPairs` as
`reconstruct` uses it. Encoder passes are counted, and the answers of both ways compared.

Time on a busy machine is better told by CPU seconds (all threads) than by the clock; both are printed. The times per
stage say what a longer clip would take (--clip): the plain way 2 P encodings and P decodings, ours T and P, with
P = 4 T - 6.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import torch
from torch import Tensor

from depthweave import runtime
from depthweave.models.layers import rotary_blocks, winograd
from depthweave.models.pointmap.dust3r import Dust3r, Dust3rConfig
from depthweave.models.pointmap.mast3r import Mast3r, Mast3rConfig
from depthweave.models.pointmap.network import PointmapNetwork
from depthweave.models.pointmap.preparation import prepare_whole
from depthweave.pipelines.network_pairs import NetworkPairs
from depthweave.types import PairPointmaps


@dataclass
class Spent:
    """Seconds of a stage, by the clock and of all threads together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    calls: int = 0

    def per_call(self) -> float:
        return self.cpu_s / max(self.calls, 1)


class Stages:
    """Times of a network's two halves, and how often each picture went through them."""

    def __init__(self, network: PointmapNetwork, device: torch.device) -> None:
        self.device = device
        self.encode, self.decode, self.whole = Spent(), Spent(), Spent()
        self._network = network

    @contextmanager
    def watch(self) -> Iterator[None]:
        network = self._network
        encode, decode = network.encode, network.decode

        def timed_encode(images: Tensor) -> Tensor:
            with self.timed(self.encode, len(images)):
                return encode(images)

        def timed_decode(first: Tensor, *rest: object, **how: object) -> object:
            with self.timed(self.decode, len(first)):
                return decode(first, *rest, **how)  # type: ignore[arg-type]

        with (
            mock.patch.object(network, "encode", timed_encode),
            mock.patch.object(network, "decode", timed_decode),
            self.timed(self.whole, 1),
        ):
            yield

    @contextmanager
    def timed(self, spent: Spent, calls: int) -> Iterator[None]:
        runtime.synchronize(self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        runtime.synchronize(self.device)
        spent.wall_s += time.perf_counter() - wall
        spent.cpu_s += time.process_time() - cpu
        spent.calls += calls


def explicit_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """With the matrix of all pairs of tokens."""
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1) @ value


def our_way(estimator: NetworkPairs, clip: list[Tensor]) -> Iterator[PairPointmaps]:
    prepared = {}
    for number, picture in enumerate(clip):
        prepared.pop(number - estimator.window - 1, None)
        prepared[number] = estimator.prepare(picture)
        yield from estimator.estimate(number, prepared)


def plain_way(estimator: NetworkPairs, clip: list[Tensor]) -> Iterator[PairPointmaps]:
    network, device, dtype = estimator.network, estimator.device, estimator.dtype
    half = dtype != torch.float32
    count = len(clip)
    pairs = [(t, t + step) for step in (1, 2) for t in range(count - step)]
    shown = [prepare_whole(picture, estimator.size)[None].to(device) for picture in clip]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(rotary_blocks, "attend", explicit_attention))
        stack.enter_context(mock.patch.object(winograd, "saves_time", return_value=False))
        stack.enter_context(torch.inference_mode())
        stack.enter_context(torch.autocast(device.type, dtype=dtype) if half else nullcontext())
        for first, second in [*pairs, *((second, first) for first, second in pairs)]:
            answer = network(shown[first], shown[second])
            maps = [
                value[0].cpu() for view in (answer.first, answer.second) for value in (view.points, view.confidence)
            ]
            yield PairPointmaps(first, second, maps[0], maps[2], maps[1], maps[3])


def run(
    way: Callable[..., Iterator[PairPointmaps]], estimator: NetworkPairs, clip: list[Tensor]
) -> tuple[Stages, dict]:
    stages = Stages(estimator.network, estimator.device)
    with stages.watch():
        # Every 16th pixel is enough to compare by; all pairs together would not fit.
        found = {(pair.first, pair.second): pair.points_second[::16, ::16].clone() for pair in way(estimator, clip)}
    return stages, found


def moving_picture(count: int, height: int, width: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 8, (width + 8 * count) // 8, generator=generator)
    wide = torch.nn.functional.interpolate(coarse, size=(height, width + 8 * count), mode="bicubic")[0].clamp(0, 1)
    return [wide[:, :, 8 * k : 8 * k + width].contiguous() for k in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["dpt", "linear", "mast3r"], default="dpt")
    parser.add_argument("--size", default="512x384", metavar="WIDTHxHEIGHT")
    parser.add_argument("--frames", type=int, default=3, help="of the clip that is run, at least 2")
    parser.add_argument("--clip", type=int, default=10, help="frames of the clip that is reckoned up from the stages")
    parser.add_argument("--threads", type=int, default=runtime.available_cores())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="auto, float32, float16 or bfloat16")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--without-plain", action="store_true", help="our way only")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = Mast3r(Mast3rConfig()) if arguments.model == "mast3r" else Dust3r(Dust3rConfig(head=arguments.model))
    estimator = NetworkPairs(
        network, size=max(width, height), batch=arguments.batch, device=arguments.device, dtype=arguments.dtype
    )
    clip = moving_picture(arguments.frames, height, width)
    small = moving_picture(2, height // 4, width // 4)
    for _ in range(2):  # nothing of the first run counts: threads start, tables are made
        list(our_way(estimator, small))
    ways = {"ours": our_way} if arguments.without_plain else {"plain": plain_way, "ours": our_way}
    results = {name: run(way, estimator, clip) for name, way in ways.items()}
    where = f"{arguments.threads} threads, {estimator.device} {arguments.dtype}, torch {torch.__version__}"
    print(f"{arguments.model} {arguments.size}, {arguments.frames} frames, {where}, {runtime.processor_name()}")
    print("| way | encoder passes | directed pairs | wall s | CPU s | CPU s per encoding | CPU s per decoding |")
    print("|---|---|---|---|---|---|---|")
    for name, (stages, _) in results.items():
        cells = (stages.whole.wall_s, stages.whole.cpu_s, stages.encode.per_call(), stages.decode.per_call())
        numbers = " | ".join(f"{cell:.2f}" for cell in cells)
        print(f"| {name} | {stages.encode.calls} | {stages.decode.calls} | {numbers} |")
    ours, found = results["ours"]
    print(f"{arguments.frames / ours.whole.wall_s:.2f} frames/s")
    if "plain" not in results:
        return
    plain, wanted = results["plain"]
    off = max(float((found[pair] - wanted[pair]).abs().max() / wanted[pair].std()) for pair in wanted)
    passes = 4 * arguments.clip - 6
    slow = 2 * passes * plain.encode.per_call() + passes * plain.decode.per_call()
    fast = arguments.clip * ours.encode.per_call() + passes * ours.decode.per_call()
    print(
        f"this clip: {plain.whole.cpu_s / ours.whole.cpu_s:.2f} times faster (CPU s), points differ by {off:.1e} sigma"
    )
    print(f"{arguments.clip} frames by the stages: {slow:.0f} against {fast:.0f} CPU s, {slow / fast:.2f} times faster")
    alone = 2 * plain.encode.per_call() + plain.decode.per_call()
    print(f"one pair: {alone:.1f} against {2 * ours.encode.per_call() + ours.decode.per_call():.1f} CPU s")


if __name__ == "__main__":
    main()
