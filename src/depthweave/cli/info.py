"""`depthweave info`: this installation, or a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from depthweave.cli.options import Json


def command(
    path: Annotated[Path | None, typer.Argument(help="A result folder, a map, a picture or a calibration.")] = None,
    as_json: Json = False,
) -> None:
    """Say what depthweave runs on, or what a file holds."""
    import json

    facts = about_installation() if path is None else about_file(path)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        width = max(len(key) for key in facts)
        for key, value in facts.items():
            typer.echo(f"{key:<{width}}  {value}")


def about_installation() -> dict[str, Any]:
    """Versions, devices and threads."""
    import platform

    import cv2
    import torch

    import depthweave
    from depthweave import runtime
    from depthweave.models.weights import weights_folder

    return {
        "depthweave": depthweave.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "device": str(runtime.choose_device()),
        "cuda devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "weights": str(weights_folder()),
    }


def about_file(path: Path) -> dict[str, Any]:
    """What a file holds, as far as its format says."""
    from depthweave import io
    from depthweave.types import Camera

    if path.is_dir():
        return io.read_manifest(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        found = io.read_npz(path)
        return {"holds": found.kind, **_statistics(found.values, found.valid), "scale": found.scale}
    if suffix == ".pfm":
        return {"holds": "float map (.pfm states no unit)", **_statistics(*io.read_pfm(path))}
    if suffix == ".exr":
        return {"holds": "float map, channel Z", **_statistics(*io.read_exr(path))}
    if io.is_image(path):
        picture = io.read_image(path)
        height, width = picture.shape[:2]
        return {"holds": "picture", "size": f"{width}x{height}", "channels": picture.ndim, "type": str(picture.dtype)}
    calibration = io.read_calibration(path)
    if calibration.width is not None:
        return {"holds": "calibration", "format": calibration.source, **Camera.read(path).to_dict()}
    return {
        "holds": "calibration",
        "format": calibration.source,
        "intrinsics": calibration.intrinsics.tolist(),
        "baseline_m": calibration.baseline_m,
        "doffs_px": calibration.doffs_px,
    }


def _statistics(values: Any, valid: Any) -> dict[str, Any]:
    known = values[valid]
    height, width = values.shape
    limits = "nothing" if known.size == 0 else f"{known.min():g} to {known.max():g}"
    return {"size": f"{width}x{height}", "valid": f"{valid.mean():.1%}", "values": limits}
