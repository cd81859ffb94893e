"""The file `result.json` which says what a folder of results holds."""

import json
import platform
import sys
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np

from depthweave import __version__
from depthweave.errors import DifferentConfiguration, WrongFile, WrongInput
from depthweave.io.files import AnyPath, atomic_path, read_json, require_folder

MANIFEST_NAME = "result.json"
_FORMAT = "depthweave-result"
_VERSION = 1


def write_manifest(folder: AnyPath, data: dict[str, Any], *, name: str = MANIFEST_NAME) -> Path:
    """Write `result.json`: the data, sorted, with the format's name and version and the versions of the programs.

    Args:
        folder: where the results are; made if it is missing.
        data: what to say; paths, NumPy numbers and NumPy arrays are turned into text, numbers and lists. The keys
            `format`, `version` and `versions` are set here.
        name: of the file, where one folder has a manifest for each of its results.

    Returns:
        The file's path.

    Raises:
        WrongInput: something in it cannot be said in JSON (NaN and infinity included).
        NotWritable: the file cannot be written.
    """
    content = {**data, "format": _FORMAT, "version": _VERSION, "versions": _versions()}
    try:
        text = json.dumps(content, default=_plain, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise WrongInput(f"the manifest holds something that JSON cannot say ({error}); leave it out") from error
    file = Path(folder) / name
    with atomic_path(file) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return file


def discard_result(folder: AnyPath) -> None:
    """Remove an older result from a folder: its `result.json` first, then the files which that names.

    So a folder with a manifest is always complete, and nothing of an older result stands beside a newer one. Other
    files stay, and a folder without a manifest is left alone.

    Args:
        folder: where a result is about to be written.

    Raises:
        WrongFile: a `result.json` of another program or a newer version stands there.
    """
    file = Path(folder) / MANIFEST_NAME
    if not file.is_file():
        return
    names = read_manifest(folder).get("files", {}).values()
    file.unlink()
    for name in names:
        old = Path(folder) / name
        if old.is_file():
            old.unlink()


def claim_folder(folder: AnyPath, data: dict[str, Any]) -> dict[str, Any]:
    """Say in `result.json` what a folder is going to hold, or find that it says the same already.

    Args:
        folder: made if it is missing.
        data: what decides on the results, as in `write_manifest`; a folder's manifest may say more.

    Returns:
        The manifest.

    Raises:
        DifferentConfiguration: the folder holds results of another configuration; the sentence says what differs.
        WrongFile: a `result.json` of another program or a newer version stands there.
        NotWritable: the folder cannot be written.
    """
    if not (Path(folder) / MANIFEST_NAME).is_file():
        write_manifest(folder, data)
    before = read_manifest(folder)
    # Through JSON, so that tuples and lists compare equal.
    now = json.loads(json.dumps(data, default=_plain))
    changed = [
        f"{key} {before.get(key)} (asked for: {value})" for key, value in now.items() if before.get(key) != value
    ]
    if changed:
        raise DifferentConfiguration(
            f"{folder} holds results of another configuration: {', '.join(changed)}; choose another folder with -o, or "
            "delete this one."
        )
    return before


def read_manifest(folder: AnyPath, *, name: str = MANIFEST_NAME) -> dict[str, Any]:
    """Read the `result.json` of a folder.

    Args:
        folder: a folder that depthweave has written.
        name: of the file, see `write_manifest`.

    Raises:
        WrongFile: no such folder, no manifest in it, or one of another program or a newer version.
    """
    file = require_folder(folder) / name
    if not file.is_file():
        raise WrongFile(f"{Path(folder)} has no {name}; give a folder that depthweave has written")
    content = read_json(file, remedy="run the command again")
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise WrongFile(f"{file} was not written by depthweave; give a folder that was")
    if content.get("version") != _VERSION:
        raise WrongFile(
            f"{file} has version {content.get('version')}, this program reads {_VERSION}; update depthweave"
        )
    return content


def _versions() -> dict[str, str]:
    import cv2

    torch = sys.modules.get("torch")
    versions = {
        "depthweave": __version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
    }
    return versions if torch is None else {**versions, "torch": str(torch.__version__)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return fspath(value)
