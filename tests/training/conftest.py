from pathlib import Path

import pytest

from depthweave.training.prerendered import prerender
from depthweave.worlds import Worlds


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight rendered pairs of 96x64 px."""
    folder = tmp_path_factory.mktemp("training") / "pairs"
    prerender(Worlds(height=64, width=96, pool=6), folder, count=8)
    return folder
