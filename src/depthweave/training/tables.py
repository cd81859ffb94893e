"""Frozen dataclasses as TOML and back: nothing unknown, nothing of another type, every number within its bounds."""

import difflib
import json
import math
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from depthweave.errors import WrongInput

Kind = TypeVar("Kind")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text in quotes"}


@dataclass(frozen=True)
class Bounds:
    """The least and the largest number that a field takes, both included; stands in its annotation."""

    low: float | int
    high: float | int = math.inf

    def require(self, name: str, value: float | int) -> None:
        """Raises WrongInput if the number is not inside; NaN never is."""
        if not self.low <= value <= self.high:
            allowed = f"is at least {self.low:g}" if self.high == math.inf else f"is from {self.low:g} to {self.high:g}"
            raise WrongInput(f"{name} is {value:g}; it {allowed}.")


class Table:
    """Base of a frozen dataclass whose fields say in their annotations what they are and how large they may be.

    A field is ``Annotated[type, "text", Bounds(low, high)]``; bounds count for every number of a tuple. A mapping holds
    what TOML knows: texts, numbers, lists and tables.

    Raises:
        WrongInput: a number out of bounds, another value than a `Literal` names, or a mapping that TOML cannot hold.
    """

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                write_value(value)
                object.__setattr__(self, name, as_tables(value))
            kind, *remarks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if get_origin(kind) is Literal:
                read_value(kind, value, name)
            for bounds in (remark for remark in remarks if isinstance(remark, Bounds)):
                for number in value if isinstance(value, tuple) else (value,):
                    if number is not None:
                        bounds.require(name, number)


def as_tables(value: Any) -> Any:
    """Dataclasses and mappings as dictionaries, tuples as lists; fields that are None are left out, for TOML has none.

    `read_table` is the way back, as long as every field that may be None is so by default.
    """
    if is_dataclass(value):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: as_tables(content) for name, content in found.items() if content is not None}
    if isinstance(value, Mapping):
        return {name: as_tables(content) for name, content in value.items()}
    return [as_tables(item) for item in value] if isinstance(value, tuple | list) else value


def flat(tables: Any, where: str = "") -> dict[str, Any]:
    """Every value under its dotted name; items of a list of tables count from 0."""
    if isinstance(tables, Mapping):
        inner = list(tables.items())
    elif isinstance(tables, list) and tables and all(isinstance(item, Mapping) for item in tables):
        inner = list(enumerate(tables))
    else:
        return {where: tables}
    found: dict[str, Any] = {}
    for name, content in inner:
        found |= flat(content, f"{where}.{name}" if where else str(name))
    return found


def read_table(kind: type[Kind], table: Any, where: str) -> Kind:
    """A dataclass of a dictionary.

    Args:
        kind: the dataclass; its fields are texts, numbers, literals, unions and tuples of these, mappings, dataclasses
            and tuples of dataclasses.
        table: as `tomllib` gives it.
        where: its dotted name, empty for the whole file.

    Raises:
        WrongInput: an unknown or a missing key, a value of another type, or what the dataclass itself refuses.
    """
    title = f"[{where}]" if where else "a recipe"
    if not isinstance(table, Mapping):
        raise WrongInput(f"{where} is {table!r}; it is a table, write [{where}] and its values below.")
    hints = get_type_hints(kind)
    for name in table:
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            raise WrongInput(f"{title} has no '{name}'{hint}; it has {', '.join(hints)}.")
    required = (each.name for each in fields(kind) if each.default is each.default_factory is MISSING)  # type: ignore[arg-type]
    missing = [name for name in required if name not in table]
    if missing:
        raise WrongInput(f"{title} lacks {', '.join(missing)}; it has {', '.join(hints)}.")
    prefix = f"{where}." if where else ""
    values = {name: read_value(hints[name], value, f"{prefix}{name}") for name, value in table.items()}
    try:
        return kind(**values)
    except WrongInput as error:
        if not where or title in str(error) or str(error).startswith(("[", f"{where}.")):
            raise  # it says already where it is
        raise WrongInput(f"{title} {error}") from error


def read_value(kind: Any, value: Any, where: str) -> Any:
    """A value of TOML or JSON as what an annotation says; a whole number will do for a number.

    Args:
        kind: the annotation, without `Annotated`.
        value: what stands in the file.
        where: its dotted name, for the sentence.

    Raises:
        WrongInput: it is something else.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return read_table(kind, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = parts[:1] * len(value) if parts[1:] == (Ellipsis,) else parts
        if len(kinds) == len(value):
            items = enumerate(zip(kinds, value, strict=True))
            return tuple(read_value(part, item, f"{where}.{place}") for place, (part, item) in items)
    elif origin in (Union, UnionType):
        if any(type(value) is part for part in parts):
            return value
        for part in parts:
            try:
                return read_value(part, value, where)
            except WrongInput:
                continue
    elif origin is Literal:
        if any(type(value) is type(part) and value == part for part in parts):
            return value
    elif isinstance(value, Mapping) and (origin or kind) in (Mapping, dict):
        return dict(value)
    elif kind is float and type(value) is int:
        return float(value)
    elif type(value) is kind:
        return value
    raise WrongInput(f"{where} is {value!r}; it is {_describe(kind)}.")


def set_value(tables: Any, override: str) -> None:
    """Change one value of nested dictionaries and lists in place.

    Args:
        tables: as `as_tables` gives them.
        override: ``optimizer.lr=2e-4``; parts of the name are keys and places in lists, counted from 0, and the place
            after the last one adds a table. The value is TOML; what is no TOML counts as text, so that a word needs
            no quotes.

    Raises:
        WrongInput: no equals sign, or a name that leads nowhere. Whether the key is known `read_table` says.
    """
    name, equals, text = override.partition("=")
    path = [part.strip() for part in name.split(".")]
    if not equals or not all(path):
        raise WrongInput(
            f"'{override}' sets nothing; write the name of a value and what it shall be, optimizer.lr=2e-4."
        )
    place = tables
    for depth, part in enumerate(path):
        leaf = depth == len(path) - 1
        key: Any = part
        if isinstance(place, list):
            if not part.isdigit() or int(part) > len(place):
                raise WrongInput(f"'{override}' leads nowhere: {'.'.join(path[:depth])} is a list of {len(place)}.")
            key = int(part)
            if key == len(place):
                place.append({})
        elif not isinstance(place, dict):
            raise WrongInput(f"'{override}' leads nowhere: {'.'.join(path[:depth])} is {place!r} and no table.")
        if leaf:
            place[key] = _parse(text.strip())
        else:
            place = place[key] if isinstance(place, list) else place.setdefault(key, {})


def write_toml(kind: object, heading: Sequence[str] = ()) -> str:
    """A dataclass as TOML; `read_table` of it is the same dataclass.

    Args:
        kind: the dataclass; the texts of its annotations become comments.
        heading: lines of comment at the top.
    """
    return "\n".join([*(f"# {line}" for line in heading), *_section(kind, "")]).strip() + "\n"


def write_value(value: Any) -> str:
    """A value on one line, as TOML writes it.

    Raises:
        WrongInput: TOML has nothing for it.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(write_value(item) for item in value)}]"
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        inside = ", ".join(f"{_key(name)} = {write_value(content)}" for name, content in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    raise WrongInput(f"{value!r} cannot stand in a TOML file; it holds texts, numbers, lists and tables of them.")


def _section(section: Any, where: str) -> Iterator[str]:
    later = []
    for each in fields(section):
        value, name = getattr(section, each.name), f"{where}.{each.name}" if where else each.name
        remarks = get_args(each.type)[1:] if get_origin(each.type) is Annotated else ()
        comments = [f"# {line}" for text in remarks if isinstance(text, str) for line in textwrap.wrap(text, 116)]
        if is_dataclass(value):
            later.append(["", *comments, f"[{name}]", *_section(value, name)])
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            later += [["", *comments, f"[[{name}]]", *_section(item, name)] for item in value]
        elif value is not None and not (value == () == each.default):  # an empty line would forbid tables below
            yield from comments
            yield f"{each.name} = {write_value(value)}"
    for lines in later:
        yield from lines


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else write_value(name)


def _parse(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _describe(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (Union, UnionType):
        kinds = [part for part in parts if part is not NoneType and not (part is int and float in parts)]
        return " or ".join(_describe(part) for part in kinds)
    if origin is tuple:
        return f"a list of {'any length' if parts[1:] == (Ellipsis,) else len(parts)}, each {_describe(parts[0])}"
    return _TYPE_NAMES.get(kind, "a table")
