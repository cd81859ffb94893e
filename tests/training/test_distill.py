"""What a monocular teacher adds to training: its recipe, its maps on disk, its terms, and whole runs with it."""

import pickle
import tomllib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import PLAIN, differences, rows, run_tiny, state_of, stop_at, tiny_recipe
from torch import Tensor, nn

from depthweave import io
from depthweave.errors import WrongFile, WrongInput
from depthweave.losses import crop_alignment, draw_crops, edge_matching, masked_mean, metric_teacher
from depthweave.models.families import find_family
from depthweave.training.augment import Augment
from depthweave.training.distill import NO_DISTILLATION, Distillation, DistillRecipe
from depthweave.training.objective import LossRecipe
from depthweave.training.recipe import SourceRecipe, TrainingRecipe
from depthweave.training.sample import TrainingView
from depthweave.training.sources import BenchmarkSource, open_source
from depthweave.training.teacher import find_map, read_map
from depthweave.training.trainees import make_trainee
from depthweave.types import DepthMap, InverseDepthMap, Scale

SIZE = (24, 40)
ON = DistillRecipe(distribution=0.5, edge=0.25, ramp=0, crops=4)


def some(seed: int, *leading: int) -> Tensor:
    return torch.rand((*leading, *SIZE), generator=torch.Generator().manual_seed(seed))


def view(teacher: Tensor | None, confidence: Tensor | None = None, batch: int = 2) -> TrainingView:
    """5 px everywhere, known in the upper half."""
    known = torch.ones(batch, *SIZE, dtype=torch.bool)
    known[:, SIZE[0] // 2 :] = False
    told = torch.ones(batch, dtype=torch.bool)
    return TrainingView(
        torch.full((batch, 3, *SIZE), 90.0), torch.full((batch, *SIZE), 5.0), known, known, told, teacher, confidence
    )


# --- the recipe


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("distribution = -1", r"\[distill\] distribution is -1; it is at least 0"),
        ("ramp = 2", r"\[distill\] ramp is 2; it is from 0 to 1"),
        ('variant = "crop"', r"variant is 'crop'; it is one of crops, histogram, gradient, metric or a list"),
        ('variant = ["crops", "edges"]', "distill.variant is"),
        (
            "variant = []",
            r"\[distill\] variant is an empty list; it holds one or more of crops, histogram, gradient, metric",
        ),
        ("side = [0.5, 0.1]", r"side is \[0.5, 0.1\]; it is \[least, largest\]"),
        ('statistic = "std"', "distill.statistic is 'std'; it is one of mean, mad"),
        ("weight = 1", r"\[distill\] has no 'weight'; it has distribution, edge"),
        ("edge = 0.1", r"\[distill\] has a weight above 0, but no source names a teacher"),
    ],
)
def test_recipes_that_cannot_be(text: str, sentence: str) -> None:
    with pytest.raises(WrongInput, match=sentence):
        TrainingRecipe.from_tables(tomllib.loads(f"[distill]\n{text}"))


def test_one_variant_or_a_list_survives_its_toml() -> None:
    source = SourceRecipe("kitti-2015", "kitti", teacher="maps")
    for variant, variants in (("metric", ("metric",)), (("crops", "gradient"), ("crops", "gradient"))):
        recipe = TrainingRecipe()
        recipe = replace(
            recipe,
            data=replace(recipe.data, sources=(source,)),
            distill=replace(ON, variant=variant),  # type: ignore[arg-type]
        )
        again = TrainingRecipe.from_tables(tomllib.loads(recipe.to_toml()))
        assert again == recipe
        assert again.distill.variants == variants
        assert recipe.differences(recipe.changed(["distill.edge=0.9"])) == ("distill.edge",)


def test_teachers_are_found_by_names_which_worlds_lack() -> None:
    for kind in ("worlds", "prerendered"):
        with pytest.raises(WrongInput, match=f"teacher is 'maps', but pairs of '{kind}' have no names"):
            SourceRecipe(kind, "x", teacher="maps")


@pytest.mark.parametrize("name", ["mono2stereo-pretrain", "mono2stereo-finetune"])
def test_the_recipes_of_both_stages_are_valid(name: str) -> None:
    recipe = TrainingRecipe.read(str(files("depthweave") / "recipes" / f"{name}.toml"))
    assert recipe.model.start == "depthweave-s"
    network = find_family(recipe.model.family).network_class()
    assert [side % network.multiple for side in recipe.data.crop] == [0, 0]
    assert recipe.loss.max_disparity <= recipe.data.crop[1]
    assert recipe.distill.is_on == (name == "mono2stereo-finetune")
    assert any(source.kind == "folder" for source in recipe.data.sources) == (name == "mono2stereo-pretrain")


# --- maps on disk


def write_maps(root: Path, values: np.ndarray) -> None:
    """One map in every form: 24x40 px, not known at [0, 0]."""
    valid = np.ones(SIZE, bool)
    valid[0, 0] = False
    tensors = torch.from_numpy(values), torch.from_numpy(valid)
    io.write_npz(root / "a.npz", io.MapFile("inverse_depth", values, valid, scale="unknown_scale_and_shift"))
    io.write_pfm(root / "b.pfm", values, valid)
    io.write_image(root / "c.png", np.where(valid, np.rint(1000 * values), 0).astype(np.uint16))
    InverseDepthMap(*tensors).save(root / "d")
    DepthMap(1 / tensors[0], tensors[1], scale=Scale.UNKNOWN_SCALE).save(root / "deep" / "e.npz")


def test_every_form_of_a_map_says_the_same(tmp_path: Path) -> None:
    values = 0.1 + some(3).numpy()
    write_maps(tmp_path, values)
    wanted = torch.from_numpy(values)
    for key, scale in (("a", 1.0), ("b", 1.0), ("c", 1000.0), ("d", 1.0), ("deep/e", 1.0)):
        found = read_map(find_map(tmp_path, key), SIZE)
        assert found.dtype == torch.float32
        assert found[0, 0].isnan(), key
        torch.testing.assert_close(found.flatten()[1:], scale * wanted.flatten()[1:], rtol=1e-5, atol=0.5 * (scale > 1))
    assert find_map(tmp_path, "d") == tmp_path / "d" / "inverse_depth.npz"


def test_where_a_model_ends_at_zero_it_says_nothing(tmp_path: Path) -> None:
    values = some(1).numpy()
    values[:4] = 0
    io.write_npz(tmp_path / "a.npz", io.MapFile("inverse_depth", values, np.ones(SIZE, bool)))
    found = read_map(find_map(tmp_path, "a"), SIZE)
    assert found[:4].isnan().all()
    assert found[4:].isfinite().all()


def test_maps_that_cannot_teach_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WrongFile, match=r"teacher in .* has no map for a: neither a\.npz, \.pfm, \.png nor a result"):
        find_map(tmp_path, "a")
    with pytest.raises(WrongFile, match="empty"):
        find_map(tmp_path, "empty")
    io.write_pfm(tmp_path / "a.pfm", np.ones((10, 20), np.float32))
    with pytest.raises(WrongFile, match=r"a\.pfm is 20x10 px but the picture is 40x24 px; make it from the same"):
        read_map(tmp_path / "a.pfm", SIZE)
    affine = io.MapFile("depth", np.ones(SIZE, np.float32), np.ones(SIZE, bool), scale="unknown_scale_and_shift")
    io.write_npz(tmp_path / "b.npz", affine)
    with pytest.raises(WrongFile, match="holds depth of unknown shift, which has no inverse"):
        read_map(tmp_path / "b.npz", SIZE)


# --- terms


def test_terms_are_the_weighted_losses_of_the_last_answer() -> None:
    teacher = some(1, 2)
    teacher[0, :3] = torch.nan
    p, left = 20 * some(2, 2), view(teacher)
    found = Distillation(ON, seed=9).terms(p, left, 4)
    mask = teacher.isfinite()
    crops = draw_crops(*SIZE, count=4, rng=np.random.default_rng((9, 4, 1)))
    wanted = masked_mean(*crop_alignment(p, teacher, mask, crops, least_spread=0.1))
    torch.testing.assert_close(found["distribution"], 0.5 * wanted)
    torch.testing.assert_close(found["edge"], 0.25 * masked_mean(*edge_matching(p, teacher, mask, least_spread=0.1)))
    assert list(found) == list(Distillation(ON).parts) == ["distribution", "edge"]
    metric = Distillation(replace(ON, variant="metric", edge=0)).terms(p, replace(left, disparity=9 * some(1, 2)), 0)
    fitted = metric_teacher(p, teacher, mask, 9 * some(1, 2), left.known)
    assert list(metric) == ["distribution"]
    torch.testing.assert_close(metric["distribution"], 0.5 * masked_mean(*fitted))


def test_a_list_of_variants_is_added_up() -> None:
    p, left = 20 * some(2, 2), view(some(1, 2))
    names = ("crops", "histogram", "gradient", "metric")
    left = replace(left, disparity=9 * some(1, 2))
    each = [Distillation(replace(ON, variant=name)).terms(p, left, 0)["distribution"] for name in names]  # type: ignore[arg-type]
    assert all(float(value) > 0 for value in each)
    every = Distillation(replace(ON, variant=names)).terms(p, left, 0)["distribution"]  # type: ignore[arg-type]
    torch.testing.assert_close(every, torch.stack(each).sum())


def test_the_step_decides_on_the_ramp_and_on_the_windows() -> None:
    ramp = Distillation(replace(ON, ramp=0.1), steps=100)
    assert [ramp.share(step) for step in (0, 4, 9, 10, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1])
    assert Distillation(replace(ON, ramp=0), steps=100).share(0) == 1
    p, left = 20 * some(2, 2), view(some(1, 2))
    first, again, later = (ramp.terms(p, left, step) for step in (20, 20, 21))
    assert torch.equal(first["distribution"], again["distribution"])
    assert not torch.equal(first["distribution"], later["distribution"])
    assert torch.equal(first["edge"], later["edge"])
    torch.testing.assert_close(ramp.terms(p, left, 4)["edge"], first["edge"] / 2)
    other = Distillation(replace(ON, ramp=0.1), steps=100, seed=1)
    assert not torch.equal(other.terms(p, left, 20)["distribution"], first["distribution"])


def test_views_without_a_teacher_cost_nothing() -> None:
    p = (20 * some(2, 2)).requires_grad_()
    nobody = Distillation(ON).terms(p, view(None), 0)
    assert {name: float(value) for name, value in nobody.items()} == {"distribution": 0.0, "edge": 0.0}
    teacher = some(1, 2)
    teacher[0] = torch.nan
    found = Distillation(replace(ON, variant=("crops", "gradient"))).terms(p, view(teacher), 0)
    torch.stack(list(found.values())).sum().backward()
    assert p.grad is not None
    assert not p.grad[0].any()
    assert p.grad[1].any()
    assert p.grad.isfinite().all()
    assert NO_DISTILLATION.terms(p, view(teacher), 0) == {}
    assert NO_DISTILLATION.parts == ()


class Says(nn.Module):
    """Answers with what it was given."""

    def __init__(self, *answers: Tensor) -> None:
        super().__init__()
        self.answers = [answer[:, None] for answer in answers]

    def predictions(self, left: Tensor, right: Tensor, **settings: Any) -> Any:
        return self.answers


def test_a_trainee_adds_the_terms_of_its_last_answer() -> None:
    first, last, teacher = 20 * some(2, 2), 20 * some(3, 2), some(1, 2)
    distillation = Distillation(replace(ON, ramp=0.5), steps=10, seed=3)
    trainee = make_trainee("raft", Says(first, last), LossRecipe(smoothness=0.1), distillation)
    left = view(teacher)
    found = trainee(left, left.image, 2)
    assert tuple(found.terms) == trainee.columns == ("sequence", "smoothness", "distribution", "edge", "epe", "bad-2.0")
    for name, value in distillation.terms(last, left, 2).items():
        torch.testing.assert_close(found.terms[name], value)
    plain = make_trainee("raft", Says(first, last), LossRecipe(smoothness=0.1))(left, left.image, 2)
    torch.testing.assert_close(found.loss, plain.loss + found.terms["distribution"] + found.terms["edge"])


def test_confidence_weighs_what_is_compared_with_the_truth() -> None:
    answer = torch.full((1, *SIZE), 6.0)
    answer[..., SIZE[1] // 2 :] = 8.0  # errors of 1 and 3 px, where the confidence is 1 and 0.25
    confidence = torch.ones(1, *SIZE)
    confidence[..., SIZE[1] // 2 :] = 0.25
    recipe = LossRecipe(sequence=1, gamma=1, beta=0)
    plain, weighted = (
        make_trainee("raft", Says(answer), recipe)(left, left.image)
        for left in (view(None, batch=1), view(None, confidence, batch=1))
    )
    assert float(plain.terms["sequence"]) == pytest.approx(2)
    assert float(weighted.terms["sequence"]) == pytest.approx((1 + 0.25 * 3) / 1.25)
    assert float(weighted.terms["epe"]) == float(plain.terms["epe"]) == pytest.approx(2)
    nothing = view(None, 0 * confidence, batch=1)
    none = make_trainee("raft", Says(answer), recipe)(nothing, nothing.image)
    assert float(none.loss) == 0


# --- sources and whole runs


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box before a wall, twice: truth on every fourth row of the lower part, and a perfect teacher without unit."""
    root = tmp_path_factory.mktemp("distill")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        wall, box = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((32, 80), (16, 20)))
        left, right = wall[:, :64].copy(), wall[:, 4:68].copy()
        disparity = np.full((32, 64), 4, np.float32)
        left[8:24, 30:50] = right[8:24, 18:38] = box
        disparity[8:24, 30:50] = 12
        known = np.zeros((32, 64), bool)
        known[12::4, ::3] = True
        for side, picture in (("left", left), ("right", right)):
            io.write_image(root / "pairs" / side / f"{seed}.png", picture)
        io.write_pfm(root / "pairs" / "disparity" / f"{seed}.pfm", disparity, known)
        io.write_pfm(root / "maps" / f"{seed}.pfm", 0.01 * disparity + 3)
    return root


def test_a_source_reads_its_teacher_and_its_confidence(scanned: Path, tmp_path: Path) -> None:
    source = open_source("folder", scanned / "pairs", sparse=True, teacher=scanned / "maps")
    assert isinstance(source, BenchmarkSource)
    raw = pickle.loads(pickle.dumps(source)).raw(1)
    assert torch.equal(raw.left.teacher, torch.from_numpy(io.read_pfm(scanned / "maps" / "1.pfm")[0]))
    assert (raw.left.confidence, raw.right.teacher, raw.right.confidence) == (None, None, None)
    assert source.facts()["teacher"] is True
    assert "teacher" not in open_source("folder", scanned / "pairs").facts()
    (tmp_path / "maps").mkdir()
    io.write_pfm(tmp_path / "maps" / "0.pfm", np.ones((32, 64), np.float32))
    with pytest.raises(WrongFile, match=r"has no map for 1"):
        open_source("folder", scanned / "pairs", teacher=tmp_path / "maps")


def test_confidence_goes_to_the_right_view_with_its_points(tmp_path: Path) -> None:
    codes = np.zeros(SIZE, np.uint8)
    codes[:, 10], codes[:, 20], codes[:, 39] = 255, 51, 102
    texture = np.full((*SIZE, 3), 80, np.uint8)
    for side in ("left", "right"):
        io.write_image(tmp_path / side / "a.png", texture)
    known = np.ones(SIZE, bool)
    known[3] = False
    for name in ("disparity", "disparity_right"):
        io.write_pfm(tmp_path / name / "a.pfm", np.full(SIZE, 4.0, np.float32), known)
    assert open_source("folder", tmp_path).raw(0).left.confidence is None
    io.write_image(tmp_path / "confidence" / "a.png", codes)
    raw = open_source("folder", tmp_path).raw(0)
    assert raw.left.confidence is not None
    assert raw.right.confidence is not None
    torch.testing.assert_close(raw.left.confidence[0, [10, 20, 39]], torch.tensor([1.0, 0.2, 0.4]))
    torch.testing.assert_close(raw.right.confidence[0, [6, 16, 35, 36]], torch.tensor([1.0, 0.2, 0.4, 0.0]))
    assert not raw.right.confidence[3].any()
    io.write_image(tmp_path / "confidence" / "a.png", codes[1:])
    with pytest.raises(WrongFile, match=r"confidence/a\.png is no grey picture of 8 bit and 40x24 px"):
        open_source("folder", tmp_path).raw(0)


def taught(scanned: Path, *changes: str) -> TrainingRecipe:
    recipe = tiny_recipe(scanned, "data.sources.0.kind=folder", f"data.sources.0.path='{scanned / 'pairs'}'", *changes)
    sources = (replace(recipe.data.sources[0], sparse=True, teacher=str(scanned / "maps")),)
    recipe = replace(recipe, data=replace(recipe.data, sources=sources))
    return replace(recipe, distill=DistillRecipe(distribution=0.5, edge=0.1, crops=8, least_px=0.5))


def test_runs_log_and_show_the_teacher(scanned: Path, tmp_path: Path) -> None:
    steps = [f"run.{name}=2" for name in ("steps", "checkpoint_every", "sheet_every")]
    run_tiny(replace(taught(scanned, *steps), augment=Augment(**PLAIN)), tmp_path / "run")
    logged = rows(tmp_path / "run")
    assert all(float(row[name]) > 0 for row in logged for name in ("distribution", "edge"))
    sheet = io.read_image(tmp_path / "run" / "sheets" / "step-000002.png")
    assert sheet.shape == (2 * (32 + 18 + 2) - 2, 6 * (64 + 2) - 2, 3)


class Canvas(nn.Module):
    """A network whose weights are its answer, so that learning shows the loss and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.disparity = nn.Parameter(torch.full((1, 1, *SIZE), 10.0) + 0.1 * some(0))

    def predictions(self, left: Tensor, right: Tensor, *, iterations: int) -> list[Tensor]:
        return [self.disparity]


def error_without_truth(distill: DistillRecipe) -> tuple[float, float]:
    """Mean error in px before and after learning, where only the teacher says something."""
    columns = torch.arange(float(SIZE[1])).expand(SIZE)
    truth = torch.where(columns < 20, 16 - 0.2 * columns, 4 + 0.1 * columns)
    known = torch.zeros(SIZE, dtype=torch.bool)
    known[12::3, ::2] = True
    told = torch.ones(1, dtype=torch.bool)
    picture = torch.full((1, 3, *SIZE), 90.0)
    left = TrainingView(picture, truth[None], known[None], known[None], told, 0.3 * truth[None] + 2)
    network, recipe = Canvas(), LossRecipe(sequence=1, gamma=1, iterations=1, max_disparity=64)
    trainee = make_trainee("raft", network, recipe, Distillation(distill))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    before = (network.disparity.detach()[0, 0] - truth).abs()[~known].mean()
    for step in range(200):
        optimizer.zero_grad()
        trainee(left, picture, step).loss.backward()
        optimizer.step()
    after = (network.disparity.detach()[0, 0] - truth).abs()[~known].mean()
    return float(before), float(after)


def test_a_teacher_says_what_sparse_truth_leaves_open() -> None:
    before, plain = error_without_truth(DistillRecipe())
    assert plain == pytest.approx(before)
    # Crops far from the truth keep a scale and a shift of their own; in px the teacher leaves nothing open.
    _, by_crops = error_without_truth(DistillRecipe(distribution=1.0, edge=0.1, crops=16))
    assert by_crops < 0.8 * before
    _, by_px = error_without_truth(DistillRecipe(distribution=1.0, variant="metric"))
    assert by_px < 0.05 * before


def test_a_run_with_a_teacher_goes_on_as_if_it_had_not_been_stopped(
    scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = taught(scanned, "run.steps=5", "run.checkpoint_every=2", "run.accumulate=2")
    recipe = replace(recipe, distill=replace(recipe.distill, ramp=1.0))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    share, asked = Distillation.share, []
    monkeypatch.setattr(Distillation, "share", lambda self, step: asked.append(step) or share(self, step))
    run_tiny(recipe, whole)
    assert asked == [step for step in range(5) for _ in range(4)]  # two terms of each half of a batch
    stop_at(3, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_tiny(recipe, cut)
    monkeypatch.undo()
    torch.manual_seed(99)
    run_tiny(recipe, cut)
    assert differences(state_of(cut, 5), state_of(whole, 5)) == []
    assert rows(cut) == rows(whole)
    assert (cut / "network" / "model.safetensors").read_bytes() == (whole / "network/model.safetensors").read_bytes()
    assert any(float(row["distribution"]) > 0 for row in rows(whole))
