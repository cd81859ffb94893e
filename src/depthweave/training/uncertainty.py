"""Training of the head that says how large the error is."""

from typing import ClassVar

from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.losses import laplace_nll, masked_mean
from depthweave.models.stereo.compact.network import CompactPredictions, CompactStereo, probability_within
from depthweave.training.distill import NO_DISTILLATION, Distillation
from depthweave.training.objective import LossRecipe, Trainee, VolumeTrainee
from depthweave.training.sample import TrainingView


class UncertaintyTrainee(Trainee):
    """A compact matcher with ``uncertainty``: negative log-likelihood of its error under the scale that it predicts.

    With all but the head frozen (`model.frozen`) the disparity stays what it is, and the head learns to judge it; parts
    without a parameter that learns keep the statistics of their normalisation, too. With nothing frozen disparity and
    scale learn together, each error weighted by the certainty that it destroys (Sanket et al., Ajna, Science Robotics
    2023: h = exp(-s), g = s).

    The truth that the right view does not see counts as much as the rest: a scale that is learnt on easy pixels alone
    is too small elsewhere.
    """

    parts: ClassVar[tuple[str, ...]] = ("uncertainty",)

    def compare(
        self, left: TrainingView, right_image: Tensor, trusted: Tensor, weights: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor | None]:
        """See `Trainee.compare`.

        Raises:
            WrongInput: the network has no head for it.
        """
        self._hold_frozen_parts()
        recipe = self.recipe
        found: CompactPredictions = self.network.predictions(  # type: ignore[operator]
            left.image, right_image, iterations=recipe.iterations, max_disparity=recipe.max_disparity
        )
        if found.log_scale is None:
            raise WrongInput("this compact matcher predicts no scale; set model.config.uncertainty=true.")
        disparity, log_scale = found.steps[-1][:, 0], found.log_scale[:, 0]
        error = (disparity - left.disparity).abs().clamp_max(recipe.largest)
        terms = {"uncertainty": masked_mean(laplace_nll(error, log_scale), trusted)}
        return terms, disparity, probability_within(log_scale.detach(), recipe.right_px)

    def _hold_frozen_parts(self) -> None:
        """Evaluation mode wherever nothing learns; the loop sets the whole network to training again and again."""
        for module in self.network.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()


def compact_trainee(network: nn.Module, recipe: LossRecipe, distillation: Distillation = NO_DISTILLATION) -> Trainee:
    """How a compact matcher is trained: for its error's scale if it predicts one, else for its disparity."""
    judges = isinstance(network, CompactStereo) and network.config.uncertainty
    return (UncertaintyTrainee if judges else VolumeTrainee)(network, recipe, distillation)
