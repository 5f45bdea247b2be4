"""`segkit train --seeds` and `--folds`: train several times and summarize."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from segkit.cli.output import shown
from segkit.cli.scores import FOREGROUND
from segkit.options import build
from segkit.settings import Train
from segkit.words import command, counted

logger = logging.getLogger(__name__)

MOST = 1000  # a count beyond this is a mistake
LARGEST = 2**32 - 1
SUBSETS = ("val_", "test_")


def parse(text: str) -> int | tuple[int, ...]:
    """What --seeds means: how many, or which.

    Raises:
        UsageError: neither.

    >>> parse("5"), parse("0, 7,42")
    (5, (0, 7, 42))
    """
    from segkit.errors import UsageError

    items = [item.strip() for item in text.split(",")]
    allowed = f"Allowed: how many (--seeds 5, up to {MOST}), or a list of whole numbers (--seeds 0,7,42)."
    if not all(item.isascii() and item.isdecimal() for item in items):
        raise UsageError(f"--seeds {text} is neither a number of seeds nor a list of them.", allowed)
    seeds = tuple(int(item) for item in items)
    if len(seeds) == 1:
        if not 1 <= seeds[0] <= MOST:
            raise UsageError(f"--seeds {text}: that many seeds cannot be trained.", f"{allowed} One seed: --seed N.")
        return seeds[0]
    twice = next((seed for index, seed in enumerate(seeds) if seed in seeds[:index]), None)
    if twice is not None:
        raise UsageError(f"--seeds {text}: seed {twice} is given twice.", "Name each seed once.")
    _check_largest(text, max(seeds))
    return seeds


def _check_largest(text: str, largest: int) -> None:
    from segkit.errors import UsageError

    if largest > LARGEST:
        raise UsageError(f"--seeds {text}: the seed {largest} is too large.", f"Allowed: 0 to {LARGEST}.")


def is_folds(flags: dict[str, Any], assignments: list[str], base: Path | None, recipe: str | None) -> bool:
    """Whether all folds are to be trained: folds were asked for, and none of them."""
    from segkit import plugins
    from segkit.config.resolve import gather
    from segkit.config.starting_point import read_starting_point

    typed = gather({}, flags, assignments).get("split", {})
    if "fold" in typed or "folds" in typed:
        return "fold" not in typed and typed["folds"] is not None
    start = read_starting_point(base, recipe, plugins.load()).get("split", {}) if base or recipe else {}
    return start.get("folds") is not None and "fold" not in start


def check_aggregate(aggregate: str | None, several: bool) -> None:
    """Refuse --aggregate where it is misspelt or nothing is summed up."""
    from segkit.errors import UsageError, did_you_mean
    from segkit.evaluation.aggregate import AGGREGATIONS

    if aggregate is not None and aggregate not in AGGREGATIONS:
        raise UsageError(f"--aggregate {aggregate} is not allowed.", did_you_mean(aggregate, AGGREGATIONS))
    if aggregate is not None and not several:
        raise UsageError("--aggregate sums up --seeds or --folds.", "'segkit evaluate RUN --aggregate' is that of one run.")


def run_series(
    seeds: str | None,
    flags: dict[str, Any],
    assignments: list[str],
    out: Path | None,
    base: Path | None,
    recipe: str | None,
    aggregate: str | None,
    json: bool,
) -> None:
    """A new folder with a run for each seed; without `seeds`, for each fold."""
    from segkit import plugins
    from segkit.cli import terminal
    from segkit.config.resolve import gather
    from segkit.config.starting_point import read_starting_point
    from segkit.planning import configure
    from segkit.runs.folder import check_new_run

    typed = gather({}, flags, assignments)
    wanted = None if seeds is None else _parse_beside(seeds, typed)
    check_new_run(out)
    catalogue = plugins.load()
    values = gather(read_starting_point(base, recipe, catalogue, flags.get("model")), flags, assignments)
    numbers: Sequence[int] = ()
    if seeds is not None and wanted is not None:
        numbers = _seeds(seeds, wanted, build(Train, values.get("train", {}), "train").seed)
        values.setdefault("train", {})["seed"] = numbers[0]
    config, dataset = configure(values, catalogue, typed)
    if seeds is None:
        numbers = range(config.split.folds or 0)
        logger.info(
            f"folds       {len(numbers)} of split.seed {config.split.seed}, planned once: each case is tested in one"
        )
    else:
        logger.info(f"seeds       {_listed(numbers)}")
        logger.info(f"split       one for all (split.seed {config.split.seed}): scores differ by the training alone")

    from segkit.experiments.series import train_series

    with terminal.results_only():
        by = "fold" if seeds is None else "seed"
        document, stopped = train_series(config, dataset, catalogue, by, numbers, out, aggregate)
    _end(document, stopped, json)


def _parse_beside(text: str, typed: dict[str, Any]) -> int | tuple[int, ...]:
    """What --seeds means, beside everything else that was typed."""
    from segkit.errors import UsageError

    wanted, split = parse(text), typed.get("split", {})
    if isinstance(wanted, tuple) and "seed" in typed.get("train", {}):
        raise UsageError(
            f"--seed and the list --seeds {text} exclude each other.", "--seed S --seeds 5 means S and the four after it."
        )
    if split.get("folds") is not None and "fold" not in split:
        raise UsageError(
            "--seeds and --folds are two series of trainings.",
            "--fold N trains the seeds on one fold; or leave out --seeds.",
        )
    return wanted


def continue_series(folder: Path, flags: dict[str, Any], assignments: list[str], aggregate: str | None, json: bool) -> None:
    """The seeds or folds that are not done yet."""
    from segkit import plugins
    from segkit.cli import terminal
    from segkit.config.migrate import migrate_settings
    from segkit.config.resolve import gather
    from segkit.config.resume import apply_resume_changes, refuse_resume_changes
    from segkit.errors import UsageError
    from segkit.experiments.series import all_begun, read_series, resume_series
    from segkit.planning import configure
    from segkit.training.optim import note_changed_schedule

    refuse_resume_changes(flags, assignments, {})
    plan = read_series(folder)
    if "time" in gather({}, flags, assignments).get("train", {}):
        raise UsageError(
            f"--time goes on with one run, not with several {plan.by}s.",
            f"One of them: {command('train', '--resume', folder / f'{plan.by}-N')} --time ...; all of them: --epochs N.",
        )
    plan = replace(plan, aggregate=aggregate or plan.aggregate)
    catalogue = plugins.load()
    before = migrate_settings(plan.settings, catalogue)
    values = apply_resume_changes(before, flags, assignments, pretrained=not all_begun(plan))
    config, dataset = configure(values, catalogue, gather({}, flags, assignments), resumed=True)
    note_changed_schedule(before["train"]["epochs"], config.train)
    with terminal.results_only():
        document, stopped = resume_series(config, dataset, catalogue, plan)
    _end(document, stopped, json)


def _seeds(text: str, wanted: int | tuple[int, ...], first: int) -> Sequence[int]:
    if isinstance(wanted, tuple):
        return wanted
    _check_largest(text, first + wanted - 1)
    return range(first, first + wanted)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 10 else f"{seeds[0]}, {seeds[1]}, ... {seeds[-1]} ({len(seeds)})"


def _end(document: dict[str, Any], stopped: int, json: bool) -> None:
    """Report the results and end with the matching exit code."""
    from segkit import distributed
    from segkit.cli.output import print_json

    folder, by = shown(Path(document["run"])), document["by"]
    failed = [run for run in document["runs"] if run["error"]]
    if json and distributed.is_main():
        print_json({**document, "stopped": stopped})
    if stopped:
        logger.info(f"\nInterrupted: {len(document['runs']) - len(failed)} of {counted(len(document[f'{by}s']), by)} done.")
        logger.info(f"To continue: {command('train', '--resume', folder)}")
        raise typer.Exit(stopped)
    if not json and document["figures"] and distributed.is_main():
        _print(document)
    for run in failed if distributed.is_main() else ():
        logger.error(f"{by} {run[by]}: {run['error']}")
    pooled = f", {folder}/test" if "held_out" in document else ""
    logger.info(f"written: {folder}/summary.csv, {folder}/summary.json{pooled}")
    if failed:
        logger.info(f"When that is fixed: {command('train', '--resume', folder)}")
        raise typer.Exit(1 if len(failed) == len(document["runs"]) else 3)
    if any(run["unread"] for run in document["runs"]):
        raise typer.Exit(3)
    logger.info(f"Next: {command('predict', folder)} IMAGES --out DIR   predicts with all {by}s together")


def _print(document: dict[str, Any]) -> None:
    from segkit.cli.output import print_table
    from segkit.cli.scores import print_scores

    figures, kind, by = document["figures"], document["kind"], document["by"]
    rows = [_row(name, figures) for name in figures if _is_shown(_classes(name, figures), kind)]
    trained = sum(bool(run["values"]) for run in document["runs"])
    title = f"{document['dataset']} {document['model']}: {trained} of {counted(len(document[f'{by}s']), by)}"
    title += f" (test: {document['aggregate']})"
    print_table(["", "metric", "class", "mean", "std", "min", "max", f"{by}s"], rows, title=title, wrap=False)
    for line in _left_out(document):
        typer.echo(line)
    if "held_out" in document:
        print_scores([document["held_out"]], document["aggregate"])


def _is_shown(classes: Sequence[str], kind: str) -> bool:
    """Whether a row says more than the rows of its classes, if there are any; as `segkit evaluate` shows it."""
    return not classes or (len(classes) > 1 and kind == "segmentation")


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    subset, _, key = name.partition("_") if name.startswith(SUBSETS) else ("", "", name)
    metric, _, label = key.partition("/")
    figure, decimals = figures[name], 4 if subset else 1
    numbers = [_cell(figure[part], decimals) for part in ("mean", "std", "min", "max")]
    return [subset, metric.replace("_", " "), FOREGROUND if _classes(name, figures) else label, *numbers, str(figure["n"])]


def _classes(name: str, figures: Mapping[str, Any]) -> list[str]:
    return [other for other in figures if other.startswith(f"{name}/")]


def _left_out(document: dict[str, Any]) -> list[str]:
    """Sentences about what was left out of the means."""
    by = document["by"]
    figures, runs, lines = document["figures"], [run for run in document["runs"] if run["values"]], []
    names = [name for name in figures if not _classes(name, figures)]
    seeds = [f"{_words(name)} in {figures[name]['undefined']}" for name in names if figures[name]["undefined"]]
    if seeds:
        lines.append(f"Undefined and left out: {', '.join(seeds)} of {counted(len(runs), by)}.")
    counts = {name: sum(run["undefined"].get(name, 0) for run in runs) for name in names}
    cases = [f"{_words(name)} in {count}" for name, count in counts.items() if count]
    if cases:
        total = sum(run["cases"] for run in runs)
        lines.append(
            f"Undefined and left out of a {by}'s mean: {', '.join(cases)} of {counted(total, 'case')} (of all {by}s)."
        )
    unread = sum(len(run["unread"]) for run in runs)
    if unread:
        lines.append(f"Could not be read: {counted(unread, 'test case')} (of all {by}s).")
    if not any(name.startswith("test_") for name in figures):
        lines.append("Nothing was tested: these are figures of the training and its validation.")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ", 1)


def _cell(number: float | None, decimals: int) -> str:
    return "-" if number is None or number != number else f"{number:.{decimals}f}"
