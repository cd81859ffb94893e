"""The pages on disparity, cost volumes and the recipe run as they stand there, and say what the code says."""

import re
from pathlib import Path

import pytest
import torch

from depthweave import Camera, Scale
from depthweave.types.camera_presets import CAMERA_PRESETS

from .pages import GUIDE, ROOT, links, pictures, run_blocks

WHY, VOLUMES, RECIPE = (GUIDE / f"{name}.md" for name in ("why_disparity", "cost_volumes", "recipe"))
PAGES = [WHY, VOLUMES, RECIPE, GUIDE / "README.md"]
LARGEST_BYTES = 350_000


@pytest.fixture(scope="module")
def volumes() -> dict[str, object]:
    """What the page on cost volumes computes."""
    torch.manual_seed(0)
    return run_blocks(VOLUMES)


def test_disparity(capsys: pytest.CaptureFixture[str]) -> None:
    names = run_blocks(WHY)
    assert names["middle"] == pytest.approx(4 * names["near"])
    assert names["far"] == pytest.approx(16 * names["near"])
    assert "metres need the pair's calibration" in names["reason"]
    assert "known shift" in names["refused"]
    torch.testing.assert_close(names["metres"].values, names["depth"])
    assert names["metres"].scale == Scale.METRIC
    assert capsys.readouterr().out.startswith("[2.0")


def test_the_table_of_cameras_is_theirs() -> None:
    rows = re.findall(r"^\| `([a-z\d-]+)` \| (\d.+) \|$", WHY.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {name: [float(cell) for cell in cells.split(" | ")] for name, cells in rows}
    expected = {}
    for name in CAMERA_PRESETS:
        camera = Camera.preset(name)
        errors = [round(camera.depth_error_m(depth_m, 0.25), 3) for depth_m in (2, 5, 10)]
        product = round(camera.focal_px * camera.baseline_m)
        expected[name] = [round(camera.focal_px), camera.baseline_m, product, *errors]
    assert found == expected


def test_volumes(volumes: dict[str, object]) -> None:
    truth, visible = volumes["truth"], volumes["world"].visible

    def wrong(found: torch.Tensor) -> float:
        return ((found - truth).abs() > 2)[visible].float().mean().item()

    # Differences lose the truth with less light, the census does not.
    equal, dark, robust = (wrong(volumes[name].argmin(0)) for name in ("volume", "dark", "robust"))
    assert dark > 3 * equal
    assert robust < dark / 3
    assert volumes["checked"] < volumes["unchecked"] < 0.1
    # The mean of two valleys lies between them.
    assert abs(volumes["one"] - 10.3) < 0.2
    assert 11 < volumes["two"] < 17
    shapes = [tuple(volumes[name].shape) for name in ("row", "both", "groups", "square", "seen")]
    assert shapes == [(1, 12, 24, 40), (1, 64, 12, 24, 40), (1, 8, 12, 24, 40), (1, 81, 24, 40), (1, 36, 24, 40)]
    coarse = torch.nn.functional.interpolate(4 * volumes["around"][None] / 2, scale_factor=2)[0, 0]
    fine = torch.nn.functional.interpolate(2 * volumes["refined"][None], scale_factor=2)[0, 0]
    assert wrong(fine) < wrong(coarse)
    assert len(volumes["stages"]) == 4


def test_smoothing_along_a_line_is_the_best_path(volumes: dict[str, object]) -> None:
    """Against every path of four pixels and three levels: L at the end is the least cost of a path that ends there."""
    smooth = volumes["along_a_line"]
    costs = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    step, jump = 0.1, 0.25
    found = smooth(costs, step, jump)
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)
    moves = paths.diff(dim=1).abs()
    price = costs[paths, torch.arange(4)].sum(1) + (step * (moves == 1) + jump * (moves > 1)).sum(1)
    ends = torch.stack([price[paths[:, -1] == level].min() for level in range(3)])
    # The least of the pixel before is subtracted everywhere, which moves all levels alike.
    torch.testing.assert_close(found[:, -1] - found[:, -1].min(), ends - ends.min())


def test_smoothing_of_the_pictures_is_that_of_the_page(
    volumes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = volumes["along_a_line"]
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from guide_matching import semi_global

    costs = torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(1))
    total = torch.zeros_like(costs)
    for y in range(3):
        total[:, y] += smooth(costs[:, y], 0.1, 0.3) + smooth(costs[:, y].flip(1), 0.1, 0.3).flip(1)
    for x in range(4):
        total[:, :, x] += smooth(costs[:, :, x], 0.1, 0.3) + smooth(costs[:, :, x].flip(1), 0.1, 0.3).flip(1)
    torch.testing.assert_close(semi_global(costs, step=0.1, jump=0.3), total)


def test_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("[camera]\nheight_m = 1.5\n", encoding="utf-8")
    names = run_blocks(RECIPE)
    assert names["learnt"][-1] < 0.95 * names["learnt"][0]
    assert names["pair"].left.image.shape == (3, 64, 128)


def test_figures_of_the_recipe_stand_on_the_pages_that_it_names() -> None:
    text = RECIPE.read_text(encoding="utf-8")
    rows = re.findall(r"\| ([\d.]+) \| ([\d.]+) \| \[[\w-]+\]\((.*?)\) \|", text)
    assert len(rows) == 11
    for before, after, page in rows:
        numbers = set(re.findall(r"\d+\.\d+", (RECIPE.parent / page).read_text(encoding="utf-8")))
        assert {before, after} <= numbers, page
    classic = (ROOT / "docs" / "benchmarks" / "classic.md").read_text(encoding="utf-8")
    for model, error_px in (("sgm", "1.82"), ("depthweave-s", "0.82")):
        assert re.search(rf"^\| `{model}` .*\| {error_px} / ", classic, flags=re.MULTILINE)
        assert f"{error_px} px" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    assert links(page)
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_every_page_stands_in_the_list() -> None:
    pages = {page.name for page in GUIDE.glob("*.md")} - {"README.md"}
    assert pages <= set(links(GUIDE / "README.md"))


def test_pictures_are_few_and_small() -> None:
    folder = ROOT / "docs" / "images" / "guide"
    made = {path for kind in ("matching", "disparity") for path in folder.glob(f"{kind}_*.png")}
    shown = {picture for page in (WHY, VOLUMES) for picture in pictures(page)}
    assert made == shown
    assert len(made) == 7
    assert sum(picture.stat().st_size for picture in made) < LARGEST_BYTES
