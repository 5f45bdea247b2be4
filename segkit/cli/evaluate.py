"""`segkit evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from segkit.cli import completion
from segkit.cli.launch import Devices, in_processes
from segkit.words import counted

logger = logging.getLogger(__name__)


def evaluate(
    context: typer.Context,
    what: Annotated[
        list[Path] | None,
        typer.Argument(help="A run folder, a model.safetensors or an exported model.onnx; several are an ensemble."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="In place of a model: masks that were predicted, by whatever program. Needs --truth.")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="With --folder: the true masks, under the same names.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="With --folder: names of the labels 0, 1, 2, ..., background first, by commas.")
    ] = None,
    subset: Annotated[
        str, typer.Option(help="train, val, test, or all (which holds training data).", autocompletion=completion.SUBSETS)
    ] = "test",
    dataset: Annotated[
        str | None, typer.Option(help="Another dataset than the run's own.", autocompletion=completion.names("datasets"))
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder that holds the data, if it has moved since training.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="The run that an exported file was made of, if it is not where the file says.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metric", help="An additional metric; may be repeated.", autocompletion=completion.names("metrics")),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="What the table shows: per_case, per_group or pooled (default: per_case; of classes pooled).",
            autocompletion=completion.words("per_case", "per_group", "pooled"),
        ),
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Average over all flips.")] = False,
    threshold: Annotated[
        list[str] | None,
        typer.Option(metavar="[CLASS=]VALUE", help="Assign a class where its probability exceeds this; may be repeated."),
    ] = None,
    keep_largest: Annotated[
        bool, typer.Option("--keep-largest", help="Keep only the largest component of each class.")
    ] = False,
    min_size: Annotated[int, typer.Option(min=0, help="Remove components of fewer pixels or voxels.")] = 0,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (default: 8, fewer if they are large).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", autocompletion=completion.DEVICES)] = "auto",
    devices: Devices = None,
    out: Annotated[Path | None, typer.Option(help="Folder for cases.csv and metrics.json (default: RUN/SUBSET).")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw each case: what is true outlined, what was found tinted.")
    ] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="SECTION.KEY=VALUE",
            help="A setting of dataset or metrics, or model.backend and the like.",
            autocompletion=completion.keys("dataset", "model"),
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Score a run on held-out cases, on the ground truth's own grid."""
    from segkit import distributed, workflows
    from segkit.cli import terminal
    from segkit.cli.output import print_json
    from segkit.errors import UsageError, did_you_mean
    from segkit.evaluation.aggregate import AGGREGATIONS, usual_aggregation
    from segkit.inference.postprocess import Postprocess

    if folder is None:
        in_processes(context, devices)
    if aggregate is not None and aggregate not in AGGREGATIONS:
        raise UsageError(f"--aggregate {aggregate} is not allowed.", did_you_mean(aggregate, AGGREGATIONS))
    if aggregate is not None and json:
        raise UsageError("--aggregate is about the table; --json holds all aggregations.", "Leave out one of them.")
    masks = {"--folder": folder, "--truth": truth, "--classes": classes}
    models: dict[str, Any] = {
        "a model": what,
        "--dataset": dataset,
        "--data-dir": data_dir,
        "--run": run,
        "--devices": devices,
    }
    models |= {"--subset": subset != "test", "--batch-size": batch_size, "--device": device != "auto", "--overlay": overlay}
    models |= {"--tta": tta, "--threshold": threshold, "--keep-largest": keep_largest, "--min-size": min_size}
    _check_kind({name for name, own in masks.items() if own}, {name for name, own in models.items() if own})
    with terminal.results_only():
        if folder is not None and truth is not None:
            names = classes.split(",") if classes else None
            evaluation = workflows.evaluate_masks(
                folder, truth, classes=names, metrics=metrics, options=option or [], out=out
            )
        else:
            assert what
            evaluation = workflows.evaluate(
                what,
                subset=subset,
                dataset=dataset,
                data_dir=data_dir,
                metrics=metrics,
                tta=tta,
                thresholds=threshold or (),
                postprocess=Postprocess(keep_largest=keep_largest, min_size=min_size),
                options=option or [],
                batch_size=batch_size,
                device=device,
                out=out,
                run=run,
                overlay=overlay,
            )
    document, written = evaluation.to_dict(), evaluation.folder
    main = distributed.is_main()
    if json and main:
        print_json(document)
    elif document["cases"] and main:
        _print(document, aggregate or usual_aggregation(document["kind"]))
    if written:
        logger.info(f"written: {written}/cases.csv, {written}/metrics.json" + (f", {written}/overlays" if overlay else ""))
    elif folder:
        logger.info("--out DIR writes cases.csv and metrics.json, which segkit compare reads.")
    else:
        logger.info(
            "Nothing was written, since these are not the run's own weights, cases and options: "
            "--out DIR writes cases.csv, metrics.json."
        )
    if document["failed"]:
        raise typer.Exit(3 if document["cases"] else 1)


def _check_kind(of_masks: set[str], of_models: set[str]) -> None:
    """Refuse what was typed for a folder of masks together with what is for a model."""
    from segkit.errors import UsageError

    if of_masks and of_models:
        raise UsageError(f"{min(of_masks)} scores masks: {min(of_models)} is not used with it.", "Leave out one of them.")
    if of_masks and not {"--folder", "--truth"} <= of_masks:
        missing = min({"--folder", "--truth"} - of_masks)
        raise UsageError(f"{min(of_masks)} needs {missing}.", "segkit evaluate --folder PREDICTIONS --truth TRUTHS")
    if not of_masks and "a model" not in of_models:
        raise UsageError("Nothing was named to score.", "segkit evaluate RUN, or --folder PREDICTIONS --truth TRUTHS")


def _print(document: dict[str, Any], how: str) -> None:
    from segkit.cli.output import print_table
    from segkit.evaluation.aggregate import is_detail

    figures = {key: figure for key, figure in document["figures"][how].items() if not is_detail(key)}
    classes = list(dict.fromkeys(key.partition("/")[2] for key in figures if "/" in key))
    names = list(dict.fromkeys(key.partition("/")[0] for key in figures))
    whole = [name for name in names if not any(f"{name}/{label}" in figures for label in classes)]  # has no classes
    alone = whole if len(classes) == 1 else []  # beside a single class they need no row of their own
    rows = [
        [label, *(_cell(figures.get(name if name in alone else f"{name}/{label}")) for name in names)] for label in classes
    ]
    if len(whole) > len(alone) or (len(classes) != 1 and document["kind"] == "segmentation"):
        rows.append(["(mean)" if classes else "", *(_cell(figures.get(name)) for name in names)])
    unit = "group" if how == "per_group" else "case"
    number = document["groups"] if how == "per_group" else document["cases"]
    title = f"{document['dataset']} {document['subset']}: {counted(number, unit)} ({how})"
    print_table(["class", *names], rows, title=title, wrap=False)
    undefined = {
        key: figure["undefined"] for key, figure in figures.items() if figure["undefined"] and ("/" in key or key in whole)
    }
    if how == "per_case" and names:
        _print_spread(document, names[0])
    if undefined:
        listing = ", ".join(f"{key} in {count}" for key, count in undefined.items())
        typer.echo(f"Undefined and left out of the mean: {listing} of {counted(number, unit)}.")


def _print_spread(document: dict[str, Any], metric: str) -> None:
    """A line on the first metric: how sure its mean is, how the cases spread, and which are worst."""
    from segkit.evaluation.statistics.bootstrap import FEW_GROUPS

    own = document["spread"].get(metric)
    if own is None:
        return
    parts, interval = [], own["interval"]
    if interval is not None:
        span = f"{interval['low']:.4f} to {interval['high']:.4f}"
        parts.append(f"95 % interval of the mean {span} (bootstrap over {counted(interval['groups'], 'group')})")
    parts.append(f"median {own['median']:.4f}")
    if own["std"] == own["std"]:
        parts.append(f"standard deviation {own['std']:.4f}")
    typer.echo(f"{metric}: {', '.join(parts)}")
    if own["worst"]:
        typer.echo(f"worst: {', '.join(f'{case} {value:.4f}' for case, value in own['worst'])}")
    if interval is not None and interval["groups"] < FEW_GROUPS:
        typer.echo(f"With fewer than {FEW_GROUPS} groups such an interval is too narrow.")


def _cell(figure: dict[str, Any] | None) -> str:
    return "-" if figure is None or figure["mean"] != figure["mean"] else f"{figure['mean']:.4f}"
