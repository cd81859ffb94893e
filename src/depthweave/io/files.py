"""Paths: inputs that must exist, outputs that appear whole or not at all."""

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from depthweave.errors import NotWritable, WrongFile

AnyPath = str | os.PathLike[str]


def require_file(path: AnyPath) -> Path:
    """Return `path` as a `Path` after checking that a file stands there.

    Args:
        path: where the file is expected.

    Raises:
        WrongFile: nothing stands there, or a folder does.
    """
    file = Path(path)
    if file.is_dir():
        raise WrongFile(f"{file} is a folder; name one file in it")
    if not file.exists():
        raise WrongFile(f"{file} does not exist; check the path")
    return file


def require_folder(path: AnyPath) -> Path:
    """Return `path` as a `Path` after checking that a folder stands there.

    Args:
        path: where the folder is expected.

    Raises:
        WrongFile: nothing stands there, or a file does.
    """
    folder = Path(path)
    if not folder.exists():
        raise WrongFile(f"{folder} does not exist; check the path")
    if not folder.is_dir():
        raise WrongFile(f"{folder} is a file; name the folder it is in")
    return folder


def read_json(path: AnyPath, *, remedy: str) -> Any:
    """What a JSON file holds.

    Args:
        path: the file.
        remedy: what to do about a damaged one, the end of the error's sentence.

    Raises:
        WrongFile: nothing stands there, or no JSON.
    """
    file = require_file(path)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongFile(f"{file} is damaged ({error}); {remedy}") from error


def natural_key(path: AnyPath) -> tuple[tuple[int, int | str], ...]:
    """Sorting key of a file name in which digits count as numbers: frame2 comes before frame10.

    Args:
        path: only its last part is looked at; case does not count.
    """
    parts = re.split(r"(\d+)", Path(path).name.lower())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


@contextmanager
def atomic_path(path: AnyPath) -> Iterator[Path]:
    """Give a temporary path in the same folder that becomes `path` when the block ends well.

    A block that fails leaves the old file as it was and no temporary one. Missing folders are made.

    Args:
        path: the file to write; the temporary one has the same suffix.

    Raises:
        NotWritable: the folder cannot be made or written, the disk is full, or `path` is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise NotWritable(f"{target} is a folder; give the name of a file to write")
    temporary = target.with_name(f".{target.stem}-{uuid.uuid4().hex[:12]}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise _not_writable(target, error) from error
    try:
        yield temporary
        temporary.replace(target)
    except OSError as error:
        # A block may also fail on a file which it reads; only trouble with this output is ours to name.
        if error.errno is None or error.filename not in (None, str(temporary), temporary):
            raise
        raise _not_writable(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _not_writable(target: Path, error: OSError) -> NotWritable:
    return NotWritable(f"{target} cannot be written ({error.strerror}); choose another output folder")
