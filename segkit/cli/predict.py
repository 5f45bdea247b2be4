"""`segkit predict`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segkit.cli.launch import Devices, in_processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from segkit.prediction.inputs import Input
    from segkit.prediction.jobs import Job
    from segkit.prediction.predict import Prediction
    from segkit.task import Dataset, Task


def predict(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT... INPUT...",
            help="A run folder, model.safetensors or exported model.onnx, several of them for their mean; then images, "
            "volumes, folders, lists of them (.txt), or - for a list on stdin.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; mirrors the inputs.")],
    dataset: Annotated[
        str | None, typer.Option(help="Put files together to cases as this dataset names them (brats2020, nnunet, acdc).")
    ] = None,
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw masks over images; of volumes some slices.")] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities: 16-bit PNG, NIfTI or npz.")
    ] = False,
    polygons: Annotated[bool, typer.Option("--polygons", help="Also write all outlines as COCO JSON.")] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Also write sizes, components, centroids and confidence as CSV.")
    ] = False,
    palette: Annotated[bool, typer.Option("--palette", help="PNG masks are labels shown in colours.")] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Mean over all flips; 4 times the work (volumes in 3D: 8).")] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="[CLASS=]VALUE", help="Take a class where its probability is above it; may be repeated."),
    ] = None,
    keep_largest: Annotated[
        bool, typer.Option("--keep-largest", help="Keep the largest component of each class alone.")
    ] = False,
    min_size: Annotated[int, typer.Option(min=0, help="Remove components of fewer pixels or voxels.")] = 0,
    null: Annotated[bool, typer.Option("-0", "--null", help="Names in lists end with NUL (find -print0).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done already.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images, slices or windows at a time (default: 8, fewer if they are large).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    devices: Devices = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="SECTION.KEY=VALUE", help="An option of the dataset, or model.backend and the like."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a mask for each image or volume, on its own grid; of a classification, a table.

    A second call does what is left.
    """
    from segkit import terminal
    from segkit.config.resolve import gather
    from segkit.errors import UsageError
    from segkit.inference.load import load_networks, read_headers
    from segkit.prediction import predict as engine
    from segkit.prediction.jobs import OutputOptions, plan_jobs
    from segkit.prediction.postprocess import Postprocess, read_thresholds
    from segkit.prediction.record import digest_of
    from segkit.runs.folder import find_weights, split_models

    models, typed = split_models(words)
    if devices not in (None, 1) and (null or "-" in typed):
        raise UsageError("--devices does not share a list on stdin.", "Write it into a file: LIST.txt in its place.")
    in_processes(context, devices)
    paths = [find_weights(model) for model in models]
    changes = gather({}, {}, option or [], ("model", "dataset"))
    header, *others = read_headers(paths)
    task, dims = header.task, max(one.dims for one in (header, *others))
    if task.kind == "classification" and (threshold or keep_largest or min_size):
        raise UsageError("--threshold, --keep-largest and --min-size are about masks; this model gives classes.")
    outputs = OutputOptions(overlay, probabilities, palette, polygons, table)
    post = Postprocess(read_thresholds(threshold or [], task), keep_largest, min_size)
    inputs, opened = _inputs(typed, out, null, task, dataset, changes.get("dataset", {}))
    jobs = plan_jobs(inputs, out, task, outputs)
    engine.check_inputs(inputs, task, dims, opened)
    with terminal.results_only():
        networks = load_networks(paths, device, batch_size, changes.get("model", {}))
    decisive = dict(changes.get("model", {}))
    if dataset is not None:
        decisive["dataset"] = {"name": dataset, **changes.get("dataset", {})}
    how = engine.PredictionOptions(post, outputs, tta, opened, overwrite)
    try:
        with terminal.results_only():
            result = engine.predict(networks, jobs, out, [digest_of([path]) for path in paths], decisive, how)
    except KeyboardInterrupt:
        terminal.notice("interrupted; the same command does the rest.")
        raise typer.Exit(130) from None
    _report(result, jobs, out, task.kind, json)


def _report(result: Prediction, jobs: Sequence[Job], out: Path, kind: str, json: bool) -> None:
    """Say, or print as JSON, what was done; end as the failures ask."""
    from segkit import distributed, terminal
    from segkit.cli.output import print_json
    from segkit.prediction.jobs import RECORD, TABLE

    if json and distributed.is_main():
        counts = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
        files = {job.key: result.entries[job.key] for job in jobs}
        print_json({"out": str(out.absolute()), **counts, "files": files})
    parts = [f"{result.done} predicted", f"{result.skipped} already done", f"{result.failed} failed"]
    where = f"masks are in {out}" if kind == "segmentation" else f"classes are in {out / TABLE}"
    terminal.say(f"{', '.join(parts)}; {where}, details in {out / RECORD}")
    if result.failed:
        raise typer.Exit(3 if result.done or result.skipped else 1)


def _inputs(
    typed: list[str], out: Path, null: bool, task: Task, dataset: str | None, options: dict[str, Any]
) -> tuple[list[Input], Dataset | None]:
    """What was typed as inputs: the cases of a dataset, or files found one by one."""
    from segkit import terminal
    from segkit.data.reading import open_cases
    from segkit.errors import UsageError
    from segkit.prediction.inputs import check_output, find_inputs, inputs_of, read_lists
    from segkit.prediction.jobs import RECORD

    if dataset is not None:
        check_output(out, [Path(word) for word in typed])
        opened = open_cases(dataset, typed, options, task)
        return inputs_of(opened), opened
    if options:
        raise UsageError("-o dataset.KEY needs --dataset NAME.")
    if null and not typed:
        typed = ["-"]
    if not typed:
        raise UsageError("There is no input.", "BackgroundWriter the model, type images, folders, a list, or -.")
    stdin = sys.stdin.buffer.read() if "-" in typed else None
    names, listed = read_lists(typed, stdin, null)
    inputs, others = find_inputs(names, listed, out, RECORD, volumes=task.dims == 3)
    if others:
        terminal.say(f"{others} file(s) that are no images, or hidden, are left alone.")
    return inputs, None
