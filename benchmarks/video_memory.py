"""Peak memory and speed of `depthweave video` on a long clip.

    python benchmarks/video_memory.py
    python benchmarks/video_memory.py --frames 60 --size 640x480 -- -m stereodiff-offline --formats exr

A clip of textured boards at several depths is drawn and written as pictures, then the command runs in a process of its
own, with what stands after ``--``. Printed are the peak of its resident memory, frames per second of the whole command
and of its parts, and of a run over the finished folder.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from depthweave import io

_BOARDS = 14
_SWAY = 0.12
"""Amplitude of the camera's way to and fro, as a share of the width, for a board at depth 1."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--size", default="512x384", help="WIDTHxHEIGHT")
    parser.add_argument("--keep", type=Path, help="folder for the clip and the result; by default one that is removed")
    parser.add_argument("words", nargs="*", help="further words for the command, after --")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        io.write_frames(folder / "clip", boards(arguments.frames, width, height))
        seconds, facts = run(folder, arguments.words)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        again, _ = run(folder, arguments.words)
    count = facts["frames"]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{facts['model']}, {count} frames of {width}x{height}, {facts['valid_share']['result']:.0%} valid")
    print(f"peak resident memory {peak / 1e9:.2f} GB")
    print(f"whole command {count / seconds:.2f} frames/s ({seconds:.1f} s); finished folder {again:.1f} s")
    for part, taken in facts["timings_s"].items():
        print(f"  {part}: {taken:.1f} s, {1000 * taken / count:.0f} ms per frame")
    for sentence in facts["warnings"]:
        print(f"  warning: {sentence}")


def run(folder: Path, words: list[str]) -> tuple[float, dict[str, object]]:
    command = [sys.executable, "-m", "depthweave", "video", str(folder / "clip"), "-o", str(folder / "out"), "--json"]
    start = time.perf_counter()
    ended = subprocess.run([*command, *words], stdout=subprocess.PIPE, check=True, text=True)
    return time.perf_counter() - start, json.loads(ended.stdout)


def boards(frames: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """A wall and boards before it, seen by a camera that goes to and fro."""
    rng = np.random.default_rng(0)

    def texture() -> NDArray[np.float32]:
        layers = [rng.normal(size=(max(2, height // k), max(2, width // k), 3)).astype(np.float32) for k in (3, 8, 24)]
        mixed = sum(cv2.resize(layer, (width, height), interpolation=cv2.INTER_CUBIC) for layer in layers)
        return np.clip(128 + 45 * np.asarray(mixed, np.float32), 0, 255)

    wall = texture()
    depths = np.linspace(3.0, 1.2, _BOARDS)
    sizes = rng.uniform(0.1, 0.25, (_BOARDS, 2)) * (width, height)
    corners = rng.uniform(0, 1, (_BOARDS, 2)) * ((width, height) - sizes)
    faces = [texture()[: int(h), : int(w)] for w, h in sizes]
    for frame in range(frames):
        way_px = _SWAY * width * np.sin(2 * np.pi * frame / 90)
        picture = _moved(wall, way_px / 4.0, 0.0, width, height, cv2.BORDER_WRAP)
        for depth, (x, y), face in zip(depths, corners, faces, strict=True):
            there = _moved(np.ones(face.shape[:2], np.float32), x + way_px / depth, y, width, height)[..., None]
            picture = picture * (1 - there) + there * _moved(face, x + way_px / depth, y, width, height, edge=True)
        yield picture.astype(np.uint8)


def _moved(
    image: NDArray[np.float32],
    x: float,
    y: float,
    width: int,
    height: int,
    border: int = cv2.BORDER_CONSTANT,
    *,
    edge: bool = False,
) -> NDArray[np.float32]:
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float32)
    border = cv2.BORDER_REPLICATE if edge else border
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=border), np.float32)


if __name__ == "__main__":
    main()
