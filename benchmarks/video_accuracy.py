"""Accuracy, flicker and drift of video depth on the same clips.

    python benchmarks/video_accuracy.py --models geometric stereodiff-offline depth-anything-v2-small \
        --sets 7scenes=DIR kitti-depth=DIR --protocol depthcrafter --common

A model is a name of `depthweave models` or a folder, with options of `depthweave.load` after a colon: for clips, or for
pictures, which then sees frame by frame. A set is a benchmark of clips (docs/evaluation.md) and its folder, with
options after commas (`7scenes=DIR,stop=40`). Every model meets every set in a process of its own, so that its peak
memory is its own. Columns, one scale and shift per clip as the protocol says, mean over clips:
- AbsRel, RMSE, delta1, and F0 to F10 of AbsRel (docs/evaluation.md);
- F0-F2 and F6-F10: sums, the slow and the fast part;
- flicker: mean change of 100 ln(prediction / truth) of a pixel from frame to frame;
- warped: mean change of depth between points that optical flow joins, in percent of the depth, without truth;
- drift: of the best scale of single frames in percent per 100 frames, and its range in percent;
- covered: share of the pixels with truth that count. --common takes only pixels that every model covers.
"""

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from accuracy import Contender, DataSet, about, alone, contender, data_set

# torch is imported in the other processes only: on Linux a process counts its parent's memory as its own peak.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME[:OPTION=VALUE,...]")
    parser.add_argument("--sets", nargs="+", required=True, metavar="BENCHMARK=ROOT[,OPTION=VALUE,...]")
    parser.add_argument("--protocol", default="depthcrafter", help="the part of its name after the benchmark")
    parser.add_argument("--bands", default="exponential", choices=("exponential", "dyadic", "doubling"))
    parser.add_argument("--common", action="store_true", help="only pixels that all models cover")
    parser.add_argument("--keep", type=Path, help="folder for the runs, to go on where a call was stopped")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    print(f"`{shlex.join(['python', *sys.argv])}`\n\n{about(arguments)}")
    with tempfile.TemporaryDirectory() as temporary:
        place = arguments.keep or Path(temporary)
        for number, data in enumerate(map(data_set, arguments.sets)):
            runs = {}
            for index, each in enumerate(map(contender, arguments.models)):
                print(f"{each.label} on {data.label}", file=sys.stderr)
                run = str(place / f"run-{number}-{index}")
                runs[each.label] = (run, *alone(predict_set, each, data, run, arguments.threads, arguments.device))
            protocol = f"{data.benchmark}/{arguments.protocol}"
            rows = alone(score_runs, {label: run for label, (run, *_) in runs.items()}, protocol, arguments)
            print("\n" + "\n".join(table(protocol, arguments.bands, rows, runs)), flush=True)


def table(protocol: str, bands: str, rows: dict[str, list[str]], runs: dict[str, Any]) -> list[str]:
    """Markdown: a row per model."""
    header = ["model", "AbsRel", "RMSE [m]", "delta1", *(f"F{number}" for number in range(11)), "F0-F2", "F6-F10"]
    header += ["flicker [%]", "warped [%]", "drift [% / 100]", "range [%]", "covered [%]", "s per frame", "peak [GB]"]
    lines = [f"{protocol}, {bands} bands of AbsRel:\n", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for label, cells in rows.items():
        peak = runs[label][1]
        lines.append(f"| `{label}` | {' | '.join(cells)} | {'' if peak is None else f'{peak / 1e9:.2f}'} |")
    return lines + [f"\n{label}, {key}: {said}" for label in runs for key, said in runs[label][2].items()]


# --- in other processes


def predict_set(
    each: Contender, data: DataSet, run: str, threads: int, device: str
) -> tuple[int | None, dict[str, str]]:
    """Predict every clip into a run folder; peak memory in bytes, and a sentence by key of failed clips."""
    import cv2
    import torch

    import depthweave
    from depthweave import runtime
    from depthweave.evaluation.clips_predict import predict_clips

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    model = depthweave.load(each.name, device=device, **each.options)
    found = predict_clips(model, data.benchmark, data.root, run, benchmark_options=data.options)
    if not found.done + found.reused:
        raise RuntimeError(f"{each.label} predicted no clip of {data.label}: {found.failed}")
    return runtime.peak_memory_bytes(), found.failed


def score_runs(runs: dict[str, str], protocol_name: str, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Cells of the table by model; only clips that all models have."""
    from depthweave.evaluation.clips_measure import measure_clip
    from depthweave.evaluation.clips_predict import ClipMaps
    from depthweave.evaluation.clips_protocols import clip_protocol
    from depthweave.evaluation.clips_score import averages
    from depthweave.evaluation.predict import Run

    opened = {label: Run.read(folder) for label, folder in runs.items()}
    first = next(iter(opened.values()))
    items = [item for item in first.clips() if all(run.facts_path(item.key).is_file() for run in opened.values())]
    protocol = clip_protocol(protocol_name)
    scores: dict[str, list[Any]] = {label: [] for label in opened}
    warped: dict[str, list[float]] = {label: [] for label in opened}
    for item in items:
        maps = {label: ClipMaps(run, item.key) for label, run in opened.items()}
        for label in maps:
            predicted = common(list(maps.values()), maps[label]) if arguments.common else maps[label]
            found, left_out = measure_clip(
                [protocol],
                item.key,
                len(item),
                predicted,
                item.truth,
                own_space=maps[label].own_space,
                edges=arguments.bands,
            )
            for error in left_out.values():
                raise error
            scores[label].append(found[protocol.name])
            warped[label].append(warped_percent(item, predicted, found[protocol.name]))
    return {
        label: cells(averages(protocol, scores[label])["all"], scores[label], warped[label], opened[label], items)
        for label in opened
    }


def cells(average: Any, clips: list[Any], warped: list[float], run: Any, items: list[Any]) -> list[str]:
    bands = average.bands["abs-rel"]
    numbers = [
        *(average.values[name] for name in ("abs-rel", "rmse", "delta-1")),
        *bands,
        sum(bands[:3]),
        sum(bands[6:]),
    ]
    numbers += [mean([clip.flicker_percent for clip in clips]), mean(warped)]
    numbers += [mean([clip.drift[i] for clip in clips]) for i in (0, 1)]
    seconds = sum(run.facts(item.key)["seconds"] for item in items) / sum(len(item) for item in items)
    return [
        *(f"{number:.4f}" for number in numbers),
        f"{mean([c.coverage_percent for c in clips]):.1f}",
        f"{seconds:.3f}",
    ]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def common(maps: list[Any], own: Any) -> Any:
    """Predictions of one model, valid only where those of all models are."""
    from dataclasses import replace

    def predicted(index: int) -> Any:
        found, others = own(index), [each(index) for each in maps]
        if found is None or any(other is None for other in others):
            return None
        valid = found.valid
        for other in others:
            valid = valid & other.valid
        return replace(found, valid=valid)

    return predicted


def warped_percent(item: Any, predicted: Any, score: Any) -> float:
    """Mean change of fitted depth between points that flow joins, all frames together, in percent of the depth."""
    import numpy as np
    import torch

    from depthweave.classical.flow import flow_both_ways
    from depthweave.metrics import warped_change

    total, pixels, before = 0.0, 0, None
    for index, picture in enumerate(item.clip):
        grey = (255 * picture.mean(0)).round().to(torch.uint8).numpy()
        found = predicted(index)
        now = None
        if found is not None and found.values.shape == picture.shape[1:]:
            values, valid = found.values, found.valid
            if (found.quantity == "inverse_depth") != (score.space == "disparity"):
                valid = valid & (values > 0)
                values = torch.where(valid, 1 / values.clamp_min(1e-12), 0.0)
            fitted = score.scale * values + score.shift
            valid = valid & (fitted > 1e-3)
            depth = 1 / fitted.clamp_min(1e-3) if score.space == "disparity" else fitted
            now = (grey, torch.where(valid, depth, 0.0), valid)
        if now is not None and before is not None:
            flow = flow_both_ways(now[0], before[0])
            matched = torch.from_numpy(np.asarray(flow.error_forward_px < 1.0))
            value, count = warped_change(now[1], now[2], before[1], before[2], torch.from_numpy(flow.forward), matched)
            if count:
                total, pixels = total + value * count, pixels + count
        before = now
    return 100 * total / pixels if pixels else float("nan")


if __name__ == "__main__":
    main()
