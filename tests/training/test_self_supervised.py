"""Learning without truth: what is compared, what is left out, what holds a fine-tuned network, and that it learns."""

import math
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.conftest import Cli, cli  # noqa: F401 - a fixture
from tests.training.tiny_runs import PLAIN, rows, run_tiny, stop_at, tiny_recipe
from torch import Tensor, nn

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.losses import ssim_l1
from depthweave.models.families import find_family
from depthweave.models.stereo.compact import CompactConfig, CompactStereo
from depthweave.models.stereo.compact.network import CompactPredictions
from depthweave.models.stereo.igev import IgevConfig, IgevStereo
from depthweave.models.stereo.raft import RaftConfig, RaftStereo
from depthweave.training.objective import LossRecipe, Outcome
from depthweave.training.recipe import DataRecipe, SourceRecipe, TrainingRecipe
from depthweave.training.sample import TrainingView
from depthweave.training.self_supervised import Answers, SelfSupervisedTrainee, SelfSupervisionRecipe, _expected_cost
from depthweave.training.sources import PairsSource, open_source
from depthweave.training.start import find_recipe, starting_trainee
from depthweave.training.trainees import make_trainee

HEIGHT, WIDTH = 32, 64
LOSS = LossRecipe(max_disparity=32, iterations=1, gamma=0.5)


class Says(nn.Module):
    """Answers with what it was given, for the pair and its mirror image, and remembers what it was asked."""

    def __init__(self, *answers: Tensor | float) -> None:
        super().__init__()
        self.answers = [nn.Parameter(each if isinstance(each, Tensor) else both(each)) for each in answers]
        self.asked: dict[str, Any] = {}

    def predictions(self, left: Tensor, right: Tensor, *, iterations: int = 1) -> Any:
        self.asked = {"left": left, "right": right, "iterations": iterations}
        return self.answers


def both(left: Tensor | float, right: Tensor | float | None = None) -> Tensor:
    """What a network says of a pair and its mirror image, from the disparities (h, w) of the two views."""
    right = left if right is None else right
    planes = [torch.as_tensor(float(each) if not isinstance(each, Tensor) else each) for each in (left, right)]
    first, second = (plane.expand(HEIGHT, WIDTH) for plane in planes)
    return torch.stack([first, second.flip(-1)])[:, None].clone()


def noise(seed: int = 0, width: int = WIDTH) -> Tensor:
    return 255 * torch.rand(1, 3, HEIGHT, width, generator=torch.Generator().manual_seed(seed))


def shifted(px: int, seed: int = 0) -> tuple[TrainingView, Tensor]:
    """A pair of noise whose disparity is the same everywhere, and known."""
    wide = noise(seed, WIDTH + px)
    everywhere = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    left = TrainingView(wide[..., :WIDTH], float(px) * everywhere, everywhere, everywhere, everywhere[:, 0, 0])
    return left, wide[..., px:]


def outcome(network: nn.Module, pair: tuple[TrainingView, Tensor], family: str = "raft", **weights: Any) -> Outcome:
    """With weights of `[self_supervision]` and no others."""
    trainee = SelfSupervisedTrainee(make_trainee(family, network, LOSS), SelfSupervisionRecipe(**weights))
    found = trainee(*pair)
    assert isinstance(found, Outcome)
    return found


# --- what is compared


@pytest.mark.parametrize("term", ["photometric", "census"])
def test_the_true_disparity_costs_least(term: str) -> None:
    pair = shifted(5)
    costs = {px: outcome(Says(px), pair, **{term: 1.0}).loss.item() for px in (3.0, 4.5, 5.0, 5.5, 7.0)}
    assert min(costs, key=lambda px: costs[px]) == 5.0
    assert costs[3.0] > 2 * costs[5.0]
    assert outcome(Says(3.0), pair, **{term: 0.5}).loss.item() == pytest.approx(costs[3.0] / 2)


def test_the_mirror_image_is_compared_too() -> None:
    pair = shifted(5)
    right, wrong = (
        outcome(Says(both(5.0, each)), pair, photometric=1.0, believed=1.0).loss.item() for each in (5.0, 7.0)
    )
    assert wrong > right + 0.05
    network = Says(5.0)
    outcome(network, pair, photometric=1.0)
    assert torch.equal(network.asked["left"], torch.cat([pair[0].image, pair[1].flip(-1)]))
    assert torch.equal(network.asked["right"], torch.cat([pair[1], pair[0].image.flip(-1)]))


def test_truth_is_measured_and_not_learnt() -> None:
    left, right = shifted(5)
    other = replace(left, disparity=left.disparity + 4, visible=~left.visible, known=left.known)
    everything = {"photometric": 1.0, "census": 0.1, "smoothness": 0.1, "consistency": 1.0}
    found, changed = (outcome(Says(4.0), (each, right), **everything) for each in (left, other))
    assert torch.equal(found.loss, changed.loss)
    assert float(found.terms["epe"]) == pytest.approx(1)
    hidden = replace(left, known=torch.zeros_like(left.known))
    blind = outcome(Says(4.0), (hidden, right), **everything)
    assert torch.equal(blind.loss, found.loss)
    assert bool(blind.terms["epe"].isnan())
    assert bool(blind.terms["bad-2.0"].isnan())


def test_every_answer_counts_more_than_the_one_before() -> None:
    pair = shifted(5)
    wrong_first, wrong_last, wrong = (
        outcome(Says(*each), pair, photometric=1.0).loss.item() for each in ((3, 5), (5, 3), (3, 3))
    )
    right = outcome(Says(5, 5), pair, photometric=1.0).loss.item()
    assert right < wrong_first < wrong_last < wrong
    # gamma is 0.5, so the last of two answers has two thirds of the weight; which pixels are seen is said by the last.
    both_wrong = outcome(Says(3.0), pair, photometric=1.0).loss.item()
    both_right = outcome(Says(5.0), pair, photometric=1.0).loss.item()
    assert wrong_last == pytest.approx(both_right / 3 + 2 * both_wrong / 3, rel=0.03)


def test_directions_that_disagree_cost_their_difference() -> None:
    pair = shifted(5)
    assert outcome(Says(both(5.0, 6.0)), pair, consistency=2.0, photometric=1e-9).terms["consistency"].item() == (
        pytest.approx(2 * 1.0, rel=1e-4)
    )
    network = Says(both(5.0, 5.6))
    outcome(network, pair, consistency=1.0, photometric=1e-9).loss.backward()
    gradient = network.answers[0].grad
    assert gradient is not None
    assert float(gradient[0].sum()) < -0.4  # the left one is too small, the right one too large; both are pulled
    assert float(gradient[1].sum()) > 0.4


def test_bends_cost_and_slants_do_not() -> None:
    pair = (
        replace(shifted(5)[0], image=torch.full((1, 3, HEIGHT, WIDTH), 90.0)),
        torch.full((1, 3, HEIGHT, WIDTH), 90.0),
    )
    slant = torch.linspace(4, 6, WIDTH).expand(HEIGHT, WIDTH)
    step = torch.where(torch.arange(WIDTH) < 32, 4.0, 6.0).expand(HEIGHT, WIDTH)
    flat, bent = (
        outcome(Says(both(each)), pair, photometric=1e-9, smoothness=1.0).terms["smoothness"].item()
        for each in (slant, step)
    )
    assert flat < 1e-4
    assert bent == pytest.approx(2 * 2 / WIDTH, rel=1e-4)  # two second differences of 2 px in every row
    first = outcome(Says(both(step)), pair, photometric=1e-9, smoothness=1.0, order=1).terms["smoothness"].item()
    assert first == pytest.approx(2 / WIDTH, rel=1e-4)


# --- what is left out


def test_pixels_that_only_one_view_shows_are_left_out() -> None:
    """In front of a plane at 2 px hangs a strip at 10 px, and to its left 8 columns of the plane are hidden."""
    x = torch.arange(WIDTH)
    left = torch.where((x >= 30) & (x < 46), 10.0, 2.0).expand(HEIGHT, WIDTH)
    right = torch.where((x >= 20) & (x < 36), 10.0, 2.0).expand(HEIGHT, WIDTH)
    trainee = SelfSupervisedTrainee(make_trainee("raft", Says(2.0), LOSS), SelfSupervisionRecipe(photometric=1))
    agreed, visible = trainee._agreement(both(left, right)[:, 0])
    hidden = (x >= 22) & (x < 30)
    assert bool((visible[0] == ~(hidden | (x < 2))).all())
    assert bool((agreed[0] == visible[0]).all())
    assert bool((visible[1].flip(-1)[:, : WIDTH - 2] == ~((x >= 36) & (x < 44))[: WIDTH - 2]).all())
    # Their pictures may be anything.
    plain = SelfSupervisedTrainee(
        make_trainee("raft", Says(2.0), LOSS), SelfSupervisionRecipe(photometric=1, alpha=0, consistency=1)
    )
    step, pictures = both(left, right)[:, 0], torch.cat([noise(1), noise(2)]) / 255
    spoilt = torch.where(visible[:, None], pictures, 1 - pictures)
    terms, same = (plain._terms(step, 1, view, pictures.flip(0), visible, None) for view in (pictures, spoilt))
    assert torch.equal(terms["photometric"], same["photometric"])
    assert float(terms["photometric"]) > 0.1
    assert float(terms["consistency"]) == 0
    changed = plain._terms(step, 1, 1 - pictures, pictures.flip(0), visible, None)
    assert abs(float(changed["photometric"] - terms["photometric"])) > 1e-3


def test_where_hardly_anything_agrees_nothing_is_hidden() -> None:
    raw, settled = both(2.0, 9.0)[:, 0], both(2.0, 2.1)[:, 0]
    trainee = SelfSupervisedTrainee(make_trainee("raft", Says(2.0), LOSS), SelfSupervisionRecipe(photometric=1))
    assert bool(trainee._agreement(raw)[1].all())
    assert not bool(trainee._agreement(raw)[0].any())
    assert not bool(trainee._agreement(settled)[1].all())
    strict = SelfSupervisedTrainee(
        make_trainee("raft", Says(2.0), LOSS), SelfSupervisionRecipe(photometric=1, believed=0)
    )
    assert not bool(strict._agreement(raw)[1].any())


def test_only_the_network_sees_other_colours() -> None:
    pair = shifted(5)
    plain, network = outcome(Says(5.0), pair, photometric=1.0), Says(5.0)
    torch.manual_seed(1)
    found = outcome(network, pair, photometric=1.0, jitter=0.5)
    assert torch.equal(found.loss, plain.loss)
    seen = network.asked["left"]
    assert float((seen[0] - pair[0].image[0]).abs().mean()) > 3
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 255
    ratios = [
        float((network.asked[side][0] / pictures[0]).mean())
        for side, pictures in (("left", pair[0].image), ("right", pair[1]))
    ]
    assert abs(ratios[0] - ratios[1]) > 0.01  # each eye has its own


# --- networks of all families


def test_answers_are_disparities_in_px_of_their_own_size() -> None:
    quarter, half, full = (torch.full((2, 1, 8 * f, 16 * f), float(f)) for f in (1, 2, 4))
    compact = Answers.of(
        CompactPredictions(torch.zeros(2, 8, 16, 8), quarter, (quarter, half, full), torch.zeros(2, 2, 32, 64)), 64
    )
    assert compact.factors == [4, 4, 2, 1]
    assert [float(step.mean()) for step in compact.steps] == [1, 1, 2, 4]
    assert compact.scores is not None
    assert compact.ratings is not None
    several = Answers.of([full, 2 * full], 64)
    assert (several.factors, float(several.disparity.mean())) == ([1, 1], 8)
    assert torch.equal(Answers.of(full, 64).disparity, full[:, 0])

    class Pyramid:
        steps = (torch.full((2, 1, 8, 16), 4.0), torch.full((2, 1, 16, 32), 4.0))
        disparity = full

    pyramid = Answers.of(Pyramid(), 64)
    assert pyramid.factors == [4, 2, 1]
    assert [float(step.mean()) for step in pyramid.steps] == [1, 2, 4]


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("compact", lambda: CompactStereo(CompactConfig.nano())),
        ("raft", lambda: RaftStereo(RaftConfig.nano())),
        ("igev", lambda: IgevStereo(IgevConfig.nano())),
    ],
)
def test_columns_are_the_terms_of_real_networks(family: str, network: Any) -> None:
    torch.manual_seed(3)
    recipe = SelfSupervisionRecipe(
        photometric=1, census=0.1, volume=1, smoothness=0.1, consistency=0.1, rating=0.1, proxy=0.1, proxy_scale=2
    )
    trainee = SelfSupervisedTrainee(make_trainee(family, network(), LOSS), recipe, network()).train()
    found = trainee(*shifted(6))
    assert tuple(found.terms) == trainee.columns
    assert found.disparity.shape == (1, HEIGHT, WIDTH)
    found.loss.backward()
    gradients = [each.grad for each in trainee.network.parameters() if each.grad is not None]
    assert len(gradients) > 20
    assert all(bool(each.isfinite().all()) for each in gradients)
    assert all(each.grad is None and not each.requires_grad for each in trainee.teacher.parameters())


def test_the_expected_cost_of_scores_by_hand() -> None:
    left, right = shifted(8)
    view, other = left.image / 255, right / 255
    small = [torch.nn.functional.avg_pool2d(each, 4) for each in (view, other)]
    cost = torch.stack([ssim_l1(small[0], torch.nn.functional.pad(small[1], (k, 0))[..., :16]) for k in range(8)], -1)
    inside = torch.arange(16)[:, None] >= torch.arange(8)
    neutral = (cost * inside).sum(-1, keepdim=True) / inside.sum(-1, keepdim=True)
    cost = torch.where(inside, cost, neutral)
    uniform = torch.zeros(1, 8, 16, 8)
    assert float(_expected_cost(uniform, view, other, 0.85)) == pytest.approx(float(cost.mean()), rel=1e-5)
    chosen = {k: uniform + 50 * (torch.arange(8) == k) for k in (0, 2, 5)}
    found = {k: float(_expected_cost(scores, view, other, 0.85)) for k, scores in chosen.items()}
    assert found[2] == pytest.approx(float(cost[..., 2].mean()), rel=1e-4)
    assert found[2] < 0.5 * min(found[0], found[5])
    scores = uniform.clone().requires_grad_()
    _expected_cost(scores, view, other, 0.85).backward()
    assert scores.grad is not None
    assert bool((scores.grad[0, :, 8:].mean((0, 1)).argmin() == 2).all())  # the true level, 2 px of 1/4, is raised


# --- what holds a network that is fine-tuned


def nano_pair(recipe: SelfSupervisionRecipe, *, same: bool = True) -> SelfSupervisedTrainee:
    torch.manual_seed(5)
    network, teacher = CompactStereo(CompactConfig.nano()), CompactStereo(CompactConfig.nano())
    if same:
        teacher.load_state_dict(network.state_dict())
    return SelfSupervisedTrainee(make_trainee("compact", network, LOSS), recipe, teacher).train()


def test_a_proxy_pulls_towards_the_start_and_not_from_it() -> None:
    recipe = SelfSupervisionRecipe(proxy=1.0, frozen_norms=True)
    pair = shifted(6)
    own, other = (nano_pair(recipe, same=same) for same in (True, False))
    step = own._terms  # the answers alone, without the scores whose target is soft
    calls: list[float] = []

    def listening(*arguments: Any) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = step(*arguments)
        calls.append(terms["proxy"].item())
        return terms

    own._terms = listening  # type: ignore[method-assign]
    own(*pair)
    assert calls[-1] == pytest.approx(0, abs=1e-9)
    assert float(other(*pair).terms["proxy"]) > float(own(*pair).terms["proxy"])


def test_what_the_teacher_doubts_counts_less() -> None:
    teacher = Says(both(2.0, torch.where(torch.arange(WIDTH) < 32, 2.0, 12.0).expand(HEIGHT, WIDTH)))
    trainee = SelfSupervisedTrainee(
        make_trainee("raft", Says(3.0), replace(LOSS, hidden=0.25)), SelfSupervisionRecipe(proxy=1), teacher
    )
    known = trainee._teach(*(torch.cat([noise(1), noise(2)]),) * 2)
    assert bool((known.weights[0, :, 3:34] == 1).all())
    assert bool((known.weights[0, :, 35:] == 0.25).all())
    assert known.ratings is None
    assert torch.equal(known.disparity, teacher.answers[0][:, 0])


def test_ratings_stay_those_of_the_start_or_follow_agreement() -> None:
    pair = shifted(6)
    own = nano_pair(SelfSupervisionRecipe(photometric=1e-9, rating=1.0, frozen_norms=True))
    own.eval()
    own(*pair).terms["rating"].backward()
    assert all(
        float(each.grad.abs().max()) < 1e-5 for each in own.network.parameters() if each.grad is not None
    )  # cross-entropy with one's own probabilities is at its minimum
    torch.manual_seed(5)
    lone = SelfSupervisedTrainee(
        make_trainee("compact", CompactStereo(CompactConfig.nano()), LOSS),
        SelfSupervisionRecipe(photometric=1e-9, rating=1.0),
    ).eval()
    lone._agreement = lambda disparity: (disparity > -1, disparity < -1)  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(lone.parameters(), 3e-2)
    for _ in range(6):
        optimizer.zero_grad()
        lone(*pair).loss.backward()
        optimizer.step()
    with torch.no_grad():
        rated = lone.network.rated(pair[0].image, pair[1], max_disparity=32)
    assert float(rated[:, 1].mean()) > 0.6
    assert float(rated[:, 2].mean()) < 0.4


def test_the_teacher_never_changes_and_norms_freeze() -> None:
    for frozen in (False, True):
        trainee = nano_pair(SelfSupervisionRecipe(photometric=1, proxy=0.1, frozen_norms=frozen))
        teacher = trainee.teacher
        assert teacher is not None
        before = {name: value.clone() for name, value in teacher.state_dict().items()}
        statistics = {name: value.clone() for name, value in trainee.network.named_buffers()}
        weights = [value.clone() for value in trainee.network.parameters()]
        optimizer = torch.optim.Adam([each for each in trainee.parameters() if each.requires_grad], 1e-3)
        trainee(*shifted(6)).loss.backward()
        optimizer.step()
        assert not teacher.training
        assert trainee.network.training
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
        kept = [torch.equal(value, statistics[name]) for name, value in trainee.network.named_buffers()]
        assert all(kept) == frozen
        assert any(not torch.equal(*each) for each in zip(trainee.network.parameters(), weights, strict=True))


# --- recipes, sources, the command


def test_recipes_that_cannot_be() -> None:
    with pytest.raises(WrongInput, match="window is 4; a census window has a middle"):
        SelfSupervisionRecipe(window=4)
    trainee = make_trainee("raft", Says(1.0), LOSS)
    with pytest.raises(WrongInput, match=r"nothing was started from; set model\.start"):
        SelfSupervisedTrainee(trainee, SelfSupervisionRecipe(proxy=1))
    with pytest.raises(WrongInput, match=r"both have a smoothness above 0; set loss\.smoothness = 0"):
        SelfSupervisedTrainee(
            make_trainee("raft", Says(1.0), replace(LOSS, smoothness=1)), SelfSupervisionRecipe(smoothness=1)
        )
    with pytest.raises(WrongInput, match=r"which \[augment\] shift, color_apart, noise, blur, erase changes apart"):
        TrainingRecipe().changed(["self_supervision.photometric=1"])
    with pytest.raises(WrongInput, match="all sources are pairs without truth; turn on"):
        TrainingRecipe().changed(["data.sources.0.kind='pairs'", "data.sources.0.path='x'"])
    assert not SelfSupervisionRecipe(smoothness=1, rating=1, consistency=1).is_on


@pytest.mark.parametrize("name", ["self-supervised-stereo", "self-supervised-scratch"])
def test_shipped_recipes_are_found_by_name_and_valid(name: str) -> None:
    path = find_recipe(name)
    assert path == Path(str(files("depthweave") / "recipes" / f"{name}.toml"))
    recipe = TrainingRecipe.read(path)
    assert recipe.self_supervision.is_on
    network = find_family(recipe.model.family).network_class()
    assert [side % network.multiple for side in recipe.data.crop] == [0, 0]
    assert recipe.loss.max_disparity <= recipe.data.crop[1]
    assert bool(recipe.self_supervision.proxy) == bool(recipe.model.start)
    assert TrainingRecipe.from_tables(recipe.to_tables()) == recipe
    assert recipe.differences(recipe.changed(["self_supervision.census=2"])) == ("self_supervision.census",)


def test_recipes_that_nobody_brings() -> None:
    with pytest.raises(WrongFile, match="no recipe self-supervised-sterio; did you mean self-supervised-stereo"):
        find_recipe("self-supervised-sterio")
    with pytest.raises(WrongFile, match=r"depthweave brings .*depthweave-s, .*self-supervised-stereo"):
        find_recipe("xyzzy")
    with pytest.raises(WrongFile, match="no recipe worlds"):
        find_recipe("worlds")


def test_the_root_is_where_paths_start() -> None:
    sources = (
        SourceRecipe("pairs", "a", teacher=""),
        SourceRecipe("worlds"),
        SourceRecipe("folder", "/b", teacher="t"),
    )
    found = DataRecipe(root="/data", sources=sources).located
    assert [(each.path, each.teacher) for each in found] == [("/data/a", ""), ("", ""), ("/b", "/data/t")]
    assert DataRecipe(sources=sources).located == sources


def write_pairs(root: Path, count: int = 2, size: tuple[int, int] = (64, 96)) -> None:
    """A folder per pair, im0.png and im1.png of noise at 4 px, without truth."""
    for number in range(count):
        wide = 255 * torch.rand(size[0], size[1] + 4, 3, generator=torch.Generator().manual_seed(number))
        codes = wide.to(torch.uint8).numpy()
        io.write_image(root / f"scene-{number}" / "im0.png", codes[:, : size[1]])
        io.write_image(root / f"scene-{number}" / "im1.png", codes[:, 4:])


def test_pairs_need_no_truth(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    source = open_source("pairs", tmp_path)
    assert isinstance(source, PairsSource)
    assert len(source) == 2
    raw = source.raw(1)
    assert raw.left.image.shape == (64, 96, 3)
    assert torch.equal(raw.left.image[:, 4:], raw.right.image[:, :-4])
    assert raw.left.disparity is None
    assert not bool(raw.left.truth()[1].any())
    assert source.facts() == {"kind": "pairs", "options": {}, "pairs": 2}
    # Truth that lies beside it is not read, not even when it is broken.
    (tmp_path / "scene-1" / "disparity.pfm").write_bytes(b"no")
    assert open_source("pairs", tmp_path).raw(1).left.disparity is None
    with pytest.raises(WrongFile, match="image_2"):
        open_source("pairs", tmp_path, options={"reader": "kitti-2015", "split": "training"})


def test_a_folder_of_pairs_is_one_command(cli: Cli, tmp_path: Path) -> None:  # noqa: F811
    write_pairs(tmp_path / "pairs", size=(96, 160))
    changes = ("data.crop=[64, 128]", "run.steps=1", "loss.max_disparity=64", "run.checkpoint_every=1", "data.batch=1")
    words = [word for change in changes for word in ("--set", change)]
    done = cli(
        "train", "self-supervised-stereo", "--set", f"data.root={tmp_path / 'pairs'}", *words, "-o", tmp_path / "run"
    )
    assert (done.code, done.err) == (0, "")
    pair = tmp_path / "pairs" / "scene-0"
    seen = cli(
        "stereo", pair / "im0.png", pair / "im1.png", "-m", tmp_path / "run" / "network", "-o", tmp_path / "seen"
    )
    assert seen.code == 0
    (tmp_path / "empty").mkdir()
    refused = cli("train", "self-supervised-stereo", "--set", f"data.root={tmp_path / 'empty'}", "-o", tmp_path / "no")
    assert refused.code == 1
    assert "expected left/a.png with right/a.png" in refused.sentence


def self_supervised(pairs: Path, *changes: str) -> TrainingRecipe:
    recipe = tiny_recipe(pairs)
    augment = replace(recipe.augment, **{**PLAIN, "color_apart": 0})
    terms = SelfSupervisionRecipe(photometric=1, volume=1, census=0.05, window=3, jitter=0.1)
    return replace(recipe, augment=augment, self_supervision=terms).changed(changes)


def test_a_resumed_run_is_one_that_never_stopped(pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = self_supervised(pairs, "run.steps=2", "run.checkpoint_every=1")
    whole = run_tiny(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(1, patch)
        with pytest.raises(KeyboardInterrupt):
            run_tiny(recipe, tmp_path / "parts")
    parts = run_tiny(recipe, tmp_path / "parts")
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


def test_a_matcher_is_learnt_from_nothing() -> None:
    torch.manual_seed(0)
    network = CompactStereo(CompactConfig.nano())
    recipe = SelfSupervisionRecipe(photometric=1, volume=2, census=0.02, window=3, consistency=0.02)
    trainee = SelfSupervisedTrainee(make_trainee("compact", network, LOSS), recipe).train()
    optimizer = torch.optim.Adam(trainee.parameters(), 4e-3)
    errors = []
    for step in range(30):
        left, right = shifted((6, 12, 18)[step % 3], seed=step)
        optimizer.zero_grad()
        found = trainee(left, right)
        found.loss.backward()
        optimizer.step()
        errors.append(float(found.terms["epe"]))
    first, last = (math.fsum(part) / 6 for part in (errors[:6], errors[-6:]))
    assert last < 0.5 * first


def test_without_weights_a_run_learns_from_truth() -> None:
    recipe = TrainingRecipe.from_tables({"model": {"config": asdict(CompactConfig.nano())}})
    network = CompactStereo(CompactConfig.nano())
    assert not isinstance(starting_trainee(recipe, network), SelfSupervisedTrainee)
    off = dict.fromkeys(("shift", "color_apart", "noise", "blur", "erase"), 0)
    on = replace(recipe, augment=replace(recipe.augment, **off), self_supervision=SelfSupervisionRecipe(census=1))
    trainee = starting_trainee(on, network)
    assert isinstance(trainee, SelfSupervisedTrainee)
    assert trainee.teacher is None
