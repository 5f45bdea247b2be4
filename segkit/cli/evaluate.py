"""`segkit evaluate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from segkit.cli import completion
from segkit.cli.launch import Devices, in_processes
from segkit.cli.predict import Flips, KeepLargest, MinSize, Thresholds

logger = logging.getLogger(__name__)

FOR_BOTH = ("metrics", "aggregate", "audit", "by", "out", "region", "option", "json")  # of models and of folders of masks


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
        str, typer.Option(help="train, val, test, several of them by commas, or all.", autocompletion=completion.SUBSETS)
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
            help="What the table shows: per_case, per_group, per_batch (as Keras evaluates) or pooled "
            "(default: per_case; of classes pooled).",
            autocompletion=completion.words("per_case", "per_group", "per_batch", "pooled"),
        ),
    ] = None,
    tta: Flips = False,
    threshold: Thresholds = None,
    keep_largest: KeepLargest = False,
    min_size: MinSize = 0,
    grid: Annotated[
        str,
        typer.Option(
            help="own: that of the true masks; model: masks are brought to the network's grid, as some papers score.",
            autocompletion=completion.words("own", "model"),
        ),
    ] = "own",
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Distances under the definitions that are in use, and whether a ranking changes."),
    ] = False,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also of parts of the cases: size (of the target), label, or what their metadata holds."),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=CLASS,CLASS", help="A union of classes that is scored as well; may be repeated."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images at a time (default: 8, fewer if they are large).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.", autocompletion=completion.DEVICES)] = "auto",
    devices: Devices = None,
    out: Annotated[Path | None, typer.Option(help="Folder for cases.csv and metrics.json (default: RUN/SUBSET).")] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Also draw each case: what is true outlined, what was found tinted.")
    ] = False,
    save_predictions: Annotated[
        bool, typer.Option("--save-predictions", help="Also write the masks that were found.")
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
    """Score a run on held-out cases."""
    from segkit import distributed, workflows
    from segkit.cli import terminal
    from segkit.cli.output import print_json
    from segkit.cli.scores import print_scores
    from segkit.errors import UsageError, did_you_mean
    from segkit.evaluation.aggregate import AGGREGATIONS, usual_aggregation
    from segkit.evaluation.audit import METRICS
    from segkit.evaluation.masks import evaluate_masks
    from segkit.inference.postprocess import Postprocess

    if folder is None:
        in_processes(context, devices)
    if aggregate is not None and aggregate not in AGGREGATIONS:
        raise UsageError(f"--aggregate {aggregate} is not allowed.", did_you_mean(aggregate, AGGREGATIONS))
    if aggregate is not None and json:
        raise UsageError("--aggregate is about the table; --json holds all aggregations.", "Leave out one of them.")
    if audit:
        metrics = list(dict.fromkeys([*(metrics or ()), *METRICS]))
    _check_kind(context)
    shared: dict[str, Any] = {"metrics": metrics, "options": option or [], "by": by or (), "regions": region or ()}
    with terminal.results_only():
        if folder is not None and truth is not None:
            names = classes.split(",") if classes else None
            evaluations = [evaluate_masks(folder, truth, classes=names, out=out, **shared)]
        else:
            assert what
            shared |= {"dataset": dataset, "data_dir": data_dir, "run": run, "device": device, "batch_size": batch_size}
            shared |= {
                "tta": tta,
                "thresholds": threshold or (),
                "postprocess": Postprocess(keep_largest=keep_largest, min_size=min_size),
            }
            shared |= {"grid": grid, "overlay": overlay, "save_predictions": save_predictions}
            places = _places(subset, out)
            evaluations = [workflows.evaluate(what, subset=own, out=place, **shared) for own, place in places.items()]
    documents = [evaluation.to_dict() for evaluation in evaluations]
    if distributed.is_main():
        if json:
            print_json(documents[0] if len(documents) == 1 else {one["subset"]: one for one in documents})
        elif scored := [document for document in documents if document["cases"]]:
            print_scores(scored, aggregate or usual_aggregation(scored[0]["kind"]))
    pictures = [name for name, asked in (("overlays", overlay), ("predictions", save_predictions)) if asked]
    for evaluation in evaluations:
        _say_where(evaluation.folder, of_masks=folder is not None, more=pictures)
    if any(document["failed"] for document in documents):
        raise typer.Exit(3 if any(document["cases"] for document in documents) else 1)


def _say_where(written: Path | None, of_masks: bool, more: list[str]) -> None:
    if written:
        logger.info("written: " + ", ".join(f"{written}/{name}" for name in ("cases.csv", "metrics.json", *more)))
    elif of_masks:
        logger.info("--out DIR writes cases.csv and metrics.json, which segkit compare reads.")
    else:
        logger.info(
            "Nothing was written, since these are not the run's own weights, cases and options: "
            "--out DIR writes cases.csv, metrics.json."
        )


def _places(subset: str, out: Path | None) -> dict[str, Path | None]:
    """The subsets that were named, and where the figures of each go."""
    from segkit.errors import UsageError, did_you_mean
    from segkit.evaluation.subset import SUBSETS

    names = list(dict.fromkeys(subset.split(",")))
    for name in names:
        if name not in SUBSETS:
            raise UsageError(f"--subset {name} is not allowed.", did_you_mean(name, SUBSETS))
    return {name: out / name if out is not None and len(names) > 1 else out for name in names}


def _check_kind(context: typer.Context) -> None:
    """Refuse what was typed for a folder of masks together with what is for a model."""
    from segkit.errors import UsageError

    typed = {name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")}
    of_masks = {f"--{name}" for name in typed & {"folder", "truth", "classes"}}
    own = typed - {"folder", "truth", "classes", *FOR_BOTH}
    of_models = {"a model" if name == "what" else f"--{name.replace('_', '-')}" for name in own}
    if of_masks and of_models:
        raise UsageError(f"{min(of_masks)} scores masks: {min(of_models)} is not used with it.", "Leave out one of them.")
    if of_masks and not {"--folder", "--truth"} <= of_masks:
        missing = min({"--folder", "--truth"} - of_masks)
        raise UsageError(f"{min(of_masks)} needs {missing}.", "segkit evaluate --folder PREDICTIONS --truth TRUTHS")
    if not of_masks and "a model" not in of_models:
        raise UsageError("Nothing was named to score.", "segkit evaluate RUN, or --folder PREDICTIONS --truth TRUTHS")
