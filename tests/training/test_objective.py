"""What training makes small, by hand."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from depthweave.errors import WrongInput
from depthweave.losses import volume_cross_entropy
from depthweave.models.families import FAMILIES
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.compact.network import CompactPredictions
from depthweave.models.stereo.igev import IgevConfig, IgevStereo
from depthweave.models.stereo.raft import RaftConfig, RaftStereo
from depthweave.training.objective import LossRecipe, Outcome, Trainee
from depthweave.training.sample import TrainingView
from depthweave.training.trainees import TRAINEES, make_trainee

HEIGHT, WIDTH, LEVELS = 16, 32, 32
ALONE = LossRecipe(volume=0, start=0, sequence=0, rating=0)
"""No term counts; tests turn on what they are about."""


class Says(nn.Module):
    """Answers with what it was given, and remembers what it was asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def predictions(self, left: Tensor, right: Tensor, **settings: Any) -> Any:
        self.asked = {"left": left, "right": right, **settings}
        return self.answer


def plane(value: float | int, factor: int = 1, batch: int = 1) -> Tensor:
    """One value everywhere, at a part of the size."""
    return torch.full((batch, 1, HEIGHT // factor, WIDTH // factor), float(value))


def answer(*full: Tensor | float, quarter: float = 2.0, half: float = 4.0, batch: int = 1) -> CompactPredictions:
    """Right about 8 px at every size, but where a test says otherwise."""
    last = full[0] if full else 8.0
    return CompactPredictions(
        torch.zeros(batch, HEIGHT // 4, WIDTH // 4, LEVELS),
        plane(2, 4, batch),
        (
            plane(quarter, 4, batch),
            plane(half, 2, batch),
            last if isinstance(last, Tensor) else plane(last, 1, batch),
        ),
        torch.zeros(batch, 2, HEIGHT, WIDTH),
    )


def view(batch: int = 1, **changes: Tensor) -> TrainingView:
    """8 px everywhere, known and visible."""
    everywhere = torch.ones(batch, HEIGHT, WIDTH, dtype=torch.bool)
    values: dict[str, Tensor] = {
        "image": torch.full((batch, 3, HEIGHT, WIDTH), 100.0),
        "disparity": torch.full((batch, HEIGHT, WIDTH), 8.0),
        "known": everywhere,
        "visible": everywhere,
        "has_visibility": torch.ones(batch, dtype=torch.bool),
    }
    return TrainingView(**{**values, **changes})


def outcome(network: nn.Module | CompactPredictions, left: TrainingView, recipe: LossRecipe = ALONE) -> Outcome:
    network = network if isinstance(network, nn.Module) else Says(network)
    return make_trainee("compact", network, recipe)(left, left.image)


def left_half() -> Tensor:
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[..., : WIDTH // 2] = True
    return mask


def test_the_network_is_asked_as_the_recipe_says() -> None:
    network = Says(answer())
    left = view()
    found = make_trainee("compact", network, replace(ALONE, iterations=3, max_disparity=96))(left, left.image + 1)
    assert network.asked["left"] is left.image
    assert torch.equal(network.asked["right"], left.image + 1)
    assert (network.asked["iterations"], network.asked["max_disparity"]) == (3, 96)
    assert torch.equal(found.disparity, torch.full((1, HEIGHT, WIDTH), 8.0))
    assert found.confidence is not None
    assert torch.equal(found.confidence, torch.full((1, HEIGHT, WIDTH), 0.5))


def test_the_scores_are_compared_at_a_quarter_of_the_size() -> None:
    even = outcome(answer(), view(), replace(ALONE, volume=0.5))
    assert float(even.terms["volume"]) == pytest.approx(0.5 * math.log(LEVELS), abs=1e-5)
    scores = torch.randn(1, HEIGHT // 4, WIDTH // 4, LEVELS, generator=torch.Generator().manual_seed(1))
    truth = 60 * torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    found = outcome(replace(answer(), scores=scores), view(disparity=truth), replace(ALONE, volume=2, width=0.7)).terms[
        "volume"
    ]
    coarse = torch.stack(
        [torch.stack([truth[0, 4 * y + 2, 4 * x + 2] / 4 for x in range(WIDTH // 4)]) for y in range(HEIGHT // 4)]
    )
    wanted = 2 * volume_cross_entropy(scores[0], coarse, width=0.7).mean()
    torch.testing.assert_close(found, wanted)


def test_the_start_is_compared_in_px_of_a_quarter() -> None:
    for start, penalty in ((2.0, 0.0), (3.0, 1 - 0.125), (1.9, 0.01 / 0.5), (22.0, 8 - 0.125)):
        found = outcome(replace(answer(), start=plane(start, 4)), view(), replace(ALONE, start=0.5))
        assert float(found.terms["start"]) == pytest.approx(0.5 * penalty, abs=1e-5)


def test_every_step_counts_in_px_of_the_picture() -> None:
    recipe = replace(ALONE, sequence=0.3, gamma=0.8)
    found = outcome(answer(8.5, quarter=3, half=4.1), view(), recipe)
    # Errors of 4, 0.2 and 0.5 px; smooth L1 with beta 1.
    wanted = 0.3 * (0.64 * 3.5 + 0.8 * 0.02 + 0.125)
    assert float(found.terms["sequence"]) == pytest.approx(wanted, abs=1e-5)
    assert float(found.loss) == pytest.approx(wanted, abs=1e-5)
    assert float(found.terms["epe"]) == pytest.approx(0.5)
    assert float(found.terms["bad-2.0"]) == 0
    far = outcome(answer(8 + 100), view(), replace(recipe, largest=10, beta=2))
    assert float(far.terms["sequence"]) == pytest.approx(0.3 * 9, abs=1e-5)
    assert float(far.terms["epe"]) == pytest.approx(100)
    assert float(far.terms["bad-2.0"]) == pytest.approx(100)


def test_the_loss_is_the_sum_of_its_terms_and_not_of_the_errors() -> None:
    found = outcome(answer(9.0), view(), LossRecipe())
    weighted = [value for name, value in found.terms.items() if name not in ("epe", "bad-2.0")]
    assert len(weighted) == 4
    assert all(float(value) > 0 for name, value in found.terms.items() if name in ("volume", "sequence", "rating"))
    torch.testing.assert_close(found.loss, torch.stack(weighted).sum())


@pytest.mark.parametrize("hidden", [0.0, 0.4, 1.0])
def test_hidden_pixels_weigh_less(hidden: float) -> None:
    full = plane(8.0)
    full[..., WIDTH // 2 :] = 11  # 3 px off where the right view sees nothing
    start = plane(2.0, 4)
    start[..., WIDTH // 8 :] = 4
    scores = torch.zeros(1, HEIGHT // 4, WIDTH // 4, LEVELS)
    scores[:, :, WIDTH // 8 :, 20] = 5.0
    recipe = replace(ALONE, sequence=1, start=1, volume=1, hidden=hidden)
    found = outcome(replace(answer(full), start=start, scores=scores), view(visible=left_half()), recipe)
    share = hidden / (1 + hidden)
    assert float(found.terms["sequence"]) == pytest.approx(share * 2.5, abs=1e-5)
    assert float(found.terms["start"]) == pytest.approx(share * (2 - 0.125), abs=1e-5)
    seen, unseen = volume_cross_entropy(scores[0, :1, [0, -1]], torch.full((1, 2), 2.0), width=0.5)[0]
    mean = (float(seen) + hidden * float(unseen)) / (1 + hidden)
    assert float(unseen) > float(seen) + 1
    assert float(found.terms["volume"]) == pytest.approx(mean, abs=1e-5)
    assert float(found.terms["epe"]) == 0  # of visible pixels only


def unknown(truth: Tensor) -> TrainingView:
    """The right half is not known, its filler as in `truth`."""
    half = left_half()
    return view(disparity=truth, known=half, visible=half)


@pytest.mark.parametrize("filler", [8.0, 0.0, -3.0, 1e4, math.nan, math.inf])
def test_unknown_truth_takes_no_part(filler: float) -> None:
    truth = torch.full((1, HEIGHT, WIDTH), 8.0)
    truth[..., WIDTH // 2 :] = filler
    full = plane(9.0)
    full[..., WIDTH // 2 :] = 30
    full.requires_grad_()
    recipe = replace(LossRecipe(), smoothness=0.1)
    found = outcome(answer(full), unknown(truth), recipe)
    wanted = outcome(answer(full.detach()), unknown(torch.full((1, HEIGHT, WIDTH), 8.0)), recipe)
    for name, value in wanted.terms.items():
        torch.testing.assert_close(found.terms[name], value)
    assert float(found.terms["epe"]) == pytest.approx(1)
    assert float(found.terms["rating"]) == pytest.approx(0.1 * 2 * math.log(2), abs=1e-5)
    (gradient,) = torch.autograd.grad(found.loss - found.terms["smoothness"], full)
    assert not gradient[..., WIDTH // 2 :].any()
    assert gradient[..., : WIDTH // 2].all()


def test_truth_beyond_the_searched_range_takes_no_part() -> None:
    truth = torch.full((1, HEIGHT, WIDTH), 8.0)
    truth[..., WIDTH // 2 :] = 60.0  # a volume of 64 px ends at 60
    full = plane(8.5)
    full[..., WIDTH // 2 :] = 20
    start = plane(2.0, 4)
    start[..., WIDTH // 8 :] = 5
    ratings = torch.zeros(1, 2, HEIGHT, WIDTH)
    ratings[..., WIDTH // 2 :] = 9
    said = replace(answer(full), start=start, ratings=ratings, scores=torch.zeros(1, HEIGHT // 4, WIDTH // 4, 16))
    found = outcome(said, view(disparity=truth), LossRecipe(max_disparity=64))
    wanted = outcome(said, unknown(truth), LossRecipe(max_disparity=64))
    for name, value in wanted.terms.items():
        torch.testing.assert_close(found.terms[name], value)
    assert float(found.terms["epe"]) == pytest.approx(0.5)
    truth[..., WIDTH // 2 :] = 59.5
    inside = outcome(said, view(disparity=truth), LossRecipe(max_disparity=64))
    assert float(inside.terms["epe"]) == pytest.approx((0.5 + 39.5) / 2)
    assert float(inside.terms["rating"]) > float(wanted.terms["rating"]) + 0.05


def test_nothing_known_costs_nothing() -> None:
    nothing = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    full = plane(9.0).requires_grad_()
    found = outcome(answer(full), view(known=nothing, visible=nothing), LossRecipe())
    assert float(found.loss.detach()) == 0
    (gradient,) = torch.autograd.grad(found.loss, full)
    assert not gradient.any()


def test_the_first_rating_tells_whether_the_answer_is_right() -> None:
    full = plane(8.9)
    full[..., WIDTH // 2 :] = 9.1
    ratings = torch.zeros(1, 2, HEIGHT, WIDTH)
    ratings[:, 0] = 2.0
    nobody = torch.zeros(1, dtype=torch.bool)
    recipe = replace(ALONE, rating=0.1)
    said = replace(answer(full), ratings=ratings)
    found = outcome(said, view(has_visibility=nobody), recipe)
    right, wrong = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
    assert float(found.terms["rating"]) == pytest.approx(0.1 * (right + wrong) / 2, abs=1e-5)
    wider = outcome(said, view(has_visibility=nobody), replace(recipe, right_px=2.0))
    assert float(wider.terms["rating"]) == pytest.approx(0.1 * right, abs=1e-5)
    assert found.confidence is not None
    torch.testing.assert_close(found.confidence, torch.full((1, HEIGHT, WIDTH), 1 / (1 + math.exp(-2))))
    # Hidden pixels have a confidence like all others.
    hidden = outcome(said, view(has_visibility=nobody, visible=left_half()), recipe)
    torch.testing.assert_close(hidden.terms["rating"], found.terms["rating"])


def test_the_second_rating_is_told_only_where_visibility_is_known() -> None:
    ratings = torch.zeros(2, 2, HEIGHT, WIDTH)
    ratings[0, 1], ratings[1, 1] = 1.0, 3.0
    visible = left_half().expand(2, -1, -1)
    recipe = replace(ALONE, rating=1)
    certain = math.log(2)
    each = [(math.log1p(math.exp(-x)) + math.log1p(math.exp(x))) / 2 for x in (1, 3)]
    for told, wanted in (
        ((True, False), each[0]),
        ((False, True), each[1]),
        ((False, False), 0.0),
        ((True, True), sum(each) / 2),
    ):
        left = view(2, visible=visible, has_visibility=torch.tensor(told))
        found = outcome(replace(answer(batch=2), ratings=ratings), left, recipe)
        assert float(found.terms["rating"]) == pytest.approx(certain + wanted, abs=1e-5)


def test_ratings_do_not_pull_at_the_disparity() -> None:
    full, ratings = plane(8.5).requires_grad_(), torch.zeros(1, 2, HEIGHT, WIDTH, requires_grad=True)
    found = outcome(replace(answer(full), ratings=ratings), view(), replace(ALONE, rating=1))
    pulls = torch.autograd.grad(found.terms["rating"], (full, ratings), allow_unused=True)
    assert pulls[0] is None
    assert pulls[1].all()
    assert not found.disparity.requires_grad


def test_smoothness_is_of_the_last_disparity() -> None:
    columns = torch.arange(float(WIDTH)).expand(1, 1, HEIGHT, WIDTH)
    recipe = replace(ALONE, smoothness=0.5)
    assert float(outcome(answer(3 * columns), view(), recipe).terms["smoothness"]) == pytest.approx(0, abs=1e-6)
    bent = outcome(answer(columns.square()), view(), recipe)
    wanted = 0.5 * 2 * (WIDTH - 2) / WIDTH  # the second difference of x squared is 2
    assert float(bent.terms["smoothness"]) == pytest.approx(wanted, abs=1e-4)
    assert float(bent.loss) == pytest.approx(wanted, abs=1e-4)
    stripes = (25.5 * (columns % 2)).expand(1, 3, HEIGHT, WIDTH)  # with second differences of 0.2
    edges = outcome(answer(columns.square()), view(image=stripes), recipe)
    assert float(edges.terms["smoothness"]) == pytest.approx(wanted * math.exp(-10 * 0.2), abs=1e-4)


def sequence(recipe: LossRecipe, *answers: float, truth: TrainingView | None = None) -> Outcome:
    left = view() if truth is None else truth
    return make_trainee("raft", Says([plane(each) for each in answers]), recipe)(left, left.image)


def test_recurrent_networks_learn_from_every_answer() -> None:
    recipe = LossRecipe(sequence=0.5, gamma=0.8, beta=0, iterations=3)
    found = sequence(recipe, 12, 9, 8.5)  # errors 4, 1 and 0.5 px
    wanted = 0.5 * (0.8**3 * 4 + 0.8**2 * 1 + 0.8 * 0.5)
    assert float(found.terms["sequence"]) == pytest.approx(wanted, abs=1e-5)
    assert float(found.loss) == pytest.approx(wanted, abs=1e-5)
    assert float(found.terms["epe"]) == pytest.approx(0.5)
    assert found.confidence is None
    rule = sequence(replace(recipe, gamma=0), 12, 9, 8.5)
    gamma = 0.9 ** (15 / 3)
    assert float(rule.loss) == pytest.approx(0.5 * (gamma**3 * 4 + gamma**2 + gamma * 0.5), abs=1e-5)
    round_ = sequence(replace(recipe, beta=2, largest=3), 12, 9, 8.5)
    assert float(round_.loss) == pytest.approx(0.5 * (0.8**3 * 2 + 0.8**2 / 4 + 0.8 / 16), abs=1e-5)


def test_recurrent_networks_learn_less_from_hidden_pixels() -> None:
    full = plane(8.0)
    full[..., WIDTH // 2 :] = 10
    left = view(visible=left_half())
    network = Says([full])
    found = make_trainee("raft", network, LossRecipe(sequence=1, gamma=1, beta=0, hidden=0.25))(left, left.image)
    assert float(found.loss) == pytest.approx(0.2 * 2, abs=1e-5)
    assert network.asked["iterations"] == 2
    assert "max_disparity" not in network.asked


def test_a_volume_that_starts_a_recurrence_learns_by_itself() -> None:
    recipe = LossRecipe(start=0.5, sequence=2, gamma=0.8, beta=0, iterations=2)
    left = view()
    found = make_trainee("igev", Says([plane(each) for each in (11, 9, 8.5)]), recipe)(left, left.image)
    assert float(found.terms["start"]) == pytest.approx(0.5 * 2.5, abs=1e-5)  # smooth L1 of 3 px
    assert float(found.terms["sequence"]) == pytest.approx(2 * (0.8**2 * 1 + 0.8 * 0.5), abs=1e-5)
    assert float(found.terms["epe"]) == pytest.approx(0.5)


@pytest.mark.parametrize("smoothness", [0.0, 0.1])
@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("compact", lambda: CompactStereo(CompactConfig.nano())),
        ("raft", lambda: RaftStereo(RaftConfig.nano())),
        ("igev", lambda: IgevStereo(IgevConfig.nano())),
    ],
)
def test_columns_are_the_terms_of_real_networks(family: str, network: Any, smoothness: float) -> None:
    torch.manual_seed(3)
    recipe = LossRecipe(smoothness=smoothness, max_disparity=64, iterations=1)
    trainee = make_trainee(family, network(), recipe)
    everywhere = torch.ones(2, 32, 64, dtype=torch.bool)
    pictures = 255 * torch.rand(2, 3, 32, 64)
    left = TrainingView(pictures, 6.0 * everywhere, everywhere, everywhere, everywhere[:, 0, 0])
    found = trainee(left, pictures.roll(-6, -1))
    assert tuple(found.terms) == trainee.columns
    assert found.disparity.shape == (2, 32, 64)
    found.loss.backward()
    gradients = [parameter.grad for parameter in trainee.parameters() if parameter.grad is not None]
    assert len(gradients) > 20
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_every_way_to_train_belongs_to_a_family() -> None:
    assert set(TRAINEES) <= set(FAMILIES)
    assert issubclass(type(make_trainee("defom", Says(None), LossRecipe())), Trainee)
    with pytest.raises(
        WrongInput,
        match=r"family 'depth-anything' are not trained here; there are compact, .*raft, defom, igev, .*dispnet",
    ):
        make_trainee("depth-anything", Says(None), LossRecipe())
