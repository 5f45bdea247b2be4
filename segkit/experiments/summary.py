"""Summary of runs that differ only by their seed or fold: mean and standard deviation of every figure over them.

summary.json   {"runs": one entry per run, "figures": name -> mean, std, min, max, n, undefined}
summary.csv    a row per run, then the rows mean, std and n

Names: epochs, best_epoch, seconds; val_... as in history.csv, of the kept weights; test_... as in test/metrics.json.
test_inference_ms: of an image of the test on average, without reading.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segkit.errors import SegkitError
from segkit.evaluation.aggregate import is_detail, usual_aggregation
from segkit.files import write_csv, write_json

NAMES = ("summary.json", "summary.csv")


@dataclass(frozen=True)
class MemberResult:
    """The result of one run.

    Args:
        number, run: the seed or fold, and the name of its folder.
        values: its figures by name; none where the training failed.
        error: why the training, or what followed it, failed; empty where nothing did.
        cases: that it was tested on.
        undefined: in how many of these a figure is undefined, where it is in any and they are not pooled.
        unread: cases of the test that could not be read -> reason.
    """

    number: int
    run: str
    values: Mapping[str, float]
    error: str = ""
    cases: int = 0
    undefined: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A figure over runs.

    Args:
        mean, min, max: of the runs where it is defined; NaN where it is in none.
        std: sample standard deviation (divided by n - 1); None for fewer than two runs.
        n: runs that it is over.
        undefined: trained runs where it is not defined, which are left out.
    """

    mean: float
    std: float | None
    min: float
    max: float
    n: int
    undefined: int


def spread(values: Sequence[float]) -> Spread:
    """
    >>> spread([1.0, 3.0, math.nan])
    Spread(mean=2.0, std=1.4142135623730951, min=1.0, max=3.0, n=2, undefined=1)
    """
    known = [value for value in values if not math.isnan(value)]
    left_out = len(values) - len(known)
    if not known:
        return Spread(math.nan, None, math.nan, math.nan, 0, left_out)
    std = statistics.stdev(known) if len(known) > 1 else None
    return Spread(math.fsum(known) / len(known), std, min(known), max(known), len(known), left_out)


def figures_of(results: Sequence[MemberResult]) -> dict[str, Spread]:
    """Every figure over the runs that were trained, those of the test last."""
    trained = [result.values for result in results if result.values]
    names = sorted(dict.fromkeys(name for values in trained for name in values), key=lambda name: name.startswith("test_"))
    return {name: spread([values.get(name, math.nan) for values in trained]) for name in names}


def trained_values(progress: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a training, from the progress in its state."""
    return {
        "epochs": len(progress["history"]),
        "best_epoch": progress["best_epoch"],
        "seconds": progress["seconds"],
        **(progress["best"] or {}),
    }


def with_test(result: MemberResult, metrics: Path, aggregate: str | None = None) -> MemberResult:
    """The result, with the figures that `segkit evaluate` wrote; by default, of the usual aggregation.

    Raises:
        SegkitError: the file cannot be read.
    """
    try:
        document = json.loads(metrics.read_text(encoding="utf-8"))
        how = aggregate or usual_aggregation(document["kind"])
        figures = document["figures"].get(how, {})
        shown = {f"test_{key}": figure for key, figure in figures.items() if not is_detail(key)}
        means = {key: math.nan if figure["mean"] is None else figure["mean"] for key, figure in shown.items()}
        if document.get("inference_ms") is not None:
            means["test_inference_ms"] = document["inference_ms"]
        single = shown.items() if how == "per_case" else ()
        undefined = {key: figure["undefined"] for key, figure in single if figure["undefined"]}
        cases, unread = document["cases"], document["failed"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SegkitError(f"{metrics} cannot be read: {error}") from error
    values = {**result.values, **means}
    return MemberResult(result.number, result.run, values, result.error, cases, undefined, unread)


def write_summary(folder: Path, results: Sequence[MemberResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write summary.json and summary.csv; returns the document of the former."""
    document = summary_of(results, about)
    figures, by = figures_of(results), str(about["by"])
    rows: list[dict[str, Any]] = []
    for result in results:
        known = {name: value for name, value in result.values.items() if not math.isnan(value)}
        rows.append({by: result.number, **known, "error": result.error})
    for part in ("mean", "std", "n"):
        rows.append({by: part, **{name: getattr(figure, part) for name, figure in figures.items() if figure.n}})
    write_csv(folder / "summary.csv", [by, *figures, "error"], rows)
    write_json(folder / "summary.json", document)
    return document


def summary_of(results: Sequence[MemberResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """The summary as plain values for JSON."""
    return {
        **about,
        "runs": [_plain(result, about["by"]) for result in results],
        "figures": {name: asdict(figure) for name, figure in figures_of(results).items()},
    }


def _plain(result: MemberResult, by: str) -> dict[str, Any]:
    own = asdict(result)
    return {by: own.pop("number"), **own}
