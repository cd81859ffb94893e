"""What a user should know about a model before choosing it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Task = Literal["stereo", "mono", "pointmap", "video", "flow"]


@dataclass(frozen=True)
class ModelCard:
    """Facts about a model that a user needs before choosing it.

    Attributes:
        name: what `depthweave.load` takes.
        task: stereo, mono, pointmap, video or flow.
        family: the kind of network or algorithm.
        summary: one line for the table.
        source: ``built-in`` (no weights), ``bundled`` (in the wheel), ``convert`` (the official checkpoint, through
            `depthweave convert`), ``parts`` (the weights of its parts) or a hub id.
        licence: of the weights, or of the code where there are none.
        commercial_use: whether that licence allows it; None where nobody has stated a licence for a part.
        parameters: number of weights.
        training_data: what the weights were trained on.
        citation: the paper.
        revision, sha256: pin of a hub source.
        checkpoint: official file that `depthweave convert` takes, the one that its authors recommend.
        variants: other official files of the same network.
        page: where the authors offer these files.
        settings: options that suit the model best; what a caller passes goes before them.
        parts: names of the models that this one is made of; it has no weights of its own then.
    """

    name: str
    task: Task
    family: str
    summary: str
    source: str
    licence: str
    commercial_use: bool | None
    parameters: int
    training_data: str
    citation: str
    revision: str | None = None
    sha256: str | None = None
    checkpoint: str | None = None
    variants: tuple[str, ...] = ()
    page: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
