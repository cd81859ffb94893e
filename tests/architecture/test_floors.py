import ast
from pathlib import Path

import depthweave

FLOORS = (
    ("errors", "runtime"),
    ("geometry", "alignment", "images", "io"),
    ("types",),
    ("models", "classical", "losses", "metrics", "fusion", "synthesis", "worlds", "data"),
    ("pipelines",),
    ("training", "evaluation", "export"),
    ("cli", "app"),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FLOOR["errors"] = -1  # every room raises them, the ground floor too
ROOT = Path(depthweave.__file__).parent


def imported_rooms(source: str) -> set[str]:
    """Rooms that a module imports, anywhere in it; names of the public list count for the rooms they live in."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names.append(ast.unparse(node))
    parts = [name.split(".") for name in names]
    inside = {part[1] for part in parts if part[0] == "depthweave" and len(part) > 1} - {"__version__"}
    return {depthweave._HOME.get(name, name).split(".")[0] for name in inside}


def breaches(room: str, source: str) -> list[str]:
    return [f"{room} -> {other}" for other in imported_rooms(source) - {room} if FLOOR.get(other, 9) >= FLOOR[room]]


def test_imports_go_down_only() -> None:
    found = {}
    for path in ROOT.rglob("*.py"):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            assert room in FLOOR, f"{path} stands on no floor"
            found[str(path)] = breaches(room, path.read_text(encoding="utf-8"))
    assert len(found) > 40
    assert {path: broken for path, broken in found.items() if broken} == {}


def test_a_breach_is_seen() -> None:
    assert breaches("geometry", "def f():\n    from depthweave import images") == ["geometry -> images"]
    assert breaches("types", "import depthweave.pipelines.load") == ["types -> pipelines"]
    assert breaches("data", "import depthweave\ndepthweave.load('sgm')") == ["data -> pipelines"]
    assert breaches("runtime", "from depthweave.errors import WrongInput\nfrom depthweave import __version__") == []
    assert breaches("types", "from depthweave.types.camera import Camera\nfrom depthweave import io") == []
