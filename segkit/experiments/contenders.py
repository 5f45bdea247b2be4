"""What `segkit compare` compares: figures of the same cases, from runs, folders of seeds, evaluations and tables."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.runs.folder import SERIES, find_members

CASES, METRICS = "cases.csv", "metrics.json"
CLAIMS = "alg_"  # columns of the table of "Claims Reloaded" begin with it


@dataclass(frozen=True)
class Contender:
    """One result.

    Args:
        name: as it is shown.
        values: of the metric, by case; NaN where it is undefined there. Of several seeds their mean.
        groups: of each case; the case itself where none is known.
        seeds: the mean over cases of each seed; empty for a single run.
        split: ids of the cases of training, validation and test by subset; None where there is no run.
        facts: parameters, seconds of training, milliseconds of inference, where they are known.
        higher_is_better: of the metric.
    """

    name: str
    values: Mapping[str, float]
    groups: Mapping[str, str]
    seeds: Sequence[float] = ()
    split: Mapping[str, Sequence[str]] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    higher_is_better: bool = True

    @property
    def mean(self) -> float:
        known = [value for value in self.values.values() if not math.isnan(value)]
        return math.fsum(known) / len(known) if known else math.nan


def read_contenders(places: Sequence[Path], metric: str, subset: str) -> list[Contender]:
    """All results, under names that tell them apart.

    Args:
        places: runs, folders of seeds or folds, folders with cases.csv, or tables with columns case_id, alg_A, alg_B, ...
        metric: such as "dice" (the mean over the foreground classes) or "dice/polyp".
        subset: of runs.

    Raises:
        SegkitError: a place holds no figures, or a file is damaged.
        UsageError: a place does not hold the metric.
    """
    found: list[Contender] = []
    for place in places:
        found += _read(place, metric, subset)
    names = [one.name for one in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UsageError(f"Two results are called {min(twice)}.", "Rename a folder, so that they can be told apart.")
    return found


def _read(place: Path, metric: str, subset: str) -> list[Contender]:
    if not place.exists():
        raise UsageError(f"{place} is not there.")
    if place.suffix == ".csv":
        return _read_claims(place)
    if (place / SERIES["seed"]).is_file():
        return [_read_seeds(place, metric, subset)]
    if (place / SERIES["fold"]).is_file() and (place / subset / CASES).is_file():
        return [_read_folds(place, metric, subset)]
    if (place / CASES).is_file():
        return [_read_cases(place, place.name, metric)]
    if (place / subset / CASES).is_file():
        return [_with_run(_read_cases(place / subset, place.name, metric), place)]
    hint = (
        f"segkit evaluate {place} --subset {subset}"
        if (place / "run.toml").is_file()
        else (f"A folder of masks is scored first: segkit evaluate --folder {place} --truth DIR --out OUT.")
    )
    raise SegkitError(f"{place} holds no figures of its cases ({subset}/{CASES}).", hint)


def _read_seeds(place: Path, metric: str, subset: str) -> Contender:
    """The mean of each case over the seeds; a seed without figures is an error, not left out in silence."""
    try:
        numbers = json.loads((place / SERIES["seed"]).read_text(encoding="utf-8"))["seeds"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SegkitError(f"{place / SERIES['seed']} cannot be read: {type(error).__name__}: {error}") from error
    runs = [place / f"seed-{number}" for number in numbers]
    parts = [_with_run(_read_cases(run / subset, run.name, metric), run) for run in runs]
    cases = [set(part.values) for part in parts]
    if any(own != cases[0] for own in cases):
        raise SegkitError(f"The seeds of {place} were not tested on the same cases.", "segkit train --resume tests again.")
    values = {case: statistics.fmean(part.values[case] for part in parts) for case in parts[0].values}
    means, first = [part.mean for part in parts], parts[0]
    return Contender(place.name, values, first.groups, means, first.split, _mean_facts(parts), first.higher_is_better)


def _read_folds(place: Path, metric: str, subset: str) -> Contender:
    """All held-out cases together; two cross-validations are compared where all of their folds are the same."""
    whole = _read_cases(place / subset, place.name, metric)
    parts = [_with_run(_read_cases(run / subset, run.name, metric), run) for run in find_members(place)]
    split = {f"{part.name} {key}": ids for part in parts for key, ids in (part.split or {}).items()}
    return Contender(whole.name, whole.values, whole.groups, (), split, _mean_facts(parts), whole.higher_is_better)


def _mean_facts(parts: Sequence[Contender]) -> dict[str, float]:
    """Of what is known of all of them."""
    return {
        key: statistics.fmean(part.facts[key] for part in parts)
        for key in parts[0].facts
        if all(key in part.facts for part in parts)
    }


def _read_cases(place: Path, name: str, metric: str) -> Contender:
    """From what `segkit evaluate` wrote."""
    try:
        document = json.loads((place / METRICS).read_text(encoding="utf-8"))
        with (place / CASES).open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if not row.get("error")]
        key = metric.partition("/")[0]
        described = document["metrics"].get(key)
        columns = _columns(metric, list(rows[0]) if rows else [], document.get("foreground", ()))
        values = {row["case"]: _mean_of([row[column] for column in columns]) for row in rows}
        groups = {row["case"]: row["group"] for row in rows}
        spent = document.get("inference_ms")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SegkitError(f"The figures in {place} cannot be read: {type(error).__name__}: {error}") from error
    if not columns or described is None:
        known = sorted(document["metrics"])
        raise UsageError(f"{place} has no metric {metric!r}.", did_you_mean(metric, known) or f"It has {', '.join(known)}.")
    if described["higher_is_better"] is None:
        raise UsageError(f"The metric {metric!r} has no direction: neither more nor less is better.")
    facts = {} if spent is None else {"inference_ms": float(spent)}
    return Contender(name, values, groups, facts=facts, higher_is_better=described["higher_is_better"])


def _columns(metric: str, columns: Sequence[str], foreground: Sequence[str]) -> list[str]:
    """Those that make the metric: itself, or of its foreground classes."""
    if metric in columns:
        return [metric]
    return [column for column in columns if column in {f"{metric}/{name}" for name in foreground}]


def _mean_of(cells: Sequence[str]) -> float:
    known = [float(cell) for cell in cells if cell not in ("", "nan")]
    return math.fsum(known) / len(known) if known else math.nan


def _with_run(found: Contender, run: Path) -> Contender:
    """With what the run's own folder says."""
    facts = dict(found.facts)
    split: dict[str, list[str]] | None = None
    try:  # what is not there is not known; what is there and damaged must not pass for that: splits are compared
        if (run / "split.json").exists():
            split = json.loads((run / "split.json").read_text(encoding="utf-8"))
        if (run / "manifest.json").exists():
            manifest: dict[str, Any] = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
            facts |= {"parameters": float(manifest["parameters"])} if "parameters" in manifest else {}
        if (run / "history.csv").exists():
            with (run / "history.csv").open(newline="", encoding="utf-8") as lines:
                facts["training_seconds"] = math.fsum(map(_seconds, csv.DictReader(lines)))
    except (OSError, ValueError, TypeError) as error:
        raise SegkitError(f"The run {run} cannot be read: {type(error).__name__}: {error}") from error
    return Contender(found.name, found.values, found.groups, (), split, facts, found.higher_is_better)


def _seconds(row: Mapping[str, str]) -> float:
    return sum(float(row.get(key) or 0) for key in ("train_seconds", "val_seconds"))


def _read_claims(table: Path) -> list[Contender]:
    """The table of "Claims Reloaded": case_id, then a column of each algorithm."""
    try:
        with table.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        named = [column for column in (rows[0] if rows else ()) if column.startswith(CLAIMS)]
        if not named or "case_id" not in rows[0]:
            raise SegkitError(
                f"{table} is no table of results.", f"Its columns are called case_id, {CLAIMS}A, {CLAIMS}B, ..."
            )
        groups = {row["case_id"]: row.get("group") or row["case_id"] for row in rows}
        return [
            Contender(column.removeprefix(CLAIMS), {row["case_id"]: _mean_of([row[column]]) for row in rows}, groups)
            for column in named
        ]
    except (OSError, ValueError, TypeError) as error:
        raise SegkitError(f"{table} cannot be read: {type(error).__name__}: {error}") from error
