"""Time and memory of video diffusion: DepthCrafter's steps against the one step of StereoDiff, with random weights.

    python benchmarks/video_diffusion.py --tiny --size 64x96 --frames 12 --window 6 --overlap 2
    python benchmarks/video_diffusion.py --device cuda --size 512x640 --frames 110 --compile

Without --tiny the networks have their full size. Every stage is timed for itself and its memory measured beside what
was counted before: on cuda by torch's allocator, elsewhere by the events of torch's profiler.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor, nn

from depthweave import runtime
from depthweave.models.video.depthcrafter import Conditions, PartName, PartsFolder
from depthweave.models.video.depthcrafter.conditions import embed_frames
from depthweave.models.video.depthcrafter.latents import decode_disparity, encode_pictures
from depthweave.models.video.depthcrafter.network import denoise
from depthweave.models.video.depthcrafter.parts import weight_bytes
from depthweave.models.video.depthcrafter.windows import plan_windows
from depthweave.pipelines.video_memory import decoder_dtype, estimate_memory
from depthweave.pipelines.video_settings import DiffusionSettings

sys.path.append(str(Path(__file__).parents[1] / "tests" / "unit"))
from tiny_video_diffusion import CLIP, UNET, VAE

RECORDED = Path(__file__).parents[1] / "tests" / "parity" / "data" / "depthcrafter" / "recorded.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="512x640", help="HEIGHTxWIDTH, multiples of 8")
    parser.add_argument("--frames", type=int, default=110)
    parser.add_argument("--window", type=int, default=110)
    parser.add_argument("--overlap", type=int, default=25)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 8], help="of the feed-forward layers")
    parser.add_argument("--chunk", type=int, default=8, help="frames encoded and decoded at once")
    parser.add_argument("--compile", action="store_true", help="also time the denoiser compiled")
    parser.add_argument("--tiny", action="store_true", help="networks of the tests")
    arguments = parser.parse_args()
    device = runtime.choose_device(arguments.device)
    dtype = runtime.choose_dtype("float16" if arguments.dtype == "auto" and device.type == "cuda" else "auto", device)
    if arguments.dtype != "auto":
        dtype = runtime.choose_dtype(arguments.dtype, device)
    height, width = (int(side) for side in arguments.size.split("x"))
    settings = DiffusionSettings(
        window=arguments.window,
        overlap=arguments.overlap,
        encode_chunk=arguments.chunk,
        decode_chunk=arguments.chunk,
        size=(height, width),
    )
    print(f"{device}, {dtype}, {width}x{height} px, {arguments.frames} frames, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(write_configs(Path(folder), tiny=arguments.tiny), device, dtype, settings, arguments.frames)
        bench.ends()
        for parts in arguments.parts:
            bench.denoiser(parts, compiled=False)
        if arguments.compile:
            bench.denoiser(min(arguments.parts), compiled=True)
        bench.summary()


class Bench:
    def __init__(
        self,
        folders: PartsFolder,
        device: torch.device,
        dtype: torch.dtype,
        settings: DiffusionSettings,
        frames: int,
    ) -> None:
        self.folders, self.device, self.dtype = folders, device, dtype
        self.settings, self.frames = settings, frames
        self.ends_s, self.best_s = 0.0, {}

    def ends(self) -> None:
        """Encoding and decoding, the same for both methods but for the encoded maps."""
        counted = self._counted(self.settings)
        assert self.settings.size is not None
        height, width = self.settings.size
        chunk = min(self.settings.encode_chunk, self.frames)
        pictures = torch.rand(chunk, 3, height, width, device=self.device) * 2 - 1
        latents = torch.randn(chunk, 4, height // 8, width // 8, device=self.device)
        rows: list[tuple[str, PartName, torch.dtype, Callable[[Any], Tensor], int]] = [
            ("embed", "image_encoder", self.dtype, lambda part: embed_frames(part, pictures), counted.embed),
            ("encode", "encoder", torch.float32, lambda part: encode_pictures(part, pictures), counted.encode),
            (
                "decode",
                "decoder",
                decoder_dtype(self.dtype),
                lambda part: decode_disparity(part, latents),
                counted.decode,
            ),
        ]
        for name, part_name, dtype, call, expected in rows:
            part = self._random(part_name, dtype)
            took_s, peak = self._measured(lambda call=call, part=part: call(part))
            self.ends_s += took_s / chunk * self.frames
            self._print(name, took_s / chunk, peak, expected, weight_bytes(part))

    def denoiser(self, parts: int, *, compiled: bool) -> None:
        """One window by both methods; all windows of the clip cost as much per frame."""
        settings = replace(self.settings, feed_forward_parts=parts)
        assert settings.size is not None
        height, width = (side // 8 for side in settings.size)
        unet = self._random("unet", self.dtype)
        unet.split_feed_forward(parts)
        if compiled:
            unet = torch.compile(unet)
        spans = plan_windows(self.frames, settings.window, settings.overlap).spans
        count = spans[0][1]
        shape = (count, 4, height, width)
        channels = unet.unet.config.cross_attention_dim
        conditions = Conditions(
            torch.randn(count, channels, device=self.device), torch.randn(shape, device=self.device)
        )
        expected = self._counted(settings).denoise
        denoised = sum(stop - start for start, stop in spans)
        how = f"{parts} parts{', compiled' if compiled else ''}"
        ways = {"five steps": settings.generation_levels(), "one step": settings.refinement_levels()}
        for name, levels in ways.items():
            noisy = torch.randn(shape, device=self.device) * levels[0]
            took_s, peak = self._measured(lambda noisy=noisy, levels=levels: denoise(unet, noisy, levels, conditions))
            seconds = took_s / count * denoised
            self.best_s[name] = min(seconds, self.best_s.get(name, seconds))
            self._print(f"{name}, {how}", seconds / self.frames, peak, expected, weight_bytes(unet))

    def summary(self) -> None:
        five, one = (self.ends_s + self.best_s[name] for name in ("five steps", "one step"))
        denoisers = self.best_s["five steps"] / self.best_s["one step"]
        print(f"denoiser: one step is {denoisers:.2f} times as fast as five")
        print(f"whole: {1e3 * five / self.frames:.1f} against {1e3 * one / self.frames:.1f} ms per frame without the")
        print(f"maps' encoding, {five / one:.2f} times as fast (StereoDiff's authors: about 2.1 times)")

    def _counted(self, settings: DiffusionSettings) -> Any:
        assert settings.size is not None
        return estimate_memory(
            self.folders, settings, size=settings.size, frames=self.frames, dtype=self.dtype, keeps_all=False
        )

    def _random(self, name: PartName, dtype: torch.dtype) -> Any:
        part = self.folders.outline(name, dtype).to_empty(device=self.device)
        with torch.no_grad():
            for parameter in part.parameters():
                scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
                nn.init.normal_(parameter, mean=0.0 if parameter.ndim > 1 else 0.5, std=scale)
            for buffer in part.buffers():
                buffer.zero_()
        return part

    def _measured(self, call: Callable[[], Tensor]) -> tuple[float, int]:
        with torch.inference_mode():
            call()
            runtime.synchronize(self.device)
            started = time.perf_counter()
            call()
            runtime.synchronize(self.device)
            took_s = time.perf_counter() - started
            with measured_peak(self.device) as peak:
                call()
        return took_s, peak[0]

    def _print(self, name: str, seconds: float, peak: int, expected: int, weights: int) -> None:
        print(
            f"{name:24s} {1e3 * seconds:9.2f} ms per frame, {peak / 1e6:9.1f} MB measured, {expected / 1e6:9.1f} MB "
            f"counted ({expected / peak - 1:+.0%}), weights {weights / 1e6:.1f} MB",
            flush=True,
        )


@contextmanager
def measured_peak(device: torch.device) -> Iterator[list[int]]:
    """Bytes allocated in the block at its worst moment, beyond those before it."""
    found = [0]
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield found
        torch.cuda.synchronize(device)
        found[0] = torch.cuda.max_memory_allocated(device) - before
        return
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        yield found
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        found[0] = max(found[0], now)


def write_configs(folder: Path, *, tiny: bool) -> PartsFolder:
    """Descriptions of the parts alone: the weights are drawn."""
    recorded = json.loads(RECORDED.read_text())["parts"]
    small = {"unet": UNET, "vae": VAE, "image_encoder": CLIP}
    for name, own in small.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(own if tiny else recorded[name]["config"]))
    return PartsFolder(folder / "unet", folder / "vae", folder / "image_encoder")


if __name__ == "__main__":
    main()
