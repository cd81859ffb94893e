"""Cards of the models for optical flow."""

from depthweave.models.card import ModelCard

FLOW_CARDS = (
    ModelCard(
        name="depthweave-flow-s",
        task="flow",
        family="compact-flow",
        summary="small network of depthweave: refines dense inverse search with a flow of its own, checked both ways",
        source="bundled",
        licence="Apache-2.0",
        commercial_use=True,
        parameters=1_466_996,
        training_data="worlds rendered by depthweave (no photographs)",
        citation="depthweave; built from Teed and Deng, RAFT, ECCV 2020, and Xu et al., GMFlow, CVPR 2022",
        settings={"max_pixels": 400_000, "change_px": 3.0},
    ),
    ModelCard(
        name="dis",
        task="flow",
        family="classical-flow",
        summary="dense inverse search (OpenCV), checked both ways",
        source="built-in",
        licence="Apache-2.0 (OpenCV)",
        commercial_use=True,
        parameters=0,
        training_data="none",
        citation="Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016",
    ),
    ModelCard(
        name="farneback",
        task="flow",
        family="classical-flow",
        summary="polynomial expansion (OpenCV), checked both ways",
        source="built-in",
        licence="Apache-2.0 (OpenCV)",
        commercial_use=True,
        parameters=0,
        training_data="none",
        citation="Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion, SCIA 2003",
    ),
)
