"""Intermediate values of DEFOM-Stereo under fixed names, for comparison with other implementations."""

from collections.abc import Sequence

from torch import Tensor

from depthweave.models.stereo.defom.encoders import MonocularFeatures

Trace = dict[str, Tensor]


def trace_encoders(
    trace: Trace,
    mono: MonocularFeatures,
    heads: Sequence[tuple[Tensor, Tensor]],
    features: tuple[Tensor, Tensor],
    context: Sequence[Tensor],
    disparity: Tensor,
) -> None:
    """Everything before the first iteration."""
    for index, tap in enumerate(mono.taps):
        trace[f"vit_tokens{index}"] = tap.patches.flatten(2).transpose(1, 2)
        trace[f"vit_cls{index}"] = tap.cls
    trace["dav2_in"] = mono.seen
    trace.update({f"dfeat_ctx{level}": value for level, value in enumerate(mono.context)})
    trace.update(dfeat_left=mono.left, dfeat_right=mono.right, rel_depth=mono.relative_depth, init_disp=disparity)
    for level, (state, term) in enumerate(heads):
        trace.update({f"cnet{level}_hidden": state, f"cnet{level}_context": term})
    trace.update(fmap1=features[0], fmap2=features[1])
    trace.update({f"zqr{level}": value for level, value in enumerate(context)})


def trace_step(
    trace: Trace, phase: str, seen: Tensor, before: Tensor, update: Tensor, states: Sequence[Tensor]
) -> None:
    """The first iteration of a phase, ``scale`` or ``delta``; a delta before its clipping."""
    trace.update({f"{phase}_corr_first": seen, f"{phase}_disp_first": before, f"{phase}_update_first": update})
    trace.update({f"{phase}_net{level}_first": state.clone() for level, state in enumerate(states)})
