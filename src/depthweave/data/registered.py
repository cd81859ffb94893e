"""From a benchmark's name and options in words to a call of its reader."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from depthweave.errors import UnknownBenchmark, WrongFile, WrongInput

Item = TypeVar("Item")


def read_registered(
    readers: Mapping[str, Callable[..., list[Item]]], name: str, root: str | Path, options: Mapping[str, Any]
) -> list[Item]:
    """The items of a benchmark.

    Args:
        readers: by name.
        name: one of them.
        root: the folder it was unpacked to.
        options: of its reader.

    Raises:
        UnknownBenchmark: no such name.
        WrongFile: the folder does not have the layout of the benchmark.
        WrongInput: an option that its reader does not have, or a value that the option does not take.
    """
    if name not in readers:
        close = get_close_matches(name, readers, n=3) or list(readers)
        raise UnknownBenchmark(f"there is no benchmark {name!r}; did you mean {', '.join(close)}?")
    reader, path = readers[name], Path(root)
    if not path.is_dir():
        raise WrongFile(f"{path} is not a folder; give the folder that {name} was unpacked to.")
    known = {option: hint for option, hint in get_type_hints(reader).items() if option not in ("root", "return")}
    for option, value in options.items():
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            raise WrongInput(f"{name} has no option {option!r}; {has}.")
        allowed = _allowed(known[option])
        if allowed and value not in allowed:
            raise WrongInput(f"{option} of {name} is one of {', '.join(map(str, allowed))}, not {value!r}.")
    return reader(path, **options)


def _allowed(hint: Any) -> tuple[Any, ...]:
    """The values of a Literal, or of one that may also be None; empty for other types."""
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint)
    if not any(get_origin(part) is Literal for part in parts):
        return ()
    return tuple(value for part in parts for value in (get_args(part) or (None,)))
