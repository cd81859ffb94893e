"""Official checkpoints of pointmap networks: a constructor call as text, and tensors of which some count twice.

The text is parsed, never evaluated. It stands in ``args.model`` of a ``.pth`` file; a folder of the Hugging Face hub
has its keywords in ``config.json``.
"""

import ast
import json
import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from depthweave.errors import DepthweaveWarning, WrongInput
from depthweave.models.pointmap.config import PointmapConfig
from depthweave.models.weights import CONFIG_NAME

CLASSES = {"AsymmetricCroCo3DStereo": "dust3r", "AsymmetricMASt3R": "mast3r"}
"""Classes that official checkpoints name, and their families."""

HEAD_WIDTH = 64
"""Of the attention of all official networks; tensors do not tell it."""

Keywords = Mapping[str, Any]

_READ = {
    "enc_embed_dim": "encoder_dim",
    "enc_depth": "encoder_depth",
    "enc_num_heads": "encoder_heads",
    "dec_embed_dim": "decoder_dim",
    "dec_depth": "decoder_depth",
    "dec_num_heads": "decoder_heads",
}
_UNDERSTOOD = {
    *_READ,
    *("pos_embed", "img_size", "head_type", "output_mode", "depth_mode", "conf_mode", "desc_conf_mode", "two_confs"),
}
_OF_TRAINING = {"patch_embed_cls", "freeze", "landscape_only"}
"""How a network is trained, or arranges portrait pictures; it predicts the same."""

_TWICE = re.compile(r"scratch\.layer_rn\.(\d)\.weight$")
_UNUSED = re.compile(r"mask_token$|prediction_head\.")


def hub_family(folder: Path) -> str | None:
    """The family of a folder in the hub's layout, None where it holds something else."""
    try:
        stated = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(stated, dict) or "enc_embed_dim" not in stated:
        return None
    return "mast3r" if "desc" in str(stated.get("output_mode")) else "dust3r"


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Class and keywords of a constructor call.

    Args:
        text: such as ``AsymmetricCroCo3DStereo(head_type='dpt', conf_mode=('exp', 1, inf))``.

    Raises:
        WrongInput: anything but a name, called with keywords that are literals (``inf`` is one).
    """
    wrong = WrongInput(f"{text[:60]!r} is not the call of a class with plain keywords.")
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise wrong from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
        raise wrong
    if any(keyword.arg is None for keyword in call.keywords):
        raise wrong
    return call.func.id, {str(keyword.arg): _literal(keyword.value, wrong) for keyword in call.keywords}


def write_call(kind: str, keywords: Keywords) -> str:
    """The inverse of `parse_call`."""
    return f"{kind}({', '.join(f'{name}={value!r}' for name, value in keywords.items())})"


def keywords_of(text: str | None, family: str) -> dict[str, Any] | None:
    """Keywords of a checkpoint's constructor call; None where there is no call.

    Raises:
        WrongInput: no call, or of a class of another family.
    """
    if text is None:
        return None
    kind, keywords = parse_call(text)
    if CLASSES.get(kind) != family:
        raise WrongInput(f"its class is {kind}, which is not of the family {family}.")
    return keywords


def sizes_of(keywords: Keywords | None, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of `PointmapConfig` that a checkpoint tells, by its keywords or, without any, by its tensors.

    Args:
        keywords: of the constructor call; unknown ones are passed over with a warning.
        state: tensors by their official names.

    Raises:
        WrongInput: a mode of the output or of the positions that is not known, or not such tensors.
    """
    if keywords is None:
        return _sizes_of_tensors(state)
    strange = sorted(keywords.keys() - _UNDERSTOOD - _OF_TRAINING)
    if strange:
        warnings.warn(f"passing over what depthweave does not know: {', '.join(strange)}.", DepthweaveWarning, 2)
    positions = re.fullmatch(r"RoPE(\d+(?:\.\d+)?)", str(keywords.get("pos_embed", "RoPE100")))
    if positions is None:
        raise WrongInput(f"pos_embed={keywords['pos_embed']!r} is not known; these networks have rotary positions.")
    mode = keywords.get("depth_mode", ("exp", -math.inf, math.inf))
    if _mode(mode) != ("exp", -math.inf, math.inf):
        raise WrongInput(f"depth_mode={mode!r} is not known; there is ('exp', -inf, inf).")
    size = keywords.get("img_size")
    sides = size if isinstance(size, tuple | list) else (size,)
    return {
        **{ours: keywords[theirs] for theirs, ours in _READ.items() if theirs in keywords},
        **({} if size is None else {"image_size": max(sides)}),
        "rope_base": float(positions[1]),
        "least_confidence": least(keywords.get("conf_mode", ("exp", 1, math.inf)), "conf_mode"),
    }


def least(mode: Any, name: str) -> float:
    """Lower bound of an exponential confidence.

    Raises:
        WrongInput: another kind of mode.
    """
    kind, low, high = _mode(mode)
    if kind != "exp" or not math.isfinite(low) or high != math.inf:
        raise WrongInput(f"{name}={mode!r} is not known; there is ('exp', LEAST, inf).")
    return low


def keywords_for(config: PointmapConfig, *, head_type: str, output_mode: str) -> dict[str, Any]:
    """The keywords with which the authors' class is built the same."""
    keywords: dict[str, Any] = {
        "pos_embed": f"RoPE{config.rope_base:g}",
        "patch_embed_cls": "PatchEmbedDust3R",
        "img_size": (config.image_size, config.image_size),
        "head_type": head_type,
        "output_mode": output_mode,
        "depth_mode": ("exp", -math.inf, math.inf),
        "conf_mode": ("exp", config.least_confidence, math.inf),
    }
    return {**keywords, **{theirs: getattr(config, ours) for theirs, ours in _READ.items()}}


def own_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official tensors as our networks hold them: each once, the second decoder filled in, without what is not used.

    Raises:
        WrongInput: two copies of one tensor differ, or there are no heads (the start weights of a training).
    """
    if not any(name.startswith("downstream_head") for name in state):
        raise WrongInput("it has no heads for points (downstream_head1, downstream_head2).")
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        once = _TWICE.sub(lambda match: f"scratch.layer{int(match[1]) + 1}_rn.weight", name)
        if once in found and not _equal(found[once], tensor):
            raise WrongInput(f"{once} and its second copy (scratch.layer_rn) differ.")
        if not _UNUSED.match(name):
            found[once] = tensor
    if not any(name.startswith("dec_blocks2.") for name in found):
        copies = {name.replace("dec_blocks.", "dec_blocks2.", 1): found[name] for name in found}
        found |= {name: tensor.clone() for name, tensor in copies.items() if name.startswith("dec_blocks2.")}
    return found


def official_state(state: Mapping[str, Tensor], decoder_dim: int, *, twice: bool = True) -> dict[str, Tensor]:
    """Our tensors under all names of an official checkpoint; the inverse of `own_state`.

    Args:
        state: of our network.
        decoder_dim: width of ``mask_token``, which no one uses and which becomes 0.
        twice: write the tensors with two names twice, as the authors' ``.pth`` files do and the hub's do not.
    """
    found = {"mask_token": torch.zeros(1, 1, decoder_dim), **state}
    for name in list(found) if twice else []:
        match = re.search(r"scratch\.layer(\d)_rn\.weight$", name)
        if match:
            found[f"{name[: match.start()]}scratch.layer_rn.{int(match[1]) - 1}.weight"] = found[name]
    return found


def _sizes_of_tensors(state: Mapping[str, Tensor]) -> dict[str, Any]:
    sizes: dict[str, Any] = {}
    for part, prefix, norm in (("encoder", "enc_blocks.", "enc_norm"), ("decoder", "dec_blocks.", "dec_norm")):
        width = state.get(f"{norm}.weight")
        numbers = {name.split(".")[1] for name in state if name.startswith(prefix)}
        if width is None or not numbers:
            raise WrongInput(f"{norm}.weight or the blocks {prefix}* are missing.")
        dim = width.shape[0]
        if dim % HEAD_WIDTH:
            raise WrongInput(
                f"tensors do not tell the attention heads of the {part} ({dim} wide); say with --set model=... what "
                "args.model of the training was."
            )
        sizes |= {f"{part}_dim": dim, f"{part}_depth": len(numbers), f"{part}_heads": dim // HEAD_WIDTH}
    return sizes


def _mode(mode: Any) -> tuple[str, float, float]:
    try:
        kind, low, high = mode
        return str(kind), float(low), float(high)
    except (TypeError, ValueError) as error:
        raise WrongInput(f"{mode!r} is no mode of an output; there is ('exp', LEAST, inf).") from error


def _literal(node: ast.expr, wrong: WrongInput) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand, wrong)
        if type(value) in (int, float):
            return -value
    if isinstance(node, ast.Tuple | ast.List):
        items = [_literal(item, wrong) for item in node.elts]
        return tuple(items) if isinstance(node, ast.Tuple) else items
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {
            key.value: _literal(value, wrong)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    raise wrong


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.is_meta or second.is_meta or torch.equal(first, second)


@dataclass(frozen=True)
class OfficialLayout:
    """The functions of a family's ``convert`` module, see `depthweave.models.families.Family`.

    Attributes:
        family: of the networks.
        kind: the authors' class.
        build: the network of tensors (by official names) and keywords of the class, None where there are none.
        keywords: those of a network's configuration.
    """

    family: str
    kind: str
    build: Callable[[Mapping[str, Tensor], Keywords | None], Any]
    keywords: Callable[[Any], dict[str, Any]]

    def from_official(self, state: Mapping[str, Tensor], *, model: str | None = None) -> Any:
        """The network of its authors' tensors.

        Args:
            state: tensors by name.
            model: the constructor call of the training (``args.model`` of the file); without it, sizes are read from
                the tensors and the rest is as in the published 512 px models.

        Raises:
            WrongInput: another network, or tensors are missing, unexpected or of another shape.
        """
        return self.build(state, keywords_of(model, self.family))

    def stated_options(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Options of `from_official` that the arguments of the training, which a file holds, state."""
        return {"model": arguments["model"]} if isinstance(arguments.get("model"), str) else {}

    def to_official(self, network: Any) -> dict[str, Tensor]:
        """The authors' state dict."""
        return official_state(network.state_dict(), network.config.decoder_dim)

    def official_arguments(self, network: Any) -> dict[str, Any]:
        """The arguments of the training that the authors' loader reads."""
        return {"model": write_call(self.kind, self.keywords(network.config))}

    def from_hub(self, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Any:
        """The network of a folder of the hub.

        Args:
            state: contents of its `model.safetensors`.
            config: contents of its `config.json`, the keywords of the authors' class.

        Raises:
            WrongInput: another network, or tensors that do not fit.
        """
        return self.build(state, config)

    def to_hub(self, network: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and configuration in the layout that the authors' class loads from the hub."""
        state = official_state(network.state_dict(), network.config.decoder_dim, twice=False)
        return state, self.keywords(network.config)
