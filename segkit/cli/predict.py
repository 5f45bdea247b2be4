"""`segkit predict`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segkit.cli import completion
from segkit.cli.launch import Devices, in_processes

if TYPE_CHECKING:
    from segkit.prediction.predict import Prediction

logger = logging.getLogger(__name__)


Flips = Annotated[bool, typer.Option("--tta", help="Average over all flips: 4 times the work (8 times in 3D).")]
Thresholds = Annotated[
    list[str] | None,
    typer.Option(metavar="[CLASS=]VALUE", help="Assign a class where its probability exceeds this; may be repeated."),
]
KeepLargest = Annotated[bool, typer.Option("--keep-largest", help="Keep only the largest component of each class.")]
MinSize = Annotated[int, typer.Option(min=0, help="Remove components of fewer pixels or voxels.")]


def predict(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT... INPUT...",
            help="A run folder, model.safetensors or exported model.onnx, several of them are averaged; then images, "
            "volumes, folders, lists of them (.txt), or - for a list on stdin.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; mirrors the inputs.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Group files into cases by this dataset's file names (brats2020, nnunet, acdc).",
            autocompletion=completion.names("datasets"),
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw masks over images (for volumes, over some slices).")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write probabilities: 16-bit PNG, NIfTI or npz.")
    ] = False,
    polygons: Annotated[bool, typer.Option("--polygons", help="Also write all outlines as COCO JSON.")] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Also write sizes, components, centroids and confidence as CSV.")
    ] = False,
    palette: Annotated[bool, typer.Option("--palette", help="Write PNG masks with a colour palette.")] = False,
    tta: Flips = False,
    threshold: Thresholds = None,
    keep_largest: KeepLargest = False,
    min_size: MinSize = 0,
    null: Annotated[bool, typer.Option("-0", "--null", help="Names in lists end with NUL (find -print0).")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict again what is already done.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images, slices or windows at a time (default: 8, fewer if they are large).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", autocompletion=completion.DEVICES)] = "auto",
    devices: Devices = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="SECTION.KEY=VALUE",
            help="An option of the dataset, or model.backend and the like.",
            autocompletion=completion.keys("dataset", "model"),
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a mask for each image or volume, on its own grid; of a classification, a table.

    A second call does what is left.
    """
    from segkit import workflows
    from segkit.cli import terminal
    from segkit.errors import UsageError
    from segkit.inference.postprocess import Postprocess
    from segkit.prediction.jobs import OutputOptions
    from segkit.runs.folder import split_models

    models, inputs = split_models(words)
    inputs = inputs or (["-"] if null and dataset is None else [])
    if devices not in (None, 1) and "-" in inputs:
        raise UsageError("--devices cannot share a list on stdin.", "Write it into a file and give LIST.txt instead.")
    in_processes(context, None if dry_run else devices)
    try:
        with terminal.results_only():
            result = workflows.predict(
                models,
                inputs,
                out,
                dataset=dataset,
                outputs=OutputOptions(overlay, probabilities, palette, polygons, table),
                postprocess=Postprocess((), keep_largest, min_size),
                thresholds=threshold or [],
                tta=tta,
                overwrite=overwrite,
                options=option or [],
                batch_size=batch_size,
                device=device,
                stdin=sys.stdin.buffer.read() if "-" in inputs and dataset is None else None,
                null=null,
                dry_run=dry_run,
            )
    except KeyboardInterrupt:
        logger.warning("interrupted; run the same command again to do the rest.")
        raise typer.Exit(130) from None
    _report(result, out, json, dry_run)


def _report(result: Prediction, out: Path, json: bool, dry_run: bool) -> None:
    """Report what was done, in words or as JSON; the exit code says whether inputs failed."""
    from segkit import distributed
    from segkit.cli.output import print_json
    from segkit.prediction.jobs import RECORD, TABLE

    if json and distributed.is_main():
        counts = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
        files = {key: result.entries[key] for key in result.keys}
        print_json({"out": str(out.absolute()), **counts, "files": files})
    if dry_run:
        todo = len(result.keys) - result.skipped
        logger.info(f"{todo} would be predicted, {result.skipped} already done; nothing was written.")
        return
    parts = [f"{result.done} predicted", f"{result.skipped} already done", f"{result.failed} failed"]
    where = f"masks are in {out}" if result.kind == "segmentation" else f"classes are in {out / TABLE}"
    logger.info(f"{', '.join(parts)}; {where}, details in {out / RECORD}")
    if result.failed:
        raise typer.Exit(3 if result.done or result.skipped else 1)
