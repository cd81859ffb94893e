"""One table of every model: what it is, where it comes from, and what its licence allows."""

import difflib
from dataclasses import dataclass
from typing import Literal

from depthweave.errors import UnknownModel

Task = Literal["stereo", "mono", "pointmap", "video"]


@dataclass(frozen=True)
class ModelCard:
    """Facts about a model that a user needs before choosing it.

    Attributes:
        name: what `depthweave.load` takes.
        task: stereo, mono, pointmap or video.
        family: the kind of network or algorithm.
        summary: one line for the table.
        source: ``built-in`` (no weights), ``bundled`` (in the wheel) or a hub id.
        licence: of the weights, or of the code where there are none.
        commercial_use: whether that licence allows it.
        parameters: number of weights.
        training_data: what the weights were trained on.
        citation: the paper.
        revision, sha256: pin of a hub source.
    """

    name: str
    task: Task
    family: str
    summary: str
    source: str
    licence: str
    commercial_use: bool
    parameters: int
    training_data: str
    citation: str
    revision: str | None = None
    sha256: str | None = None


def _classical(name: str, summary: str, licence: str, citation: str) -> ModelCard:
    return ModelCard(name, "stereo", "classical", summary, "built-in", licence, True, 0, "none", citation)


_CARDS = (
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

DEFAULT_STEREO = "sgm"


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
