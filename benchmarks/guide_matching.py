"""Draws the pictures of docs/guide/why_disparity.md and docs/guide/cost_volumes.md from worlds and from formulas.

    python benchmarks/guide_matching.py [-o docs/images/guide]

One still pair is rendered, with ideal sensors; nothing is read and nothing trained. Prints the figures of the pages.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

matplotlib.use("Agg")
from guide_losses import save
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from depthweave import Camera, classical, geometry
from depthweave.models.layers import cost_volume
from depthweave.types.camera_presets import CAMERA_PRESETS
from depthweave.worlds import RenderedPair, render_pair, still_life

LEVELS = 48
"""Disparities that are searched, px of the picture."""
WINDOW = 9
PLACE = (176, 96)
"""x and y of the pixel whose costs are drawn."""
ROW = 170
"""y of the row whose volume is drawn."""
NO_MATCH = 0.85
"""Grey of what has no value."""

Cost = Callable[[Tensor, Tensor, int, int], Tensor]


def render() -> RenderedPair:
    """A still pair with disparities of 15 to 35 px."""
    scene = still_life(width=384, height=288)
    return render_pair(replace(scene, camera=replace(scene.camera, baseline_m=0.24)))


def semi_global(volume: Tensor, *, step: float, jump: float) -> Tensor:
    """Costs (d, h, w) plus what neighbours along four paths (left, right, up, down) say; ``inf`` becomes the largest.

    L(x, d) = C(x, d) + min(L(x', d), L(x', d - 1) + step, L(x', d + 1) + step, min_k L(x', k) + jump) - min_k L(x', k)
    with x' the pixel before x on the path; the sum of the four L is returned.

    Source: Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008, equation 13.
    """
    costs = torch.where(volume.isinf(), volume[volume.isfinite()].max(), volume)
    total = torch.zeros_like(costs)
    for dim, backwards in ((2, False), (2, True), (1, False), (1, True)):
        lines = list((costs.flip(dim) if backwards else costs).unbind(dim))
        for place in range(1, len(lines)):
            before = lines[place - 1]
            least = before.amin(0)
            beside = F.pad(before.T, (1, 1), value=torch.inf).T + step
            best = torch.stack((before, beside[:-2], beside[2:], (least + jump).expand_as(before))).amin(0)
            lines[place] = lines[place] + best - least
        path = torch.stack(lines, dim)
        total += path.flip(dim) if backwards else path
    return total


def bad(disparity: Tensor, truth: Tensor, counted: Tensor) -> float:
    """Share of the counted pixels, in percent, that are wrong by more than 2 px."""
    return 100 * ((disparity - truth).abs() > 2)[counted].float().mean().item()


def show(axis: Axes, values: Tensor, title: str) -> None:
    """A disparity map, grey where it is NaN, or a picture (3, h, w)."""
    if values.ndim == 3:
        axis.imshow(values.movedim(0, -1).clamp(0, 1).numpy())
    else:
        colours = matplotlib.colormaps["turbo"].with_extremes(bad=(NO_MATCH,) * 3)
        axis.imshow(values.numpy(), cmap=colours, vmin=10, vmax=38)
    axis.set_title(title, fontsize=8)
    axis.axis("off")


def errors(out: Path) -> None:
    """Expected depth error of cameras over depth, and what one blur of disparity looks like in depth."""
    depth_m = np.linspace(0.5, 10, 96)
    figure, axes = plt.subplots(1, 2, figsize=(10, 3))
    for name in ("zed-mini", "realsense-d455", "oak-d-lite", "bumblebee2", "bumblebee-xb3-wide"):
        camera = Camera.preset(name)
        label = (
            f"{CAMERA_PRESETS[name].summary.split(',')[0]}: f b = {camera.focal_px * (camera.baseline_m or 0):.0f} px m"
        )
        axes[0].plot(depth_m, [camera.depth_error_m(float(z), 0.25) for z in depth_m], label=label)
    axes[0].set(title="error of depth from 0.25 px", xlabel="depth, m", ylabel="m", ylim=(0, 0.8))
    axes[0].legend(fontsize=7)
    camera = Camera.preset("oak-d-lite")
    spread = 0.5 * torch.randn(40_000, generator=torch.Generator().manual_seed(0))
    for true_m in (1.0, 2.0, 4.0, 6.0, 8.0):
        disparity = camera.focal_px * (camera.baseline_m or 0) / true_m + spread[None]
        found = geometry.depth_from_disparity(disparity, focal_px=camera.focal_px, baseline_m=camera.baseline_m or 0)
        axes[1].hist(found[0].numpy(), bins=np.linspace(0.5, 12, 231), histtype="step", density=True)
        axes[1].axvline(true_m, color="0.6", linewidth=0.6)
        print(f"OAK-D Lite, 0.5 px, true {true_m:g} m: mean {found.mean():.3f} m, deviation {found.std():.3f} m")
    axes[1].set(title="OAK-D Lite, disparity with noise of 0.5 px", xlabel="measured depth, m", ylim=(0, 3))
    axes[1].set_yticks([])
    figure.tight_layout()
    save(figure, out / "disparity_error.png")


def unknown(pair: RenderedPair, out: Path) -> None:
    """One row of the scene from above: as it is, with another scale, and with a shift of inverse depth."""
    inverse = 1 / pair.left.depth[ROW]
    camera = pair.camera
    rays = (torch.arange(camera.width) - camera.intrinsics[0, 2]) / camera.focal_px
    cases = {
        "true": inverse,
        "1/Z times 0.7: larger, same shape": 0.7 * inverse,
        "1/Z - 0.12: another shape": inverse - 0.12,
    }
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharex=True, sharey=True)
    for axis, (title, values) in zip(axes, cases.items(), strict=True):
        axis.plot(rays / values, 1 / values, ".", markersize=2)
        axis.plot(0, 0, "k^")
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="x", aspect="equal")
    axes[0].set(ylabel="z")
    figure.tight_layout()
    save(figure, out / "disparity_unknown.png")


def costs_of_a_pixel(pair: RenderedPair, out: Path) -> None:
    """Five costs of one pixel over all disparities, with equal light and with a right camera that has less."""
    functions: dict[str, Cost] = {
        "SAD": classical.sad,
        "SSD": classical.ssd,
        "cross-correlation": classical.cross_correlation,
        "ZNCC": classical.zncc,
        "census": classical.census,
    }
    x, y = PLACE
    truth = pair.left.disparity[y, x].item()
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.9), width_ratios=(1.1, 1.4, 1.4))
    axes[0].imshow(pair.left.image.movedim(0, -1).numpy())
    half = WINDOW / 2
    axes[0].add_patch(plt.Rectangle((x - half, y - half), WINDOW, WINDOW, fill=False, color="w"))
    axes[0].axhline(ROW, color="w", linewidth=0.8, linestyle=":")
    axes[0].axis("off")
    for axis, gain, title in zip(axes[1:], (1.0, 0.6), ("equal light", "right with 60 % of the light"), strict=True):
        found = []
        for name, function in functions.items():
            values = function(pair.left.image, gain * pair.right.image, LEVELS, WINDOW)[:, y, x]
            low, high = values.min(), values.max()
            axis.plot(range(LEVELS), ((values - low) / (high - low)).numpy(), label=name, linewidth=1.2)
            found.append(f"{name} {int(values.argmin())}")
        print(f"{title}: true {truth:.2f} px, least cost at {', '.join(found)}")
        axis.axvline(truth, color="k", linewidth=0.8, linestyle=":")
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="disparity, px")
    axes[1].set(ylabel="cost, from least to largest")
    axes[2].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    save(figure, out / "matching_costs.png")


def volumes(pair: RenderedPair) -> dict[str, Tensor]:
    """The cost volume (d, h, w) of single pixels, of windows, and smoothed along four paths."""
    single = classical.sad(pair.left.image, pair.right.image, LEVELS, 1)
    windows = classical.sad(pair.left.image, pair.right.image, LEVELS, WINDOW)
    return {
        "one pixel": single,
        f"{WINDOW}x{WINDOW} window": windows,
        "one pixel, four paths": semi_global(single, step=0.02, jump=0.12),
    }


def slices(pair: RenderedPair, found: dict[str, Tensor], out: Path) -> None:
    """One row of each volume: disparity over column, dark is cheap."""
    figure, axes = plt.subplots(1, len(found), figsize=(11, 2.6), sharey=True)
    truth = pair.left.disparity[ROW]
    for axis, (title, volume) in zip(axes, found.items(), strict=True):
        row = torch.where(volume[:, ROW].isinf(), torch.nan, volume[:, ROW]).numpy()
        low, high = np.nanquantile(row, (0.0, 0.9))
        colours = matplotlib.colormaps["gray"].with_extremes(bad="white")
        axis.imshow(row, origin="lower", aspect="auto", cmap=colours, vmin=low, vmax=high)
        winner = volume[:, ROW].argmin(0)
        wrong = (winner - truth).abs() > 2
        columns = torch.arange(len(truth))
        axis.plot(columns[wrong], winner[wrong], ".", color="tab:red", markersize=3)
        axis.plot(columns[~wrong], winner[~wrong], ".", color="tab:cyan", markersize=3)
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="column, px")
    axes[0].set(ylabel="disparity, px")
    figure.tight_layout()
    save(figure, out / "matching_slice.png")


def disparities(pair: RenderedPair, found: dict[str, Tensor], out: Path) -> None:
    """Winners of each volume, and what both directions agree on."""
    truth, visible = pair.left.disparity, pair.visible
    panels = [("left", pair.left.image)]
    for title, volume in found.items():
        disparity, _ = classical.winner_take_all(volume)
        wrong = bad(disparity, truth, visible)
        panels.append((f"{title}: {wrong:.1f} % bad", disparity))
        print(f"{title}: bad-2.0 of visible pixels {wrong:.2f} %")
        if "window" in title:
            other, _ = classical.winner_take_all(classical.right_cost_volume(volume))
            agreed = classical.left_right_check(disparity, other)
            checked = bad(disparity, truth, visible & agreed)
            share, hidden = agreed[visible].float().mean(), agreed[~visible].float().mean()
            print(f"checked: {100 * share:.1f} % of visible kept, {100 * hidden:.1f} % of hidden; bad {checked:.2f} %")
            panels.append((f"the same, both ways agree: {checked:.1f} %", torch.where(agreed, disparity, torch.nan)))
    panels.append(("truth", truth))
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.9))
    for axis, (title, values) in zip(axes.flat, panels, strict=True):
        show(axis, values, title)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.95, wspace=0.02, hspace=0.12)
    save(figure, out / "matching_maps.png")


def soft(out: Path) -> None:
    """What soft-argmin reads from one valley and from two."""
    levels = torch.arange(LEVELS, dtype=torch.float32)
    one = (levels - 20.3).abs()
    two = torch.minimum((levels - 12).abs(), (levels - 30).abs() + 0.5)
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    for axis, costs, title in zip(axes, (one, two), ("one valley, at 20.3", "two valleys, at 12 and 30"), strict=True):
        axis.plot(levels, costs / costs.max(), color="0.6", label="cost")
        for gain in (0.3, 1.0, 4.0):
            scaled = (gain * costs)[None, :, None, None]
            answer = cost_volume.soft_argmin(scaled).item()
            (line,) = axis.plot(levels, (-gain * costs).softmax(0), label=f"softmax of -{gain:g} C: {answer:.2f} px")
            axis.axvline(answer, color=line.get_color(), linewidth=0.8, linestyle=":")
        axis.set_title(title, fontsize=9)
        axis.set(xlabel="disparity, px", ylim=(0, 1.6))
        axis.legend(fontsize=7, loc="upper right")
    figure.tight_layout()
    save(figure, out / "matching_soft_argmin.png")


def coarse_to_fine(pair: RenderedPair, out: Path) -> None:
    """The whole range at 1/4, then 2 px to either side at 1/2 and at full size; colours take the place of features."""
    truth, visible = pair.left.disparity, pair.visible
    height, width = truth.shape
    views = [pair.left.image[None], pair.right.image[None]]
    average = partial(F.avg_pool2d, kernel_size=5, stride=1, padding=2, count_include_pad=False)
    cells, panels = 0, []
    disparity = torch.zeros(1, height, width)
    for size in (4, 2, 1):
        left, right = (F.avg_pool2d(view, size) if size > 1 else view for view in views)
        if size == 4:
            volume = cost_volume.distance_volume(left, right, LEVELS // size)
            around, first = torch.zeros_like(volume[:, 0]), 0
        else:
            around = 2 * F.interpolate(disparity[:, None], scale_factor=2, mode="bilinear")[:, 0]
            volume, first = cost_volume.residual_volume(left, right, around, 2), -2
        cells += volume.numel()
        disparity = around + cost_volume.soft_argmin(100 * average(volume), first=first)
        shown = F.interpolate(size * disparity[:, None], size=(height, width), mode="nearest")[0, 0]
        wrong = bad(shown, truth, visible)
        panels.append((f"1/{size} of the size: {wrong:.1f} % bad" if size > 1 else f"full size: {wrong:.1f} %", shown))
        print(f"1/{size}: {volume.numel()} cells, {cells} so far, bad-2.0 {wrong:.2f} %")
    print(f"the whole range at full size: {LEVELS * height * width} cells")
    figure, axes = plt.subplots(1, 4, figsize=(11, 2.3))
    for axis, (title, values) in zip(axes, [*panels, ("truth", truth)], strict=True):
        show(axis, values, title)
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.9, wspace=0.03)
    save(figure, out / "matching_coarse_to_fine.png")


def draw(pair: RenderedPair, out: Path) -> None:
    """All pictures of the two pages."""
    out.mkdir(parents=True, exist_ok=True)
    errors(out)
    unknown(pair, out)
    costs_of_a_pixel(pair, out)
    found = volumes(pair)
    slices(pair, found, out)
    disparities(pair, found, out)
    soft(out)
    coarse_to_fine(pair, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", type=Path, default=Path("docs/images/guide"), help="folder of the pictures")
    draw(render(), parser.parse_args().o)


if __name__ == "__main__":
    main()
