"""Draws the pictures of docs/guide/losses.md from worlds: what each family of losses sees, with true depth and motion.

    python benchmarks/guide_losses.py [-o docs/images/guide]

One still pair and one clip of three frames with a moving thing are rendered; nothing is read and nothing trained.
"""

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from depthweave import geometry, losses
from depthweave.worlds import RenderedClip, RenderedPair, compose, render_clip, render_pair, still_life
from depthweave.worlds.views import Match

Panel = tuple[str, Tensor, str | None]


def render() -> tuple[RenderedPair, RenderedClip]:
    """A still pair, and a room with a camera and a thing that move."""
    pair = render_pair(still_life(width=192, height=144))
    clip = render_clip(compose(2, height=120, width=192, motion=True), frames=3, fps=5, stereo=False, noise=False)
    return pair, clip


def save(figure: Figure, path: Path) -> None:
    """PNG of 128 colours, a fraction of matplotlib's own size."""
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(128).save(path, optimize=True)


def maps(path: Path, panels: list[Panel], top: float | None = None) -> None:
    """Pictures (3, h, w) or maps (h, w) in a row; maps with the colours named, from 0 to top or their 99 % quantile."""
    height, width = panels[0][1].shape[-2:]
    figure, axes = plt.subplots(1, len(panels), figsize=(2.9 * len(panels), 2.9 * height / width + 0.3))
    for axis, (title, values, colours) in zip(axes, panels, strict=True):
        if colours is None:
            axis.imshow(values.movedim(0, -1).clamp(0, 1).numpy())
        else:
            largest = float(np.nanquantile(values.numpy(), 0.99)) if top is None else top
            axis.imshow(values.numpy(), cmap=colours, vmin=0, vmax=max(largest, 1e-9))
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.9, wspace=0.03)
    save(figure, path)


def photometric(pair: RenderedPair, out: Path) -> None:
    """Mean cost of visible pixels beside the true disparity, with equal light and with a right camera that has less."""
    offsets = torch.arange(-6, 6.1, 0.25)
    functions = {
        "|I - I~|": lambda a, b: losses.robust_difference(a, b, epsilon=1e-6, exponent=0.5),
        "SSIM + L1": losses.ssim_l1,
        "gradient": losses.gradient_difference,
        "census": losses.census_difference,
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    for axis, gain, title in zip(axes, (1.0, 0.7), ("equal light", "right camera with 70 % of the light"), strict=True):
        costs: dict[str, list[float]] = {name: [] for name in functions}
        for offset in offsets.tolist():
            warped, inside = geometry.warp_by_disparity(gain * pair.right.image, pair.left.disparity + offset)
            for name, function in functions.items():
                cost = function(pair.left.image, warped)
                costs[name].append(losses.masked_mean(cost, inside & pair.visible).item())
        for name, values in costs.items():
            axis.plot(offsets, np.array(values) / max(values), label=name, linewidth=1.2)
        axis.set(title=title, xlabel="disparity - true disparity, px")
    axes[0].set(ylabel="mean cost / largest", ylim=(0, 1.05))
    axes[0].legend(fontsize=8, loc="lower right")
    figure.tight_layout()
    save(figure, out / "losses_photometric.png")


def smoothness(pair: RenderedPair, out: Path) -> None:
    """Where the true disparity costs, with and without the guide, and of second order."""
    disparity, guide = pair.left.disparity, pair.left.image
    plain = losses.edge_aware_smoothness(disparity, guide, beta=0)
    panels: list[Panel] = [("picture", guide, None), ("order 1, no guide", plain, "magma")]
    for order in (1, 2):
        cost = losses.edge_aware_smoothness(disparity, guide, order=order, beta=10)
        panels.append((f"order {order}, beta 10", cost, "magma"))
    maps(out / "losses_smoothness.png", panels, top=2.0)


def consistency(pair: RenderedPair, out: Path) -> None:
    """The left-right loss of true disparities is what occlusion makes."""
    error, inside = losses.left_right_consistency(pair.left.disparity, pair.right.disparity)
    zero = torch.zeros_like(error)
    agrees = losses.forward_backward_mask(
        torch.stack((-pair.left.disparity, zero)), torch.stack((pair.right.disparity, zero))
    )
    hidden = (pair.left.match != Match.MATCHED).float()
    panels: list[Panel] = [
        ("left", pair.left.image, None),
        ("|d_l - d_r(x - d_l)|, white: out of view", torch.where(inside, error.clamp_max(5), torch.nan), "magma"),
        ("disagreement, by the mask", (~agrees).float(), "gray"),
        ("truth: not seen by the right", hidden, "gray"),
    ]
    maps(out / "losses_consistency.png", panels)


def robust(out: Path) -> None:
    """Barron's family and its pull, and the likelihood that keeps alpha from falling."""
    error = torch.linspace(-6, 6, 241, dtype=torch.float64)
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.8))
    for alpha in (2.0, 1.0, 0.0, -2.0, -math.inf):
        x = error.clone().requires_grad_()
        loss = losses.general_robust(x, alpha)
        (pull,) = torch.autograd.grad(loss.sum(), x)
        axes[0].plot(error, loss.detach(), label=f"alpha {alpha:g}")
        axes[1].plot(error, pull)
        if alpha >= 0:
            axes[2].plot(error, loss.detach() + losses.log_partition(torch.tensor(alpha)))
    axes[0].set(title="loss", ylim=(0, 5), xlabel="error / scale")
    axes[1].set(title="its gradient", ylim=(-2, 2), xlabel="error / scale")
    axes[2].set(title="adaptive: loss + ln Z(alpha)", ylim=(0.5, 5), xlabel="error / scale")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    save(figure, out / "losses_robust.png")


def uncertainty(out: Path) -> None:
    """Laplace's likelihood over the scale that a network may claim: least at the size of the error."""
    scale = torch.logspace(-1.5, 1.5, 121)
    figure, axis = plt.subplots(figsize=(5, 2.8))
    for error in (0.1, 0.5, 2.0, 8.0):
        values = losses.laplace_nll(torch.full_like(scale, error), scale.log())
        (line,) = axis.semilogx(scale, values, label=f"error {error:g} px")
        axis.plot(error, math.log(2 * error) + 1, "o", color=line.get_color(), markersize=4)
    axis.set(xlabel="scale b that the network claims, in px", ylabel="loss", ylim=(-1, 8))
    axis.legend(fontsize=8)
    figure.tight_layout()
    save(figure, out / "losses_uncertainty.png")


def affine(pair: RenderedPair, out: Path) -> None:
    """What a wrong scale or a wrong shift of true inverse depth costs."""
    truth = pair.left.disparity / pair.left.disparity.mean()
    mask = truth > 0
    factors = torch.linspace(0.4, 2.5, 43)
    functions = {
        "mean |p - g|": lambda p: losses.masked_mean(losses.l1(p, truth), mask),
        "scale-invariant log, weight 1": lambda p: losses.scale_invariant_log(p, truth, mask, weight=1),
        "scale-invariant log, weight 0.5": lambda p: losses.scale_invariant_log(p, truth, mask),
        "scale- and shift-invariant": lambda p: losses.scale_shift_invariant(p, truth, mask),
    }
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), sharey=True)
    for name, function in functions.items():
        axes[0].plot(factors, [function(float(f) * truth).item() for f in factors], label=name)
        axes[1].plot(factors - 1, [function((truth + float(f) - 1).clamp_min(1e-3)).item() for f in factors])
    axes[0].set(xlabel="predicted = factor x true", ylabel="loss")
    axes[1].set(xlabel="predicted = true + shift (in means)")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    save(figure, out / "losses_affine.png")


def view_synthesis(clip: RenderedClip, out: Path) -> None:
    """Middle frame from the two beside it by true depth and poses: the mean of the errors, their least, the mask."""
    target, depth = clip.left.image[1], clip.left.depth[1]
    errors, still = [], []
    for other in (0, 2):
        pose = geometry.relative_pose(clip.world_from_camera[1], clip.world_from_camera[other]).float()
        warped, _ = geometry.warp_by_depth(clip.left.image[other], depth, clip.camera.intrinsics, pose)
        errors.append(losses.ssim_l1(target, warped))
        still.append(losses.ssim_l1(target, clip.left.image[other]))
    stacked, unmoved = torch.stack(errors), torch.stack(still)
    generator = torch.Generator().manual_seed(0)
    panels: list[Panel] = [
        ("picture", target, None),
        ("mean over the sources", stacked.mean(0), "magma"),
        ("least of the sources", losses.minimum_reprojection(stacked), "magma"),
        ("auto-mask", losses.auto_mask(stacked, unmoved, generator=generator).float(), "gray"),
    ]
    maps(out / "losses_view_synthesis.png", panels)


def two_view(clip: RenderedClip, out: Path) -> None:
    """What true optical flow says of a moving thing, by its distance to the epipolar lines and to the rigid flow."""
    flow = clip.flow_forward[1].movedim(-1, -3)
    pose = geometry.relative_pose(clip.world_from_camera[1], clip.world_from_camera[2])
    k = clip.camera.intrinsics.double()
    essential = geometry.essential_from_pose(pose)
    lines = losses.sampson_loss(flow.double(), geometry.fundamental_from_essential(essential, k, k))
    rigid, _ = geometry.rigid_flow(clip.left.depth[1], clip.camera.intrinsics, pose.float())
    panels: list[Panel] = [
        ("picture", clip.left.image[1], None),
        ("sqrt of Sampson's distance, px", lines.sqrt().float(), "magma"),
        ("|flow - rigid flow|, px", (flow - rigid).square().sum(0).sqrt(), "magma"),
        ("truth: moving", clip.moving[1].float(), "gray"),
    ]
    maps(out / "losses_two_view.png", panels)
    still = ~clip.moving[1]
    for name, mask in (("still pixels", still), ("all pixels", torch.ones_like(still))):
        print(
            f"{name}: low_rank {losses.low_rank(flow.double(), mask).item():.4f}, "
            f"subspace (weight 1e6) {losses.subspace(flow.double(), mask, weight=1e6).item():.3f}"
        )


def draw(pair: RenderedPair, clip: RenderedClip, out: Path) -> None:
    """All pictures of the page."""
    out.mkdir(parents=True, exist_ok=True)
    photometric(pair, out)
    smoothness(pair, out)
    consistency(pair, out)
    robust(out)
    uncertainty(out)
    affine(pair, out)
    view_synthesis(clip, out)
    two_view(clip, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", type=Path, default=Path("docs/images/guide"), help="folder of the pictures")
    draw(*render(), parser.parse_args().o)


if __name__ == "__main__":
    main()
