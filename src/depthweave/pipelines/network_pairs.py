"""Pointmap networks as a method of `reconstruct`: every frame encoded once, its pairs decoded in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from depthweave import io, runtime
from depthweave.errors import WrongFile, WrongInput
from depthweave.fusion.pair_graph import earlier_partners, graph_window
from depthweave.models.conversion import read_hub, read_saved
from depthweave.models.families import find_family
from depthweave.models.pointmap.network import PointmapNetwork, Pointmaps
from depthweave.models.pointmap.preparation import prepare_whole
from depthweave.models.registry import ModelCard
from depthweave.models.weights import CONFIG_NAME, find_weights
from depthweave.pipelines.precision import compute_finite
from depthweave.types import Camera, Clip, PairPointmaps, Scale

ALL_FRAMES = 1_000_000
"""The window of graphs that pair a frame with all earlier ones."""


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """What is kept of a frame while it is in the window: 3 MB at 512x384.

    Attributes:
        tokens: of the encoder, where the network runs.
        size: (height, width) in px at which the network saw the frame, and of the pointmaps.
    """

    tokens: Float[Tensor, "1 n c"]
    size: tuple[int, int]


class NetworkPairs:
    """Pairs of frames to pointmaps by DUSt3R, MonST3R or MASt3R; a `PairEstimator`.

    A frame is resized whole (no crop), so that its pointmap covers every pixel. Confidences are the network's raw ones,
    above 1; points that are not finite get 0. A known camera changes nothing here.

    Args:
        network: in its own units: metres, about, for MASt3R, else unknown per pair.
        graph: which frames look at each other, a name that `depthweave.fusion.pair_graph.earlier_partners` knows and
            that does not go around the end of the clip.
        size: longer side in px at which the network sees frames (for 224 px networks 224, the shorter side); None takes
            what it was trained on.
        batch: directed pairs that are decoded at once.
        min_confidence: raw confidence from which a pixel counts as valid.
        device: ``auto`` (cuda, mps, cpu in that order) or a torch device.
        dtype: ``auto`` (half precision on cuda), float32, float16 or bfloat16; heads always compute in float32.
        card: facts about the network.
        revision: of its weights; None takes the card's.

    Raises:
        WrongInput: an unknown graph, or numbers that make no sense.
    """

    def __init__(
        self,
        network: PointmapNetwork,
        *,
        graph: str = "swin-2-noncyclic",
        size: int | None = None,
        batch: int = 8,
        min_confidence: float = 1.5,
        device: str = "auto",
        dtype: str = "auto",
        card: ModelCard | None = None,
        revision: str | None = None,
    ) -> None:
        if batch < 1 or (size is not None and size < 1):
            raise WrongInput(f"batch={batch} and size={size} must be at least 1.")
        earlier_partners(graph, 0)
        self.device = runtime.choose_device(device)
        self.dtype = runtime.choose_dtype(dtype, self.device)
        self.network = network.to(self.device).eval()
        self.graph = graph
        self.size = network.config.image_size if size is None else size
        self.batch = batch
        self.min_confidence = min_confidence
        self.window = graph_window(graph) or ALL_FRAMES
        self.scale = Scale.METRIC if network.family == "mast3r" else Scale.UNKNOWN_SCALE
        self.card = card
        self.revision = revision if revision is not None or card is None else card.revision
        self._alone = False

    @property
    def name(self) -> str:
        """The card's, or that of the kind of network."""
        return self.network.family if self.card is None else self.card.name

    def facts(self) -> dict[str, Any]:
        """What made a result, for its manifest."""
        return {
            "model": self.name,
            "revision": self.revision,
            "licence": None if self.card is None else self.card.licence,
            "options": {"graph": self.graph, "size": self.size, "min_confidence": self.min_confidence},
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
        }

    def calibrate(self, clip: Clip) -> Camera | None:
        """The clip's own camera; and whether it is a single frame, which is then paired with itself.

        Raises:
            WrongInput: the clip has no frames.
        """
        frames = len(list(islice(clip, 2)))
        if frames == 0:
            raise WrongInput(f"{clip.name} has no frames.")
        self._alone = frames == 1
        return clip.camera

    def prepare(self, picture: Float[Tensor, "3 h w"]) -> EncodedFrame:
        """Encode a frame.

        Args:
            picture: R, G, B in [0, 1].

        Raises:
            NotFinite: the network's weights are damaged.
        """
        shown = prepare_whole(picture, self.size)
        height, width = shown.shape[-2:]
        images = shown[None].to(self.device)
        tokens = compute_finite(
            lambda: self.network.encode(images),
            lambda tokens: tokens,
            name=self.name,
            what="frame",
            device=self.device,
            dtype=self.dtype,
        )
        return EncodedFrame(tokens, (height, width))

    def estimate(self, frame: int, prepared: Mapping[int, EncodedFrame]) -> list[PairPointmaps]:
        """Both directions of every pair of a frame with an earlier one that the graph asks for.

        Args:
            frame: the newest.
            prepared: what `prepare` gave, by number; earlier frames that are missing are passed over.

        Raises:
            WrongInput: frames that differ in size.
            NotFinite: the network's weights are damaged.
        """
        if self._alone and frame == 0:
            return self._pairs([(0, 0)], prepared)
        partners = [other for other in earlier_partners(self.graph, frame) if other in prepared]
        return self._pairs([pair for other in partners for pair in ((other, frame), (frame, other))], prepared)

    def _pairs(self, pairs: list[tuple[int, int]], prepared: Mapping[int, EncodedFrame]) -> list[PairPointmaps]:
        for first, second in pairs:
            sizes = [prepared[number].size for number in (first, second)]
            if sizes[0] != sizes[1]:
                one, two = (f"{width}x{height} px" for height, width in sizes)
                raise WrongInput(
                    f"the network sees frame {first} at {one} and frame {second} at {two}; give frames of one size."
                )
        found = []
        for start in range(0, len(pairs), self.batch):
            found += self._decoded(pairs[start : start + self.batch], prepared)
        return found

    def _decoded(self, pairs: Sequence[tuple[int, int]], prepared: Mapping[int, EncodedFrame]) -> list[PairPointmaps]:
        first, second = (torch.cat([prepared[pair[side]].tokens for pair in pairs]) for side in (0, 1))
        size = prepared[pairs[0][0]].size
        answer = compute_finite(
            lambda: self.network.decode(first, second, size, descriptors=False),
            _confidences,
            name=self.name,
            what="pair",
            device=self.device,
            dtype=self.dtype,
        )
        views = [
            (view.points.to("cpu", torch.float32), view.confidence.to("cpu", torch.float32))
            for view in (answer.first, answer.second)
        ]
        maps = [
            (points, torch.where(points.isfinite().all(-1), confidence, torch.zeros_like(confidence)))
            for points, confidence in views
        ]
        # Clones made out here are ordinary tensors, and a caller that keeps one does not keep the batch.
        return [
            PairPointmaps(
                *pair,
                points_first=maps[0][0][index].clone(),
                points_second=maps[1][0][index].clone(),
                confidence_first=maps[0][1][index].clone(),
                confidence_second=maps[1][1][index].clone(),
            )
            for index, pair in enumerate(pairs)
        ]


def build(
    source: ModelCard | str | PathLike[str],
    *,
    card: ModelCard | None = None,
    device: str = "auto",
    dtype: str = "auto",
    **options: Any,
) -> NetworkPairs:
    """The estimator of a card or of a folder.

    Args:
        source: a card, or a folder: one of ours, or, with the card of its family, one of the hub's.
        card: facts about a folder.
        device, dtype: as in `NetworkPairs`.
        options: ``graph``, ``size``, ``batch``, ``min_confidence``, above those of the card.

    Raises:
        MissingWeights: a card whose weights are not on this machine and cannot be fetched.
        WrongFile: a folder that holds something else.
        WrongInput: an option that there is not.
    """
    if isinstance(source, ModelCard):
        card, folder = source, find_weights(source)
    else:
        folder = Path(source)
    known = ("graph", "size", "batch", "min_confidence")
    unknown = [name for name in options if name not in known]
    if unknown:
        raise WrongInput(f"pointmap networks have no option {', '.join(unknown)}; they have {', '.join(known)}.")
    commit = folder.name if folder.parent.name == "snapshots" else None
    settings = {**({} if card is None else card.settings), **options}
    network = read_network(folder, None if card is None else card.family)
    return NetworkPairs(network, card=card, revision=commit, device=device, dtype=dtype, **settings)


def read_network(folder: Path, family: str | None = None) -> PointmapNetwork:
    """The network of a folder of ours, or of the hub's layout.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        family: needed for the hub's layout, which does not state it.

    Raises:
        WrongFile: a folder that holds something else.
    """
    stated = io.read_json(io.require_folder(folder) / CONFIG_NAME, remedy="get it again")
    own = stated.get("family") if isinstance(stated, dict) else None
    kind = own or family
    if kind is None:
        raise WrongFile(f"{folder} does not state its family; say it with `depthweave convert FAMILY {folder}`.")
    if find_family(kind).task != "pointmap":
        raise WrongFile(f"{folder} holds a network of the family {kind}, which gives no pointmaps.")
    found = read_saved(kind, folder) if own else read_hub(kind, folder)
    assert isinstance(found, PointmapNetwork)
    return found


def _confidences(answer: Pointmaps) -> Tensor:
    return torch.stack((answer.first.confidence, answer.second.confidence))
