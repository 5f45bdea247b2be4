"""`segkit train --seeds`: train several seeds and summarize them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from segkit.cli.output import shown
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


def run_seeds(
    text: str,
    flags: dict[str, Any],
    assignments: list[str],
    out: Path | None,
    base: Path | None,
    recipe: str | None,
    json: bool,
) -> None:
    """A new folder with a run for each seed."""
    from segkit import plugins
    from segkit.cli import terminal
    from segkit.config.resolve import gather
    from segkit.config.starting_point import read_starting_point
    from segkit.errors import UsageError
    from segkit.planning import configure
    from segkit.runs.folder import check_new_run

    wanted = parse(text)
    check_new_run(out)
    if isinstance(wanted, tuple) and "seed" in gather({}, flags, assignments).get("train", {}):
        raise UsageError(
            f"--seed and the list --seeds {text} exclude each other.", "--seed S --seeds 5 means S and the four after it."
        )
    catalogue = plugins.load()
    values = gather(read_starting_point(base, recipe, catalogue), flags, assignments)
    seeds = _seeds(text, wanted, build(Train, values.get("train", {}), "train").seed)
    values.setdefault("train", {})["seed"] = seeds[0]
    config, dataset = configure(values, catalogue, gather({}, flags, assignments))
    logger.info(f"seeds       {_listed(seeds)}")
    logger.info(f"split       one for all (split.seed {config.split.seed}): scores differ by the training alone")

    from segkit.experiments.seeds import train_seeds

    with terminal.results_only():
        document, stopped = train_seeds(config, dataset, catalogue, seeds, out)
    _end(document, stopped, json)


def continue_seeds(folder: Path, flags: dict[str, Any], assignments: list[str], json: bool) -> None:
    """The seeds that are not done yet."""
    from segkit import plugins
    from segkit.cli import terminal
    from segkit.config.migrate import migrate_settings
    from segkit.config.resolve import gather
    from segkit.config.resume import apply_resume_changes, refuse_resume_changes
    from segkit.errors import UsageError
    from segkit.planning import configure

    refuse_resume_changes(flags, assignments, {})
    if "time" in gather({}, flags, assignments).get("train", {}):
        raise UsageError(
            "--time goes on with one run, not with several seeds.",
            f"One of them: {command('train', '--resume', folder / 'seed-N')} --time ...; all of them: --epochs N.",
        )
    from segkit.experiments.seeds import all_begun, read_seeds, resume_seeds
    from segkit.training.optim import note_changed_schedule

    plan = read_seeds(folder)
    catalogue = plugins.load()
    before = migrate_settings(plan.settings, catalogue)
    values = apply_resume_changes(before, flags, assignments, pretrained=not all_begun(plan))
    config, dataset = configure(values, catalogue, gather({}, flags, assignments), resumed=True)
    note_changed_schedule(before["train"]["epochs"], config.train)
    with terminal.results_only():
        document, stopped = resume_seeds(config, dataset, catalogue, plan)
    _end(document, stopped, json)


def _seeds(text: str, wanted: int | tuple[int, ...], first: int) -> Sequence[int]:
    if isinstance(wanted, tuple):
        return wanted
    _check_largest(text, first + wanted - 1)
    return range(first, first + wanted)


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) if len(seeds) <= 10 else f"{seeds[0]}, {seeds[1]}, ... {seeds[-1]} ({len(seeds)})"


def _end(document: dict[str, Any], stopped: int, json: bool) -> None:
    """Report the results of all seeds and end with the matching exit code."""
    from segkit import distributed
    from segkit.cli.output import print_json

    folder = shown(Path(document["run"]))
    failed = [run for run in document["runs"] if run["error"]]
    if json and distributed.is_main():
        print_json({**document, "stopped": stopped})
    if stopped:
        logger.info(
            f"\nInterrupted: {len(document['runs']) - len(failed)} of {counted(len(document['seeds']), 'seed')} done."
        )
        logger.info(f"To continue: {command('train', '--resume', folder)}")
        raise typer.Exit(stopped)
    if not json and document["figures"] and distributed.is_main():
        _print(document)
    for run in failed if distributed.is_main() else ():
        logger.error(f"seed {run['seed']}: {run['error']}")
    logger.info(f"written: {folder}/summary.csv, {folder}/summary.json")
    if failed:
        logger.info(f"When that is fixed: {command('train', '--resume', folder)}")
        raise typer.Exit(1 if len(failed) == len(document["runs"]) else 3)
    if any(run["unread"] for run in document["runs"]):
        raise typer.Exit(3)
    logger.info(f"Next: {command('predict', folder)}/seed-* IMAGES --out DIR   predicts with all seeds together")


def _print(document: dict[str, Any]) -> None:
    from segkit.cli.output import print_table

    figures, kind = document["figures"], document["kind"]
    rows = [_row(name, figures) for name in figures if _is_shown(_classes(name, figures), kind)]
    trained = sum(bool(run["values"]) for run in document["runs"])
    title = f"{document['dataset']} {document['model']}: {trained} of {counted(len(document['seeds']), 'seed')}"
    print_table(["", "metric", "class", "mean", "std", "min", "max", "seeds"], rows, title=title, wrap=False)
    for line in _left_out(document):
        typer.echo(line)


def _is_shown(classes: Sequence[str], kind: str) -> bool:
    """Whether a row says more than the rows of its classes, if there are any; as `segkit evaluate` shows it."""
    return not classes or (len(classes) > 1 and kind == "segmentation")


def _row(name: str, figures: Mapping[str, Any]) -> list[str]:
    subset, _, key = name.partition("_") if name.startswith(SUBSETS) else ("", "", name)
    metric, _, label = key.partition("/")
    figure, decimals = figures[name], 4 if subset else 1
    numbers = [_cell(figure[part], decimals) for part in ("mean", "std", "min", "max")]
    return [subset, metric.replace("_", " "), "(mean)" if _classes(name, figures) else label, *numbers, str(figure["n"])]


def _classes(name: str, figures: Mapping[str, Any]) -> list[str]:
    return [other for other in figures if other.startswith(f"{name}/")]


def _left_out(document: dict[str, Any]) -> list[str]:
    """Sentences about what was left out of the means."""
    figures, runs, lines = document["figures"], [run for run in document["runs"] if run["values"]], []
    names = [name for name in figures if not _classes(name, figures)]
    seeds = [f"{_words(name)} in {figures[name]['undefined']}" for name in names if figures[name]["undefined"]]
    if seeds:
        lines.append(f"Undefined and left out: {', '.join(seeds)} of {counted(len(runs), 'seed')}.")
    counts = {name: sum(run["undefined"].get(name, 0) for run in runs) for name in names}
    cases = [f"{_words(name)} in {count}" for name, count in counts.items() if count]
    if cases:
        total = sum(run["cases"] for run in runs)
        lines.append(
            f"Undefined and left out of a seed's mean: {', '.join(cases)} of {counted(total, 'case')} (of all seeds)."
        )
    unread = sum(len(run["unread"]) for run in runs)
    if unread:
        lines.append(f"Could not be read: {counted(unread, 'test case')} (of all seeds).")
    if not any(name.startswith("test_") for name in figures):
        lines.append("Nothing was tested: these are figures of the training and its validation.")
    return lines


def _words(name: str) -> str:
    return name.replace("_", " ", 1)


def _cell(number: float | None, decimals: int) -> str:
    return "-" if number is None or number != number else f"{number:.{decimals}f}"
