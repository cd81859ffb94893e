"""Training of the classic matchers: their terms by hand, and tiny ones that learn eight pairs by heart."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import rows, run_tiny, tiny_recipe
from torch import Tensor, nn

from depthweave.losses import balanced_cross_entropy, edge_aware_smoothness, near_edges
from depthweave.models.families import find_family
from depthweave.models.stereo.anynet import AnyNet, AnyNetConfig
from depthweave.models.stereo.dispnet import Dispnet, DispnetConfig
from depthweave.models.stereo.dispnet.network import DispnetPredictions
from depthweave.models.stereo.psmnet import PsmNet, PsmNetConfig
from depthweave.training.objective import LossRecipe, Outcome
from depthweave.training.recipe import TrainingRecipe
from depthweave.training.sample import TrainingView
from depthweave.training.trainees import make_trainee

HEIGHT, WIDTH = 64, 64
ALONE = LossRecipe(sequence=1, gamma=0.5, beta=0, edges=0, edge_smoothness=0)
RECIPES = ("dispnet-small", "unet-small", "edge-small", "psmnet-small", "anynet-small")


class Says(nn.Module):
    """Answers with what it was given, and remembers what it was asked."""

    def __init__(self, answer: Any, *, edges: bool = False) -> None:
        super().__init__()
        self.answer = answer
        self.config = SimpleNamespace(edges=edges)
        self.asked: dict[str, Any] = {}

    def predictions(self, left: Tensor, right: Tensor, **settings: Any) -> Any:
        self.asked = {"left": left, "right": right, **settings}
        return self.answer


def plane(value: float | int, factor: int = 1) -> Tensor:
    return torch.full((1, 1, HEIGHT // factor, WIDTH // factor), float(value))


def view(**changes: Tensor) -> TrainingView:
    """8 px everywhere, known and visible."""
    everywhere = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    values: dict[str, Tensor] = {
        "image": torch.full((1, 3, HEIGHT, WIDTH), 100.0),
        "disparity": torch.full((1, HEIGHT, WIDTH), 8.0),
        "known": everywhere,
        "visible": everywhere,
        "has_visibility": torch.ones(1, dtype=torch.bool),
    }
    return TrainingView(**{**values, **changes})


def scales(*errors: float, edges: tuple[Tensor, ...] = (), last: Tensor | None = None) -> DispnetPredictions:
    """8 px and an error at 1/64, 1/32, ... 1/2."""
    steps = tuple(plane(8 + error, 64 >> n) for n, error in enumerate(errors))
    return DispnetPredictions(steps, plane(8 + errors[-1]) if last is None else last, edges)


def outcome(
    family: str, answer: Any, left: TrainingView, recipe: LossRecipe = ALONE, *, edges: bool = False
) -> Outcome:
    return make_trainee(family, Says(answer, edges=edges), recipe)(left, left.image)


class TestScales:
    def test_each_size_counts_a_share_of_the_next_finer_one(self) -> None:
        found = outcome("dispnet", scales(32, 16, 8, 4, 2, 1), view())
        assert float(found.terms["sequence"]) == pytest.approx(1 + 2 / 2 + 4 / 4 + 8 / 8 + 16 / 16 + 32 / 32)
        assert float(found.loss) == pytest.approx(6)
        assert float(found.terms["epe"]) == pytest.approx(1)
        rounded = outcome("dispnet", scales(0, 0, 0, 0, 0, 50), view(), replace(ALONE, beta=2, largest=10, sequence=3))
        assert float(rounded.loss) == pytest.approx(3 * 9)

    def test_the_truth_of_a_coarse_pixel_lies_in_its_middle(self) -> None:
        truth = torch.full((1, HEIGHT, WIDTH), 30.0)
        for factor in (64, 32, 16, 8, 4, 2):
            truth[:, factor // 2 :: factor, factor // 2 :: factor] = 8.0
        steps = scales(0, 0, 0, 0, 0, 0)
        assert float(outcome("dispnet", steps, view(disparity=truth)).loss) == 0

    @pytest.mark.parametrize("hidden", [0.0, 0.5, 1.0])
    def test_hidden_and_unknown_pixels(self, hidden: float) -> None:
        visible = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
        visible[..., WIDTH // 2 :] = False
        known = torch.ones_like(visible)
        known[:, : HEIGHT // 2] = False
        truth = torch.where(visible, 8.0, 11.0)
        truth[~known] = math.nan
        left = view(disparity=truth, known=known, visible=visible & known)
        found = outcome("dispnet", scales(0, 0, 0, 0, 0, 0), left, replace(ALONE, gamma=1e-9, hidden=hidden))
        assert float(found.loss) == pytest.approx(3 * hidden / (1 + hidden), rel=1e-5)


class TestEdges:
    def test_edges_are_steps_of_the_truth(self) -> None:
        truth = torch.full((1, HEIGHT, WIDTH), 8.0)
        truth[..., 20:] = 10.0
        generator = torch.Generator().manual_seed(1)
        maps = tuple(torch.randn(1, 1, HEIGHT, WIDTH, generator=generator) for _ in range(4))
        answer = scales(0, 0, 0, 0, 0, 0, edges=maps)
        left = view(disparity=truth)
        found = outcome("dispnet", answer, left, replace(ALONE, edges=3, edge_px=1.5), edges=True)
        borders = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
        borders[..., 19:21] = True
        wanted = sum(balanced_cross_entropy(each[:, 0], borders, left.known).mean() for each in maps)
        torch.testing.assert_close(found.terms["edges"], 3 * wanted)
        none = outcome("dispnet", answer, left, replace(ALONE, edges=3, edge_px=2.5), edges=True)
        assert float(none.terms["edges"]) == 0

    def test_unknown_truth_has_no_edges(self) -> None:
        truth = torch.full((1, HEIGHT, WIDTH), 8.0)
        truth[..., 20:] = 10.0
        known = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
        known[..., 20:] = False
        maps = (torch.zeros(1, 1, HEIGHT, WIDTH, requires_grad=True),)
        answer = scales(0, 0, 0, 0, 0, 0, edges=maps)
        left = view(disparity=truth, known=known, visible=known)
        found = outcome("dispnet", answer, left, replace(ALONE, edges=1), edges=True)
        assert float(found.terms["edges"].detach()) == 0

    def test_predicted_edges_let_the_disparity_step(self) -> None:
        last = plane(8)
        last[..., 30:] = 12
        edges = torch.full((1, 1, HEIGHT, WIDTH), -3.0)
        edges[..., 30:] = 3.0
        edges.requires_grad_()
        last.requires_grad_()
        answer = scales(0, 0, 0, 0, 0, 0, edges=(edges,), last=last)
        found = outcome("dispnet", answer, view(), replace(ALONE, edge_smoothness=0.5), edges=True)
        guide = torch.sigmoid(edges.detach())
        step = float(guide[0, 0, 0, 30] - guide[0, 0, 0, 29])
        wanted = 0.5 * 4 * math.exp(-10 * step) / WIDTH
        assert float(found.terms["bent"].detach()) == pytest.approx(wanted, rel=1e-4)
        torch.testing.assert_close(
            found.terms["bent"] / 0.5, edge_aware_smoothness(last[:, 0], guide, beta=10.0).mean()
        )
        pulls = torch.autograd.grad(found.terms["bent"], (last, edges), allow_unused=True)
        assert pulls[0].any()
        assert pulls[1] is None or not pulls[1].any()


class TestHeads:
    @pytest.mark.parametrize(
        ("family", "errors", "wanted"),
        [
            ("psmnet", (4, 2, 1), 0.5 * 4 + 0.7 * 2 + 1),
            ("psmnet", (3,), 3),
            ("anynet", (8, 4, 2, 1), 0.25 * 8 + 0.5 * 4 + 2 + 1),
            ("anynet", (8, 4, 2), 0.25 * 8 + 0.5 * 4 + 2),
        ],
    )
    def test_every_answer_has_its_weight(self, family: str, errors: tuple[float, ...], wanted: float) -> None:
        network = Says([plane(8 + error) for error in errors])
        left = view()
        found = make_trainee(family, network, replace(ALONE, max_disparity=48, sequence=2))(left, left.image)
        assert float(found.loss) == pytest.approx(2 * wanted)
        assert float(found.terms["epe"]) == pytest.approx(errors[-1])
        assert network.asked["max_disparity"] == 48

    def test_hidden_pixels_weigh_less_and_errors_are_limited(self) -> None:
        visible = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
        visible[..., WIDTH // 2 :] = False
        answer = [plane(8), plane(8), plane(8)]
        answer[-1][..., WIDTH // 2 :] = 38
        left = view(visible=visible)
        recipe = replace(ALONE, hidden=0.5, beta=1, largest=10)
        found = outcome("psmnet", answer, left, recipe)
        assert float(found.loss) == pytest.approx(9.5 * 0.5 / 1.5)


NETWORKS: dict[str, tuple[str, Any]] = {
    "dispnet": ("dispnet", DispnetConfig.nano()),
    "unet": ("dispnet", replace(DispnetConfig.nano(), correlation=False)),
    "edge": ("dispnet", replace(DispnetConfig.nano(), edges=True)),
    "psmnet": ("psmnet", PsmNetConfig.nano()),
    "anynet": ("anynet", AnyNetConfig.nano()),
}
CLASSES: Mapping[str, type[Any]] = {"dispnet": Dispnet, "psmnet": PsmNet, "anynet": AnyNet}


@pytest.mark.parametrize("name", NETWORKS)
def test_columns_are_the_terms_of_real_networks(name: str) -> None:
    family, config = NETWORKS[name]
    torch.manual_seed(3)
    trainee = make_trainee(family, CLASSES[family](config), LossRecipe(max_disparity=32, smoothness=0.1))
    pictures = 255 * torch.rand(2, 3, 64, 64)
    everywhere = torch.ones(2, 64, 64, dtype=torch.bool)
    left = TrainingView(pictures, 6.0 * everywhere, everywhere, everywhere, everywhere[:, 0, 0])
    found = trainee(left, pictures.roll(-6, -1))
    assert tuple(found.terms) == trainee.columns
    assert ("edges" in found.terms) == (name == "edge")
    found.loss.backward()
    gradients = [parameter.grad for parameter in trainee.parameters() if parameter.grad is not None]
    assert len(gradients) > 20
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def eight_pairs(height: int) -> tuple[TrainingView, Tensor]:
    """Boxes of 2 to 12 px in front of walls of 1 to 8 px, with textures of their own, and the right pictures."""
    generator = torch.Generator().manual_seed(2)
    truth = torch.arange(1.0, 9.0).view(8, 1, 1).repeat(1, height, WIDTH)
    for number in range(8):
        top, left = 4 + 2 * (number % 3), 16 + 3 * number
        truth[number, top : top + height // 2, left : left + 20] += 1 + number % 4
    texture = 255 * torch.rand(8, 3, height // 2, WIDTH // 2, generator=generator)
    right = nn.functional.interpolate(texture, scale_factor=2, mode="bilinear")
    columns = (torch.arange(WIDTH) - truth).clamp_min(0).long()
    left = right.gather(-1, columns[:, None].expand(-1, 3, -1, -1))
    everywhere = torch.ones(8, height, WIDTH, dtype=torch.bool)
    return TrainingView(left, truth, everywhere, everywhere, everywhere[:, 0, 0]), right


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tiny_network_learns_eight_pairs_by_heart(name: str) -> None:
    family, config = NETWORKS[name]
    torch.manual_seed(4)
    left, right = eight_pairs(64 if family == "dispnet" else 32)
    recipe = LossRecipe(max_disparity=32, sequence=1, gamma=0.7)
    trainee = make_trainee(family, CLASSES[family](config), recipe).train()
    optimizer = torch.optim.Adam(trainee.parameters(), lr=1e-2)
    errors = []
    for _ in range(35 if family == "dispnet" else 25):
        found = trainee(left, right)
        optimizer.zero_grad()
        found.loss.backward()
        optimizer.step()
        errors.append(float(found.terms["epe"]))
    constant = float((left.disparity - left.disparity.median()).abs().mean())
    assert errors[-1] < 0.4 * constant, "hardly better than to say the same of every pixel"
    assert errors[-1] < errors[0] / 3
    if name == "edge":
        edges = near_edges(left.disparity, left.known, recipe.edge_px, 0)
        with torch.inference_mode():
            said = trainee.network.predictions(left.image, right).edges[-1][:, 0]
        assert float(said[edges].mean()) > float(said[~edges].mean()) + 0.7


def test_the_loop_trains_and_logs_an_edge_branch(pairs: Path, tmp_path: Path) -> None:
    family, config = NETWORKS["edge"]
    model = {"family": family, "config": asdict(config)}
    recipe = tiny_recipe(pairs, "data.crop=[64, 64]", "run.steps=2", model=model)
    trained = run_tiny(recipe, tmp_path / "run")
    assert Dispnet.from_pretrained(trained).config == config
    logged = rows(tmp_path / "run")
    assert len(logged) == 2
    assert all(float(row[name]) > 0 for row in logged for name in ("sequence", "edges", "bent"))


@pytest.mark.parametrize("name", RECIPES)
def test_the_recipes_are_valid_and_as_small_as_they_say(name: str) -> None:
    recipe = TrainingRecipe.read(str(files("depthweave") / "recipes" / f"{name}.toml"))
    with torch.device("meta"):
        network = find_family(recipe.model.family).network_class()(recipe.model.network_config())
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_500_000
    assert recipe.data.sources[0].seed != 0
    assert all(side % network.multiple == 0 for side in recipe.data.crop)
    searched = getattr(recipe.model.network_config(), "max_disparity", recipe.loss.max_disparity)
    assert searched == recipe.loss.max_disparity
