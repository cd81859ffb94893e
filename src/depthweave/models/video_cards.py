"""Cards of the models for clips."""

from dataclasses import replace

from depthweave.models.card import ModelCard

_STEREODIFF_PAPER = "Li et al., StereoDiff: Stereo-Diffusion Synergy for Video Depth Estimation, arXiv 2506.20756, 2025"
_DEPTHCRAFTER_DATA = "about 200k real and 3k synthetic clips, on Stable Video Diffusion XT"

_OFFLINE = ModelCard(
    name="stereodiff-offline",
    task="video",
    family="stereodiff",
    summary="clips without weights: geometry for the whole clip, then a temporal refiner guided by motion",
    source="built-in",
    licence="Apache-2.0",
    commercial_use=True,
    parameters=0,
    training_data="none",
    citation=f"depthweave; two stages after {_STEREODIFF_PAPER}",
    parts=("geometric",),
)

_DEPTHCRAFTER = ModelCard(
    name="depthcrafter",
    task="video",
    family="depthcrafter",
    summary="DepthCrafter: inverse depth of clips by video diffusion, up to one scale and shift",
    source="tencent/DepthCrafter",
    licence="DepthCrafter's (academic only), and Stability AI's own for its parts of Stable Video Diffusion",
    commercial_use=False,
    parameters=2_254_442_729,
    training_data=_DEPTHCRAFTER_DATA,
    citation="Hu et al., DepthCrafter: Generating Consistent Long Depth Sequences for Open-world Videos, CVPR 2025",
    page="https://github.com/Tencent/DepthCrafter",
)

_STEREODIFF = ModelCard(
    name="stereodiff",
    task="video",
    family="stereodiff",
    summary="StereoDiff: MonST3R for the whole clip, then one step of DepthCrafter; up to scale",
    source="parts",
    licence="MonST3R's (CC BY-NC-SA 4.0) and DepthCrafter's (academic only)",
    commercial_use=False,
    parameters=571_170_440 + _DEPTHCRAFTER.parameters,
    training_data=f"MonST3R's, and DepthCrafter's ({_DEPTHCRAFTER_DATA}); none of its own",
    citation=_STEREODIFF_PAPER,
    parts=("monst3r", "depthcrafter"),
)

VIDEO_CARDS = (
    _OFFLINE,
    _STEREODIFF,
    replace(
        _STEREODIFF,
        name="stereodiff-dust3r",
        summary="StereoDiff on DUSt3R, which expects scenes that stand still; up to scale",
        licence="DUSt3R's (CC BY-NC-SA 4.0) and DepthCrafter's (academic only)",
        training_data=f"DUSt3R's, and DepthCrafter's ({_DEPTHCRAFTER_DATA}); none of its own",
        parts=("dust3r-512", "depthcrafter"),
    ),
    replace(
        _STEREODIFF,
        name="stereodiff-mast3r",
        summary="StereoDiff on MASt3R, in about metres",
        licence="MASt3R's (CC BY-NC-SA 4.0, and the terms of its data) and DepthCrafter's (academic only)",
        parameters=688_638_088 + _DEPTHCRAFTER.parameters,
        training_data=f"MASt3R's, and DepthCrafter's ({_DEPTHCRAFTER_DATA}); none of its own",
        parts=("mast3r", "depthcrafter"),
    ),
    _DEPTHCRAFTER,
)
