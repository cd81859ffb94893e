"""`depthweave info`: this installation, or a file."""

from pathlib import Path
from typing import Annotated, Any

import typer

from depthweave.cli.options import Json


def command(
    path: Annotated[Path | None, typer.Argument(help="A result folder, a map, a picture or a calibration.")] = None,
    camera: Annotated[
        str | None, typer.Option("--camera", help="A stereo camera, e.g. realsense-d455; list names them all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what depthweave runs on, what a file holds, or what depth a stereo camera can tell."""
    import json

    if camera is not None and path is not None:
        raise typer.BadParameter("--camera is about a camera, not about a file; leave one of them away.")
    if camera is not None:
        facts = about_camera(camera)
    elif path is not None:
        facts = about_file(path)
    else:
        facts = about_installation()
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


def about_camera(name: str) -> dict[str, Any]:
    """Numbers of a preset, and the depth error that errors of disparity cause; ``list`` gives all names."""
    from depthweave.types import Camera
    from depthweave.types.camera_presets import CAMERA_PRESETS

    if name == "list":
        return {preset: facts.summary for preset, facts in CAMERA_PRESETS.items()}
    camera = Camera.preset(name)
    facts = CAMERA_PRESETS[name]
    errors = {
        f"error at {depth_m:g} m": ", ".join(
            f"{camera.depth_error_m(depth_m, error_px):.3g} m for {error_px:g} px" for error_px in (0.25, 1)
        )
        for depth_m in (0.5, 1, 2, 4, 8, 16)
    }
    return {
        "camera": facts.summary,
        "size": f"{facts.width}x{facts.height}",
        "focal length px": round(facts.focal_px, 1),
        "baseline m": facts.baseline_m,
        "source": facts.source,
        **errors,
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
