"""How each family of networks is trained."""

from collections.abc import Callable, Mapping

from torch import nn

from depthweave.errors import WrongInput
from depthweave.training.classic import HourglassTrainee, ScalesTrainee, StagesTrainee
from depthweave.training.distill import NO_DISTILLATION, Distillation
from depthweave.training.flow import FlowTrainee
from depthweave.training.objective import LossRecipe, SequenceTrainee, StartedSequenceTrainee, Trainee
from depthweave.training.uncertainty import compact_trainee

TRAINEES: Mapping[str, Callable[[nn.Module, LossRecipe, Distillation], Trainee]] = {
    "compact": compact_trainee,
    "raft": SequenceTrainee,
    "defom": SequenceTrainee,
    "igev": StartedSequenceTrainee,
    "compact-flow": FlowTrainee,
    "dispnet": ScalesTrainee,
    "psmnet": HourglassTrainee,
    "anynet": StagesTrainee,
}
"""By the name of the family."""


def make_trainee(
    family: str, network: nn.Module, recipe: LossRecipe, distillation: Distillation = NO_DISTILLATION
) -> Trainee:
    """A network of that family with its loss.

    Raises:
        WrongInput: nobody has said how that family is trained.
    """
    if family not in TRAINEES:
        raise WrongInput(f"networks of the family '{family}' are not trained here; there are {', '.join(TRAINEES)}.")
    return TRAINEES[family](network, recipe, distillation)
