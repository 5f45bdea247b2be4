"""The tables of `segkit evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from segkit.words import counted

FOREGROUND = "(foreground)"  # the row of the means over the foreground classes


def print_scores(documents: Sequence[Mapping[str, Any]], how: str) -> None:
    """A table of the figures of one subset, or of several below each other.

    Args:
        documents: as metrics.json holds them.
        how: the aggregation.
    """
    from segkit.cli.output import print_table
    from segkit.errors import UsageError

    if any(how not in document["figures"] for document in documents):
        raise UsageError("--aggregate per_batch: the batch size of a training is not known here.", "Type --batch-size N.")
    tables = [_table(document, how) for document in documents]
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    rows = []
    for document, table in zip(documents, tables, strict=True):
        for label, figures in table.rows.items():
            first = [f"{document['subset']} ({_number(document, how)})"] if len(documents) > 1 else []
            rows.append([*first, label, *(_cell(figures.get(name)) for name in names)])
    subsets = ", ".join(document["subset"] for document in documents)
    counts = f": {_number(documents[0], how)}" if len(documents) == 1 else ""
    columns = [*(["subset"] if len(documents) > 1 else []), "class", *names]
    print_table(columns, rows, title=f"{documents[0]['dataset']} {subsets}{counts} ({how})", wrap=False)
    for document in documents:
        _print_parts(document)
    _print_thresholds(documents, how)
    for document, table in zip(documents, tables, strict=True):
        said = f"{document['subset']}: " if len(documents) > 1 else ""
        if how == "per_case" and table.names:
            _print_spread(document, table.names[0], said)
        print_audits(document, said)
        if table.undefined:
            listing = ", ".join(f"{key} in {count}" for key, count in table.undefined.items())
            typer.echo(f"{said}Undefined and left out of the mean: {listing} of {_number(document, how)}.")


def _print_thresholds(documents: Sequence[Mapping[str, Any]], how: str) -> None:
    """Dice by threshold, mean over the foreground classes, and which threshold the validation chooses."""
    from segkit.cli.output import print_table

    columns = {document["subset"]: by_threshold(document, how) for document in documents}
    if not all(columns.values()):
        return
    rows = [[text, *(f"{own[text]:.4f}" for own in columns.values())] for text in next(iter(columns.values()))]
    print_table(["threshold", *columns], rows, title=f"dice by threshold ({how})", wrap=False)
    if "val" not in columns:
        typer.echo("To choose a threshold by these figures would flatter them: --subset val,test says which is best on val.")
        return
    best = max(columns["val"], key=columns["val"].__getitem__)
    told = ", ".join(f"{subset} {own[best]:.4f} (at 0.50 {own['0.50']:.4f})" for subset, own in columns.items())
    typer.echo(f"Best on val: {best}: {told}. segkit predict and evaluate take it as --threshold {best}.")


def by_threshold(document: Mapping[str, Any], how: str) -> dict[str, float]:
    """The mean Dice over the foreground classes at each threshold; nothing where it was not asked for."""
    found: dict[str, list[float]] = {}
    for key, figure in document["figures"][how].items():
        metric, _, rest = key.partition("/")
        label, _, threshold = rest.rpartition("/")
        if metric == "dice-by-threshold" and label in document["foreground"]:
            found.setdefault(threshold, []).append(figure["mean"])
    return {threshold: sum(means) / len(means) for threshold, means in found.items()}


@dataclass(frozen=True)
class _Table:
    """What is shown of one document: its metrics, rows by class, and how often each figure is undefined."""

    names: list[str]
    rows: dict[str, dict[str, Any]]
    undefined: dict[str, int]


def _table(document: Mapping[str, Any], how: str) -> _Table:
    from segkit.evaluation.aggregate import ALL, is_detail

    figures = {key: figure for key, figure in document["figures"][how].items() if not is_detail(key)}
    classes = list(dict.fromkeys(key.partition("/")[2] for key in figures if "/" in key))
    names = list(dict.fromkeys(key.partition("/")[0] for key in figures))
    whole = [name for name in names if not any(f"{name}/{label}" in figures for label in classes)]  # has no classes
    alone = whole if len(classes) == 1 else []  # beside a single class they need no row of their own
    rows = {label: {name: figures.get(name if name in alone else f"{name}/{label}") for name in names} for label in classes}
    masks = document["kind"] == "segmentation"
    if len(whole) > len(alone) or (len(classes) != 1 and masks):
        rows[FOREGROUND if classes and masks else ""] = {name: figures.get(name) for name in (names if masks else whole)}
    undefined = {
        key: figure["undefined"]
        for key, figure in figures.items()
        if figure["undefined"] and ("/" in key or key in whole) and not key.endswith(f"/{ALL}")
    }
    return _Table(names, rows, undefined)


def _number(document: Mapping[str, Any], how: str) -> str:
    return counted(document["groups"], "group") if how == "per_group" else counted(document["cases"], "case")


def _print_parts(document: Mapping[str, Any]) -> None:
    """A table for each thing that the cases were parted by: means over the foreground classes."""
    from segkit.cli.output import print_table

    for key, parts in document["by"].items():
        names = list(dict.fromkeys(name for figures in parts.values() for name in figures if "/" not in name))
        rows = [
            [part, str(max((figures[name]["n"] + figures[name]["undefined"] for name in figures), default=0))]
            + [_cell(figures.get(name)) for name in names]
            for part, figures in parts.items()
        ]
        print_table([key, "cases", *names], rows, title=f"{document['subset']} by {key} (per_case)", wrap=False)


def _print_spread(document: Mapping[str, Any], metric: str, said: str) -> None:
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
    typer.echo(f"{said}{metric}: {', '.join(parts)}")
    if own["worst"]:
        typer.echo(f"{said}worst: {', '.join(f'{case} {value:.4f}' for case, value in own['worst'])}")
    if interval is not None and interval["groups"] < FEW_GROUPS:
        typer.echo(f"{said}With fewer than {FEW_GROUPS} groups such an interval is too narrow.")


def print_audits(document: Mapping[str, Any], said: str) -> None:
    """Of distances under several definitions."""
    from segkit.evaluation.audit import Audit, in_words

    for distance, values in document.get("audits", {}).items():
        for line in in_words(distance, Audit(**values)):
            typer.echo(said + line)


def _cell(figure: Mapping[str, Any] | None) -> str:
    return "-" if figure is None or figure["mean"] != figure["mean"] else f"{figure['mean']:.4f}"
