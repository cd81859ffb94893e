"""Cards of the matchers that made learned stereo: PSMNet and AnyNet."""

from depthweave.models.card import ModelCard

CLASSIC_CARDS = (
    ModelCard(
        name="psmnet",
        task="stereo",
        family="psmnet",
        summary="PSMNet: pyramid features, and a volume of 192 px under three stacked hourglasses",
        source="convert",
        licence="code MIT, checkpoint not stated",
        commercial_use=None,
        parameters=5_224_768,
        training_data="Scene Flow (the Scene Flow checkpoints; the others add KITTI 2012 or 2015)",
        citation="Chang and Chen, Pyramid Stereo Matching Network, CVPR 2018",
        checkpoint="pretrained_sceneflow_new.tar",
        variants=("pretrained_sceneflow.tar", "pretrained_model_KITTI2015.tar", "pretrained_model_KITTI2012.tar"),
        page="https://github.com/JiaRenChang/PSMNet",
    ),
    ModelCard(
        name="anynet",
        task="stereo",
        family="anynet",
        summary="AnyNet: from coarse to fine in four stages, each of which is an answer; tiny and fast",
        source="convert",
        licence="code MIT, checkpoint not stated",
        commercial_use=None,
        parameters=43_269,
        training_data="Scene Flow (the Scene Flow checkpoint; the others add KITTI 2012 or 2015)",
        citation="Wang et al., Anytime Stereo Image Depth Estimation on Mobile Devices, ICRA 2019",
        checkpoint="sceneflow.tar",
        variants=("checkpoint.tar",),
        page="https://github.com/mileyan/AnyNet",
        settings={"stages": 4},
    ),
)
