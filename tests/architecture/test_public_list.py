import subprocess
import sys
from pathlib import Path

import pytest

import depthweave

ROOT = Path(depthweave.__file__).parent
FORBIDDEN = {"utils", "util", "common", "core", "helpers", "misc"}


@pytest.mark.parametrize("name", depthweave.__all__)
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(depthweave, name)
    assert getattr(value, "__name__", name) == name
    assert name in dir(depthweave)


def test_the_list_has_no_gaps() -> None:
    assert len(set(depthweave.__all__)) == len(depthweave.__all__)
    assert set(depthweave._HOME) == set(depthweave.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Disparity'"):
        depthweave.Disparity  # noqa: B018


def test_importing_the_package_is_cheap() -> None:
    code = "import depthweave, sys; print(*sorted({'torch', 'numpy', 'cv2', 'PIL', 'matplotlib'} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == ""


def test_no_room_is_a_drawer() -> None:
    names = {part.removesuffix(".py") for path in ROOT.rglob("*") for part in path.relative_to(ROOT).parts}
    assert names & FORBIDDEN == set()
    assert "geometry" in names
