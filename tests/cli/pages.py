"""What the pages of the guide hold: blocks of code that run one after another, links, pictures."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of that language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def run_blocks(page: Path) -> dict[str, object]:
    """Runs the blocks of Python in one module, and gives its names."""
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(compile(block, page.name, "exec"), names)
    return names


def links(page: Path) -> list[str]:
    """Files that the page links to or shows, relative to it."""
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    return sorted({link for link in found if "://" not in link})


def pictures(page: Path) -> list[Path]:
    """Pictures that the page shows."""
    found = re.findall(r"!\[.*?\]\((.*?)\)", page.read_text(encoding="utf-8"))
    return [(page.parent / picture).resolve() for picture in found]
