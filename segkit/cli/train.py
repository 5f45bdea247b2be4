"""`segkit train`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segkit.cli import completion
from segkit.cli.launch import Devices, in_processes
from segkit.cli.series import check_aggregate, continue_series, is_folds, parse, run_series
from segkit.errors import UsageError
from segkit.options import OptionField, fields_of, in_words
from segkit.settings import SECTIONS
from segkit.words import command, counted

if TYPE_CHECKING:
    from segkit.training.train import Run

logger = logging.getLogger(__name__)

DATA, MODEL, TRAINING, RUN = "Data", "Model", "Training", "Run"
NO_SETTINGS = ("devices", "seeds", "aggregate", "out", "config", "recipe", "resume", "option", "json", "dry_run")
METAVARS = {"whole number": "N", "number": "X", "text": "TEXT", "text | auto": "TIME"}


@lru_cache
def _fields(section: str) -> dict[str, OptionField]:
    return {field.name: field for field in fields_of(SECTIONS[section])}


def setting(key: str, panel: str) -> Any:
    """A flag for a setting, with the help, the allowed values and the default that the setting itself states."""
    section, _, name = key.partition(".")
    field = _fields(section)[name]
    default = f" (default: {in_words(field.default)})"
    metavar = METAVARS.get(field.type, field.type.replace(" | ", "|"))
    choices = {"device": completion.DEVICES, "monitor": completion.monitored}
    choice = choices.get(name, completion.words(*(word for word in field.type.split(" | ") if word not in METAVARS)))
    return typer.Option(help=field.help + default, metavar=metavar, rich_help_panel=panel, autocompletion=choice)


def _switch(key: str, panel: str) -> Any:
    """A flag without a value for a setting that is true or false."""
    section, _, name = key.partition(".")
    field = _fields(section)[name]
    return typer.Option(f"--{name.replace('_', '-')}", help=field.help, rich_help_panel=panel)


# what `segkit plan` takes as well
DatasetName = Annotated[
    str | None,
    typer.Option(help="'segkit datasets' lists them.", autocompletion=completion.names("datasets"), rich_help_panel=DATA),
]
DataDir = Annotated[str | None, typer.Option(help="Folder that holds the data.", rich_help_panel=DATA)]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="'segkit models' lists them; left out, the plan takes one.",
        autocompletion=completion.names("models"),
        rich_help_panel=MODEL,
    ),
]
StartingPoint = Annotated[
    Path | None, typer.Option(help="Start from this run.toml; what is typed wins.", rich_help_panel=RUN)
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        help="Start from a recipe; 'segkit recipes' lists them.",
        autocompletion=completion.names("recipes"),
        rich_help_panel=RUN,
    ),
]
OtherSettings = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        metavar="SECTION.KEY=VALUE",
        help="Any other setting.",
        autocompletion=completion.keys("model", "dataset", "loss", *SECTIONS),
        rich_help_panel=RUN,
    ),
]


def train(
    context: typer.Context,
    dataset: DatasetName = None,
    data_dir: DataDir = None,
    split: Annotated[str | None, setting("split.by", DATA)] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Cross-validation: one run per fold, then all held-out cases together; with --fold, that one alone.",
            rich_help_panel=DATA,
        ),
    ] = None,
    fold: Annotated[str | None, setting("split.fold", DATA)] = None,
    allow_leak: Annotated[
        bool | None, typer.Option("--allow-leak", help="Accept a patient in two subsets.", rich_help_panel=DATA)
    ] = None,
    augment: Annotated[str | None, setting("augment.policy", DATA)] = None,
    model: ModelName = None,
    pretrained: Annotated[str | None, setting("train.pretrained", MODEL)] = None,
    freeze_encoder: Annotated[
        bool | None, typer.Option("--freeze-encoder", help="Train only the decoder.", rich_help_panel=MODEL)
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="'segkit losses' lists them.", autocompletion=completion.names("losses"), rich_help_panel=MODEL),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="An additional metric; may be repeated.",
            autocompletion=completion.names("metrics"),
            rich_help_panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[str | None, setting("train.epochs", TRAINING)] = None,
    batch_size: Annotated[str | None, setting("train.batch_size", TRAINING)] = None,
    lr: Annotated[str | None, setting("train.lr", TRAINING)] = None,
    optimizer: Annotated[str | None, setting("train.optimizer", TRAINING)] = None,
    patience: Annotated[str | None, setting("train.patience", TRAINING)] = None,
    monitor: Annotated[str | None, setting("train.monitor", TRAINING)] = None,
    seed: Annotated[str | None, setting("train.seed", TRAINING)] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N|S,S,...",
            help="One run per seed: this many, counted from --seed, or exactly these; then mean and standard deviation.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    aggregate: Annotated[
        str | None,
        typer.Option(
            help="With --seeds or --folds: how each test is summed up: per_case, per_group, per_batch or pooled "
            "(default: per_case; of classes pooled).",
            autocompletion=completion.words("per_case", "per_group", "per_batch", "pooled"),
            rich_help_panel=TRAINING,
        ),
    ] = None,
    device: Annotated[str | None, setting("train.device", TRAINING)] = None,
    devices: Devices = None,
    precision: Annotated[str | None, setting("train.precision", TRAINING)] = None,
    workers: Annotated[str | None, setting("train.workers", TRAINING)] = None,
    time: Annotated[str | None, setting("train.time", TRAINING)] = None,
    save_minutes: Annotated[str | None, setting("train.save_minutes", TRAINING)] = None,
    compile: Annotated[bool | None, _switch("train.compile", TRAINING)] = None,
    deterministic: Annotated[bool | None, _switch("train.deterministic", TRAINING)] = None,
    skip_bad: Annotated[bool | None, _switch("train.skip_bad", DATA)] = None,
    tracker: Annotated[str | None, setting("train.tracker", RUN)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to create (default: runs/DATASET-MODEL-N).", rich_help_panel=RUN)
    ] = None,
    config: StartingPoint = None,
    recipe: RecipeName = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue this run (or these seeds or folds) where it was interrupted.", rich_help_panel=RUN),
    ] = None,
    option: OtherSettings = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=RUN)
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=RUN)] = False,
) -> None:
    """Train a model on a dataset.

    -o sets anything else, for instance -o model.width=32 -o preprocess.size=256,192 -o train.weight_decay=0;
    'segkit settings', 'segkit models NAME', 'segkit losses NAME' and 'segkit datasets NAME' list what there is.
    """
    from segkit import workflows
    from segkit.config.device import check_device
    from segkit.config.resume import refuse_resume_changes
    from segkit.runs.folder import check_new_run, find_series

    flags = {key: value for key, value in context.params.items() if key not in NO_SETTINGS}
    if resume is None:
        check_new_run(out)
    if dry_run:
        _preview(flags, option or [], {"out": out, "config": config, "recipe": recipe}, resume, seeds, json)
        return
    if devices is not None:  # before processes are started, which import torch
        check_device(device or "auto")
    in_processes(context, devices)
    assignments = option or []
    folder = find_series(resume) if resume is not None else None
    if resume is not None:
        refuse_resume_changes({}, (), {"seeds": seeds, "out": out, "config": config, "recipe": recipe})
    series = resume is None and (seeds is not None or is_folds(flags, assignments, config, recipe))
    check_aggregate(aggregate, several=series or folder is not None)
    if folder is not None:
        continue_series(folder, flags, assignments, aggregate, json)
    elif resume is not None:
        _run(lambda: workflows.resume(resume, options=assignments, **flags), json)
    elif series:
        run_series(seeds, flags, assignments, out, config, recipe, aggregate, json)
    else:
        _run(lambda: workflows.train(config=config, recipe=recipe, out=out, options=assignments, **flags), json)


def _preview(
    flags: dict[str, Any],
    assignments: list[str],
    others: dict[str, Any],
    resume: Path | None,
    seeds: str | None,
    json: bool,
) -> None:
    """Say what a new training would do."""
    from segkit import workflows
    from segkit.cli import terminal
    from segkit.cli.output import print_json

    if resume is not None:
        raise UsageError("--dry-run is about a new training.", "'segkit info RUN' shows what a run was trained with.")
    if seeds is not None:
        parse(seeds)
    with terminal.results_only():
        document = workflows.preview_training(options=assignments, **others, **flags)
    if json:
        print_json(document)
    logger.info("cases       " + ", ".join(f"{name} {count}" for name, count in document["split"].items()))
    if seeds is not None:
        logger.info(f"seeds       {seeds}")
    elif is_folds(flags, assignments, others["config"], others["recipe"]):
        logger.info("folds       a run for each; these are the cases of the first")
    logger.info(f"run folder  {document['run'] or 'the next free one in runs/'}")
    logger.info("Nothing was trained or written (--dry-run).")


def _run(training: Callable[[], Run], json: bool) -> None:
    """Run a training and say how it ended."""
    from segkit import distributed
    from segkit.cli import terminal
    from segkit.cli.output import print_json, shown
    from segkit.training.signals import Terminated, terminable

    try:
        with terminal.results_only(), terminable():
            run = training()
    except KeyboardInterrupt as interrupt:
        logger.warning("interrupted; what was prepared stays in the cache.")
        raise typer.Exit(143 if isinstance(interrupt, Terminated) else 130) from None
    folder = shown(run.path)
    if json and distributed.is_main():
        known = {key: value for key, value in vars(run).items() if key not in ("path", "signal", "headline")}
        print_json({"run": str(run.path), **known})
    shown_first = dict.fromkeys(("val_loss", run.headline))
    best = ", ".join(f"{key} {run.best[key]:.3f}" for key in shown_first if key in run.best)
    logger.info(
        f"{'Interrupted' if run.stopped else 'Done'} after {counted(run.epochs, 'epoch')}, {run.seconds:.0f} s. "
        f"Weights of epoch {run.best_epoch}{f' ({best})' if best else ''}: {folder}/model.safetensors"
    )
    if run.stopped:
        logger.info(f"To continue: {command('train', '--resume', folder)}")
        raise typer.Exit(run.stopped)
    logger.info(f"Next: {command('evaluate', folder)}   or   {command('predict', folder)} IMAGES --out DIR")
