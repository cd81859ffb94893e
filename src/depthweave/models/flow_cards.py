"""Cards of the models for optical flow."""

from depthweave.models.card import ModelCard

FLOW_CARDS = (
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
