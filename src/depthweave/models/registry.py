"""One table of every model: what it is, where it comes from, and what its licence allows."""

import difflib
from dataclasses import replace

from depthweave.errors import UnknownModel
from depthweave.models.card import ModelCard, Task
from depthweave.models.classic_cards import CLASSIC_CARDS
from depthweave.models.flow_cards import FLOW_CARDS
from depthweave.models.prompted_cards import PROMPTED_CARDS
from depthweave.models.video_cards import VIDEO_CARDS

__all__ = [
    "DEFAULT_FLOW",
    "DEFAULT_MONO",
    "DEFAULT_POINTMAP",
    "DEFAULT_STEREO",
    "DEFAULT_VIDEO",
    "ModelCard",
    "Task",
    "find_model",
    "list_models",
]


def _classical(name: str, summary: str, licence: str, citation: str) -> ModelCard:
    return ModelCard(name, "stereo", "classical", summary, "built-in", licence, True, 0, "none", citation)


_CLASSICAL_CARDS = (
    _classical(
        "sgm",
        "semi-global matching over eight paths (OpenCV SGBM), both borders matched, checked and filled",
        "Apache-2.0 (OpenCV)",
        "Hirschmueller, Stereo Processing by Semiglobal Matching and Mutual Information, TPAMI 2008",
    ),
    _classical(
        "bm",
        "fast block matching (OpenCV StereoBM), checked and filled",
        "Apache-2.0 (OpenCV)",
        "Konolige, Small Vision Systems: Hardware and Implementation, ISRR 1997",
    ),
    _classical(
        "block",
        "block matching in torch with a choice of six costs, runs on any device",
        "Apache-2.0",
        "Scharstein and Szeliski, A Taxonomy and Evaluation of Dense Two-Frame Stereo Correspondence, IJCV 2002",
    ),
)

_COMPACT = ModelCard(
    name="depthweave-s",
    task="stereo",
    family="compact",
    summary="small network of depthweave: matches, says how sure it is and what only one camera sees",
    source="bundled",
    licence="Apache-2.0",
    commercial_use=True,
    parameters=1_189_441,
    training_data="worlds rendered by depthweave (no photographs)",
    citation="depthweave; built from Guo et al., Group-wise Correlation Stereo Network, CVPR 2019",
    settings={"scale": 1.5, "max_pixels": 1_200_000, "fill_background": True},
)

_DEFOM = ModelCard(
    name="defom-vits",
    task="stereo",
    family="defom",
    summary="DEFOM-Stereo on Depth Anything V2 small: recurrent matching that listens to a depth foundation model",
    source="convert",
    licence="code MIT, embedded Depth Anything V2 small Apache-2.0, checkpoint not stated",
    commercial_use=None,
    parameters=43_290_177,
    training_data="Scene Flow, TartanAir, IRS, 3D Ken Burns, CREStereo, FallingThings, Sintel, VKITTI 2, CARLA, KITTI, "
    "Middlebury, ETH3D, InStereo2K, Booster (the RVC checkpoint)",
    citation="Jiang et al., DEFOM-Stereo: Depth Foundation Model Based Stereo Matching, CVPR 2025",
    checkpoint="defomstereo_vits_rvc.pth",
    variants=("defomstereo_vits_sceneflow.pth",),
    page="https://github.com/Insta360-Research-Team/DEFOM-Stereo",
    settings={"iterations": 32, "scale_iterations": 8},
)

_RAFT = ModelCard(
    name="raft-stereo",
    task="stereo",
    family="raft",
    summary="RAFT-Stereo: recurrent matching on three levels",
    source="convert",
    licence="MIT",
    commercial_use=True,
    parameters=11_116_176,
    training_data="Scene Flow, then Middlebury 2014 (the Middlebury checkpoint)",
    citation="Lipson, Teed and Deng, RAFT-Stereo: Multilevel Recurrent Field Transforms for Stereo Matching, 3DV 2021",
    checkpoint="raftstereo-middlebury.pth",
    variants=("raftstereo-sceneflow.pth", "raftstereo-eth3d.pth"),
    page="https://github.com/princeton-vl/RAFT-Stereo",
    settings={"iterations": 32},
)

_IGEV = ModelCard(
    name="igev-stereo",
    task="stereo",
    family="igev",
    summary="IGEV-Stereo: a filtered cost volume of 192 px starts recurrent matching and guides it",
    source="convert",
    licence="code MIT, checkpoint not stated",
    commercial_use=None,
    parameters=12_598_114,
    training_data="ImageNet (its MobileNetV2, from timm), then Scene Flow (the Scene Flow checkpoint; the others add "
    "their benchmark)",
    citation="Xu et al., Iterative Geometry Encoding Volume for Stereo Matching, CVPR 2023",
    checkpoint="sceneflow.pth",
    variants=("kitti12.pth", "kitti15.pth", "middlebury.pth", "eth3d.pth"),
    page="https://github.com/gangweiX/IGEV",
    settings={"iterations": 32},
)

_STEREO_NETWORK_CARDS = (
    _DEFOM,
    replace(
        _DEFOM,
        name="defom-vitl",
        summary="DEFOM-Stereo on Depth Anything V2 large: the most accurate, and the slowest",
        licence="code MIT, embedded Depth Anything V2 large CC-BY-NC-4.0, checkpoint not stated",
        commercial_use=False,
        parameters=382_619_745,
        training_data="Scene Flow (the Scene Flow checkpoint; the others add their benchmark's mixture)",
        checkpoint="defomstereo_vitl_sceneflow.pth",
        variants=("defomstereo_vitl_kitti.pth", "defomstereo_vitl_middlebury.pth", "defomstereo_vitl_eth3d.pth"),
    ),
    _RAFT,
    replace(
        _RAFT,
        name="raft-stereo-realtime",
        summary="RAFT-Stereo with a shared encoder at 1/8 and two levels: the fastest of the networks",
        parameters=9_865_568,
        training_data="Scene Flow",
        checkpoint="raftstereo-realtime.pth",
        variants=(),
        settings={"iterations": 7},
    ),
    _IGEV,
)

_UNLABELLED = (
    "62M unlabelled ones (BDD100K, Google Landmarks, ImageNet-21K, LSUN, Objects365, Open Images, Places365, SA-1B)"
)

_DEPTH_ANYTHING_SIZES = {"small": ("vits", 24_785_089), "base": ("vitb", 97_470_785), "large": ("vitl", 335_315_649)}


def _depth_anything_v2(size: str) -> ModelCard:
    encoder, parameters = _DEPTH_ANYTHING_SIZES[size]
    return ModelCard(
        name=f"depth-anything-v2-{size}",
        task="mono",
        family="depth-anything",
        summary=f"Depth Anything V2 {size}: inverse depth up to scale and shift",
        source=f"depth-anything/Depth-Anything-V2-{size.capitalize()}-hf",
        licence="Apache-2.0" if size == "small" else "CC-BY-NC-4.0",
        commercial_use=size == "small",
        parameters=parameters,
        training_data=f"595k synthetic pictures (BlendedMVS, Hypersim, IRS, TartanAir, VKITTI 2), then {_UNLABELLED}",
        citation="Yang et al., Depth Anything V2, NeurIPS 2024",
        checkpoint=f"depth_anything_v2_{encoder}.pth",
        page=f"https://huggingface.co/depth-anything/Depth-Anything-V2-{size.capitalize()}",
    )


def _depth_anything_v2_metric(place: str, size: str) -> ModelCard:
    """Its authors state Apache-2.0 for all sizes, but base and large are tuned from networks with another licence."""
    relative = _depth_anything_v2(size)
    farthest_m, data = {"indoor": (20, "Hypersim"), "outdoor": (80, "Virtual KITTI 2")}[place]
    return replace(
        relative,
        name=f"depth-anything-v2-metric-{place}-{size}",
        summary=f"Depth Anything V2 {size}, tuned to {place} scenes: depth in metres up to {farthest_m} m",
        source=f"depth-anything/Depth-Anything-V2-Metric-{place.capitalize()}-{size.capitalize()}-hf",
        licence=relative.licence if size == "small" else f"{relative.licence} (of the V2 it is tuned from)",
        training_data=f"{relative.training_data}, then {data}",
        checkpoint=None,
        page=None,
    )


def _depth_anything_v1(size: str) -> ModelCard:
    return ModelCard(
        name=f"depth-anything-{size}",
        task="mono",
        family="depth-anything-v1",
        summary=f"Depth Anything V1 {size}: inverse depth up to scale and shift",
        source=f"LiheYoung/depth-anything-{size}-hf",
        licence="Apache-2.0",
        commercial_use=True,
        parameters=_DEPTH_ANYTHING_SIZES[size][1],
        training_data=f"1.5M labelled pictures (BlendedMVS, DIML, HRWSI, IRS, MegaDepth, TartanAir) and {_UNLABELLED}",
        citation="Yang et al., Depth Anything: Unleashing the Power of Large-Scale Unlabeled Data, CVPR 2024",
    )


_DPT = ModelCard(
    name="dpt-large",
    task="mono",
    family="midas",
    summary="MiDaS 3.0 (DPT large): inverse depth up to scale and shift",
    source="Intel/dpt-large",
    licence="Apache-2.0",
    commercial_use=True,
    parameters=343_030_465,
    training_data="MIX 6: ten data sets with 1.4M pictures",
    citation="Ranftl, Bochkovskiy and Koltun, Vision Transformers for Dense Prediction, ICCV 2021",
)


_MARIGOLD = ModelCard(
    name="marigold",
    task="mono",
    family="marigold",
    summary="Marigold v1.1: depth up to scale and shift by diffusion, with ensembles",
    source="prs-eth/marigold-depth-v1-1",
    licence="CreativeML OpenRAIL++-M",
    commercial_use=True,
    parameters=1_289_963_947,
    training_data="Stable Diffusion 2 (LAION-5B), then Hypersim and Virtual KITTI",
    citation="Ke et al., Repurposing Diffusion-Based Image Generators for Monocular Depth Estimation, CVPR 2024",
)

_MONO_CARDS = (
    *(_depth_anything_v2(size) for size in _DEPTH_ANYTHING_SIZES),
    *(_depth_anything_v2_metric("indoor", size) for size in _DEPTH_ANYTHING_SIZES),
    *(_depth_anything_v2_metric("outdoor", size) for size in _DEPTH_ANYTHING_SIZES),
    *(_depth_anything_v1(size) for size in _DEPTH_ANYTHING_SIZES),
    _DPT,
    replace(
        _DPT,
        name="dpt-hybrid",
        summary="MiDaS 3.0 (DPT hybrid): inverse depth up to scale and shift, smaller",
        source="Intel/dpt-hybrid-midas",
        parameters=122_377_985,
    ),
    ModelCard(
        name="zoedepth",
        task="mono",
        family="zoedepth",
        summary="ZoeDepth (M12-NK): depth in metres, indoors and outdoors",
        source="Intel/zoedepth-nyu-kitti",
        licence="MIT",
        commercial_use=True,
        parameters=345_073_307,
        training_data="twelve data sets of MiDaS 3.1, then NYU Depth v2 and KITTI",
        citation="Bhat et al., ZoeDepth: Zero-shot Transfer by Combining Relative and Metric Depth, 2023",
    ),
    ModelCard(
        name="depth-pro",
        task="mono",
        family="depth-pro",
        summary="Depth Pro: sharp depth in metres, and the focal length",
        source="apple/DepthPro-hf",
        licence="apple-amlr",
        commercial_use=False,
        parameters=951_994_402,
        training_data="public real and synthetic data sets, listed in the paper's supplement",
        citation="Bochkovskii et al., Depth Pro: Sharp Monocular Metric Depth in Less Than a Second, ICLR 2025",
    ),
    _MARIGOLD,
    replace(
        _MARIGOLD,
        name="marigold-lcm",
        summary="Marigold v1.0 distilled to very few steps: depth up to scale and shift",
        source="prs-eth/marigold-depth-lcm-v1-0",
        licence="Apache-2.0",
    ),
)

_GEOMETRIC = ModelCard(
    name="geometric",
    task="pointmap",
    family="geometric",
    summary="clips without weights: dense flow, epipolar geometry, triangulation, what moves is left out",
    source="built-in",
    licence="Apache-2.0",
    commercial_use=True,
    parameters=0,
    training_data="none",
    citation="Hartley and Zisserman, Multiple View Geometry in Computer Vision, 2nd ed., chapters 9-12",
    settings={"average": "median"},
)

_DUST3R_DATA = "Habitat, MegaDepth, ARKitScenes, Static Scenes 3D, BlendedMVS, ScanNet++, CO3Dv2, Waymo"


def _dust3r(name: str, folder: str, parameters: int, summary: str) -> ModelCard:
    return ModelCard(
        name=name,
        task="pointmap",
        family="dust3r",
        summary=summary,
        source=f"naver/{folder}",
        licence="CC BY-NC-SA 4.0",
        commercial_use=False,
        parameters=parameters,
        training_data=f"CroCo v2, then {_DUST3R_DATA}",
        citation="Wang et al., DUSt3R: Geometric 3D Vision Made Easy, CVPR 2024",
        checkpoint=f"{folder}.pth",
        page="https://github.com/naver/dust3r",
    )


_DUST3R = _dust3r(
    "dust3r-512",
    "DUSt3R_ViTLarge_BaseDecoder_512_dpt",
    571_170_440,
    "DUSt3R at 512 px: pointmaps of two pictures of a scene that stands still, up to scale",
)

_POINTMAP_CARDS = (
    _GEOMETRIC,
    _DUST3R,
    _dust3r(
        "dust3r-512-linear",
        "DUSt3R_ViTLarge_BaseDecoder_512_linear",
        532_342_016,
        "DUSt3R at 512 px with linear heads: faster, coarser at edges",
    ),
    _dust3r(
        "dust3r-224-linear",
        "DUSt3R_ViTLarge_BaseDecoder_224_linear",
        532_342_016,
        "DUSt3R at 224 px with linear heads: the fastest of the pointmap networks",
    ),
    replace(
        _DUST3R,
        name="monst3r",
        summary="MonST3R: DUSt3R tuned to videos in which things move, up to scale",
        source="Junyi42/MonST3R_PO-TA-S-W_ViTLarge_BaseDecoder_512_dpt",
        training_data="DUSt3R's, then PointOdyssey, TartanAir, Spring, Waymo",
        citation="Zhang et al., MonST3R: A Simple Approach for Estimating Geometry in the Presence of Motion, "
        "ICLR 2025",
        checkpoint="MonST3R_PO-TA-S-W_ViTLarge_BaseDecoder_512_dpt.pth",
        page="https://github.com/Junyi42/monst3r",
        settings={"min_confidence": 1.1},
    ),
    ModelCard(
        name="mast3r",
        task="pointmap",
        family="mast3r",
        summary="MASt3R: pointmaps in about metres, and descriptors for matching",
        source="naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
        licence="CC BY-NC-SA 4.0 (and the terms of its data, Map-free's in particular)",
        commercial_use=False,
        parameters=688_638_088,
        training_data=f"DUSt3R's ({_DUST3R_DATA}), Map-free, WildRGB-D, Virtual KITTI, UnrealStereo4K, TartanAir, and "
        "a set of its authors' own",
        citation="Leroy, Cabon and Revaud, Grounding Image Matching in 3D with MASt3R, ECCV 2024",
        checkpoint="MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric.pth",
        page="https://github.com/naver/mast3r",
    ),
)

_CARDS = (
    *_CLASSICAL_CARDS,
    _COMPACT,
    *_STEREO_NETWORK_CARDS,
    *CLASSIC_CARDS,
    *_MONO_CARDS,
    *PROMPTED_CARDS,
    *_POINTMAP_CARDS,
    *VIDEO_CARDS,
    *FLOW_CARDS,
)

DEFAULT_STEREO = "depthweave-s"
DEFAULT_MONO = "depth-anything-v2-small"
DEFAULT_POINTMAP = "geometric"
DEFAULT_VIDEO = "stereodiff-offline"
DEFAULT_FLOW = "dis"


def list_models(task: Task | None = None) -> tuple[ModelCard, ...]:
    """Cards of all models, or of those for one task."""
    return tuple(card for card in _CARDS if task is None or card.task == task)


def find_model(name: str) -> ModelCard:
    """The card of that name.

    Raises:
        UnknownModel: no such name; the sentence proposes the closest ones.
    """
    for card in _CARDS:
        if card.name == name:
            return card
    close = difflib.get_close_matches(name, [card.name for card in _CARDS], n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else "`depthweave models` lists them all."
    raise UnknownModel(f"there is no model '{name}'; {hint}")
