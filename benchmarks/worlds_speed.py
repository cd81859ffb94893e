"""How fast worlds are rendered, and in how much memory.

    python benchmarks/worlds_speed.py --size 768x384 --workers 2
    python benchmarks/worlds_speed.py --device cuda --workers 14 --batch-size 32 --pairs 2000

The first table is one process with one thread, scene by scene: what describing a scene, rays and light, smooth outlines
and the sensors each take. The second is a whole `PairStream` of the default recipe, from recipe to tensors, after
`--warm` pairs that fill the pool of textures.
"""

import argparse
import os
import platform
import statistics
import time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from depthweave import runtime
from depthweave.worlds import PairStream, Scene, Textures, Worlds, render_pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="768x384", help="WIDTHxHEIGHT")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=96)
    parser.add_argument("--warm", type=int, default=128)
    parser.add_argument("--stages", type=int, default=24, help="scenes of the first table, 0 = leave it out")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    worlds = Worlds(seed=arguments.seed, height=height, width=width)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    if arguments.stages:
        print_stages(worlds, arguments.stages)
    print_stream(worlds, arguments)


def print_stages(worlds: Worlds, count: int) -> None:
    torch.set_num_threads(1)
    texture_pool = Textures(worlds.seed, capacity=2 * worlds.pool)
    scenes = [worlds.scene(index) for index in range(count)]
    for scene in scenes:
        render_pair(scene, textures=texture_pool)

    def cost(smooth: bool, noise: bool) -> list[float]:
        def one(scene: Scene) -> float:
            start = time.process_time()
            render_pair(scene, textures=texture_pool, smooth=smooth, noise=noise)
            return time.process_time() - start

        return [one(scene) for scene in scenes]

    start = time.process_time()
    for index in range(count):
        worlds.scene(index)
    described = (time.process_time() - start) / count
    bare, outlines, full = cost(False, False), cost(True, False), cost(True, True)
    steps = {
        "describe the scene": described,
        "rays, light and truth": statistics.mean(bare),
        "smooth outlines": statistics.mean(outlines) - statistics.mean(bare),
        "sensors": statistics.mean(full) - statistics.mean(outlines),
    }
    print(f"| one thread, {count} scenes of {worlds.width}x{worlds.height} | ms per pair |\n|---|---|")
    for name, seconds in steps.items():
        print(f"| {name} | {seconds * 1e3:.0f} |")
    print(f"| all, slowest scene | {max(full) * 1e3:.0f} |\n")


def print_stream(worlds: Worlds, arguments: argparse.Namespace) -> None:
    device = runtime.choose_device(arguments.device)
    stream = iter(
        PairStream(
            worlds,
            batch_size=arguments.batch_size,
            device=arguments.device,
            workers=arguments.workers,
            count=arguments.warm + arguments.pairs,
        )
    )
    seen = 0
    while seen < arguments.warm:
        seen += len(next(stream))
    runtime.synchronize(device)
    start, before = time.perf_counter(), seen
    for batch in stream:
        seen += len(batch)
    runtime.synchronize(device)
    seconds = time.perf_counter() - start
    print(f"| device | workers | batch | pairs | seconds | pairs/s | {memory_label(device)} |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {device} | {arguments.workers} | {arguments.batch_size} | {seen - before} | {seconds:.1f} | "
        f"{(seen - before) / seconds:.2f} | {memory_mib(device):.0f} |"
    )


def memory_label(device: torch.device) -> str:
    return "MiB on the device" if device.type == "cuda" else "MiB of the largest worker"


def memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource

    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (children or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


if __name__ == "__main__":
    main()
