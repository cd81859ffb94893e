"""Networks with weights: a folder of configuration and safetensors, written whole and read strictly."""

import argparse
import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from depthweave import io
from depthweave.errors import NotWritable, WrongFile, WrongInput
from depthweave.models.weights import CONFIG_NAME, WEIGHTS_NAME, download_weights

_NAMED = 3
"""So many tensors of a list are named in a sentence."""

Network = TypeVar("Network", bound="PretrainedNetwork")


@dataclass(frozen=True)
class Description:
    """What a folder's `config.json` says.

    Attributes:
        family: the kind of network, a key of `depthweave.models.families.FAMILIES`.
        config: the network's configuration.
        origin: what the weights were made from: ``model`` (a registry name), ``file`` and ``sha256`` of the official
            checkpoint; empty where nobody said.
    """

    family: str
    config: Mapping[str, Any]
    origin: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file of others holds.

    Attributes:
        state: its tensors by name, on the CPU.
        arguments: of the training (``args``); empty where the file does not hold them.
    """

    state: Mapping[str, Tensor]
    arguments: Mapping[str, Any]


class PretrainedNetwork(nn.Module):
    """A network that can be saved and loaded.

    A subclass has a frozen dataclass as configuration, takes it as its only argument and keeps it as ``config``.
    Buffers that are not persistent are computed in its constructor from plain numbers.
    """

    family: ClassVar[str]
    config_class: ClassVar[type]
    config: Any

    def save_pretrained(self, folder: io.files.AnyPath, *, origin: Mapping[str, Any] | None = None) -> Path:
        """Write `config.json` and `model.safetensors`; stopped at any moment, the folder loads whole or not at all.

        Args:
            folder: made if it is missing; an older network in it is replaced.
            origin: what the weights were made from, see `Description`.

        Raises:
            NotWritable: the folder cannot be made or written.
        """
        target = Path(folder)
        config = {"family": self.family, "config": asdict(self.config), "origin": dict(origin or {})}
        if target.exists() and not target.is_dir():
            raise NotWritable(f"{target} is a file; give the name of a folder")
        with io.atomic_path(target / WEIGHTS_NAME) as temporary:
            try:
                save_file(_separate(self.state_dict()), temporary, metadata={"format": "pt"})
            except SafetensorError as error:
                raise NotWritable(f"{target / WEIGHTS_NAME} cannot be written ({error})") from error
            # From here until the new configuration stands, there is nothing to load.
            (target / CONFIG_NAME).unlink(missing_ok=True)
        with io.atomic_path(target / CONFIG_NAME) as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return target

    @classmethod
    def from_pretrained(cls: type[Network], source: io.files.AnyPath, revision: str | None = None) -> Network:
        """Load what `save_pretrained` wrote, in evaluation mode on the CPU.

        Args:
            source: a folder, or ``owner/name`` on the Hugging Face hub, downloaded on first use.
            revision: commit, tag or branch on the hub.

        Raises:
            WrongFile: a folder of another family, an unknown or missing entry in its configuration, or tensors that
                are missing, unexpected or of another shape.
            MissingWeights: the hub has no such repository or cannot be reached.
        """
        folder = Path(source)
        if not folder.is_dir():
            if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
                raise WrongFile(f"{source} is neither a folder nor a name on the Hugging Face hub (owner/name)")
            folder = download_weights(str(source), revision, (CONFIG_NAME, WEIGHTS_NAME))
        found = describe(folder)
        if found.family != cls.family:
            raise WrongFile(f"{folder} holds a network of the family '{found.family}', not '{cls.family}'")
        try:
            config = _restore(cls.config_class, found.config, "config")
        except WrongInput as error:
            raise WrongFile(f"{folder / CONFIG_NAME} does not fit {cls.__name__}: {error}") from error
        file = folder / WEIGHTS_NAME
        try:
            return cls.from_state(config, read_checkpoint(file))
        except WrongInput as error:
            raise WrongFile(f"{file} does not fit its {CONFIG_NAME}: {error}") from error

    @classmethod
    def from_state(cls: type[Network], config: Any, state: Mapping[str, Tensor]) -> Network:
        """A network with exactly these tensors (not copies), in evaluation mode; none are initialised before.

        Args:
            config: the network's configuration.
            state: every tensor under its name; other number types are converted to the network's.

        Raises:
            WrongInput: tensors are missing, unexpected or of another shape; the sentence counts them and names a few.
        """
        with _EmptyOnMeta():
            network = cls(config)
        own = network.state_dict()
        complaints = [
            _count("missing", own.keys() - state.keys()),
            _count("unexpected", state.keys() - own.keys()),
            _count(
                "of another shape",
                (
                    f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
                    for name, tensor in own.items()
                    if name in state and state[name].shape != tensor.shape
                ),
            ),
        ]
        if any(complaints):
            raise WrongInput(f"{cls.__name__} needs {len(own)} tensors; {'; '.join(filter(None, complaints))}.")
        given = {name: state[name].to(tensor.dtype) for name, tensor in own.items()}
        network.load_state_dict(given, assign=True)
        loaded = network.state_dict()
        shared = (name for name in own if loaded[name].data_ptr() != given[name].data_ptr())
        differing = _count("that share a tensor differ", (n for n in shared if not torch.equal(loaded[n], given[n])))
        if differing:
            raise WrongInput(f"{cls.__name__} has tensors under two names: {differing}.")
        return network.eval()


def describe(folder: io.files.AnyPath) -> Description:
    """What the `config.json` of a folder says; nothing of the network is built.

    Raises:
        WrongFile: there is none, or it is not one of depthweave.
    """
    file = io.require_file(io.require_folder(folder) / CONFIG_NAME)
    content = io.read_json(file, remedy="convert or download it again")
    known = {"family", "config", "origin"}
    if not isinstance(content, dict) or not isinstance(content.get("family"), str):
        raise WrongFile(f"{file} was not written by depthweave: it names no family")
    if content.keys() != known or not all(isinstance(content[name], dict) for name in ("config", "origin")):
        raise WrongFile(f"{file} holds {', '.join(sorted(content))} instead of {', '.join(sorted(known))}")
    return Description(content["family"], content["config"], content["origin"])


def read_checkpoint(path: io.files.AnyPath) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by name, on the CPU; see `open_checkpoint`."""
    return dict(open_checkpoint(path).state)


def open_checkpoint(path: io.files.AnyPath) -> Checkpoint:
    """The tensors of a checkpoint, and what it says of its training.

    Args:
        path: `.safetensors`, or any file of `torch.save` that holds a state dict, plain or under ``model`` or
            ``state_dict``; a ``module.`` before every name (of DataParallel) is taken off. No code in it is run.

    Raises:
        WrongFile: no such file, a damaged one, one that would have to run code, or one without tensors.
    """
    file = io.require_file(path)
    if file.suffix == ".safetensors":
        try:
            return Checkpoint(load_file(file), {})
        except (SafetensorError, OSError) as error:
            raise WrongFile(f"{file} is not a complete safetensors file ({error}); get it again") from error
    try:
        # Mapped files are read as they are used; those of torch before 1.6 are no zip and cannot be mapped.
        # A namespace is what trainings keep their arguments in; making one runs no code of the file's.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted is None:
            raise WrongFile(f"{file} is not a checkpoint of torch, or a damaged one; get it again") from error
        raise WrongFile(
            f"{file} holds more than tensors ({wanted[1]}) and could run code, so it is not read; where you trust it, "
            "save its state dict alone with safetensors.torch.save_file and give that file"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WrongFile(f"{file} is not a checkpoint of torch, or a damaged one; get it again") from error
    arguments = content.get("args") if isinstance(content, Mapping) else None
    stated = vars(arguments) if isinstance(arguments, argparse.Namespace) else arguments
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise WrongFile(f"{file} holds no state dict but {type(content).__name__}; give a file of named tensors")
    foreign = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if foreign:
        raise WrongFile(f"{file} holds no plain state dict: {_count('not a tensor', foreign)}")
    wrapped = all(name.startswith("module.") for name in content)
    state = {name.removeprefix("module.") if wrapped else name: tensor for name, tensor in content.items()}
    return Checkpoint(state, stated if isinstance(stated, Mapping) else {})


class _EmptyOnMeta(TorchFunctionMode):
    """Makes uninitialised tensors (every layer's weights) on the meta device, where initialising them costs nothing.

    Buffers made of numbers stay real, so those that no checkpoint holds are there. A mode counts for its thread only.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {**(kwargs or {}), "device": "meta"} if func is torch.empty else kwargs or {}
        return func(*args, **kwargs)


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with storage of their own each: safetensors refuses one tensor under two names."""
    taken: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if place in taken else tensor.contiguous()
        taken.add(place)
    return separate


def _count(complaint: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    more = ", ..." if len(listed) > _NAMED else ""
    return f"{len(listed)} {complaint} ({', '.join(listed[:_NAMED])}{more})" if listed else ""


def _restore(kind: Any, value: Any, where: str) -> Any:
    """A value of JSON as what the annotation says: dataclasses from objects, tuples from lists, nothing unknown."""
    if is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, Mapping):
            raise WrongInput(f"{where} is no object.")
        hints = get_type_hints(kind)
        unknown = sorted(value.keys() - hints.keys())
        if unknown:
            raise WrongInput(f"{where} has the unknown entries {', '.join(unknown)}.")
        lost = [f.name for f in fields(kind) if f.default is f.default_factory is MISSING and f.name not in value]
        if lost:
            raise WrongInput(f"{where} lacks {', '.join(lost)}.")
        return kind(**{name: _restore(hints[name], value[name], f"{where}.{name}") for name in value})
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in parts:
            return None
        for part in (part for part in parts if part is not NoneType):
            try:
                return _restore(part, value, where)
            except WrongInput:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        kinds = parts[:1] * len(value) if parts[1:] == (Ellipsis,) else parts
        if len(kinds) == len(value):
            return tuple(_restore(part, item, f"{where}[{i}]") for i, (part, item) in enumerate(zip(kinds, value)))  # noqa: B905
    elif origin is Literal:
        if value in parts:
            return value
    elif kind is float and type(value) is int:
        return float(value)
    elif isinstance(kind, type) and type(value) is kind:
        return value
    raise WrongInput(f"{where} is {value!r}, not {getattr(kind, '__name__', kind)}.")
