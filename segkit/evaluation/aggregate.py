"""From counts per case to figures: the aggregations; metrics know nothing about them.

per_case   the metric of each case, then the mean (default)
per_group  counts summed within each group (patient, sequence), the metric of each sum, then the mean
per_batch  counts summed within batches of cases in order, the metric of each sum, then the mean: as Keras evaluates
pooled     counts summed over everything, the metric once
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segkit.config.resolve import Choice
from segkit.errors import SegkitError
from segkit.task import CaseResult, Metric, Task

AGGREGATIONS = ("per_case", "per_group", "per_batch", "pooled")
SLICES = "slices"  # what is known of a volume that the network sees in slices: how many
ALL = "(all)"  # in place of a class: the mean over all of them, background too
A_MEASURE = "measure(result) gives numbers or arrays of one shape by name."
A_FINISH = (
    "finish(counts) gives numbers by name: '' for the metric itself, a class or region, 'a/b' for a detail; NaN: undefined."
)


@dataclass(frozen=True)
class CaseScore:
    """One case: additive counts by metric and name, the values that the metrics make of them, and what is known of it."""

    id: str
    group: str
    counts: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, float]
    facts: Mapping[str, str | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """A mean, how many cases (or groups) it is over, and how many were left out because the metric is undefined there."""

    mean: float
    n: int
    undefined: int


def score_case(metrics: Mapping[str, Metric], id: str, group: str, result: CaseResult) -> CaseScore:
    """Measure one case; metrics that share a `measure` share its work.

    Raises:
        SegkitError: a metric fails, named.
    """
    counts = {}
    for owner in dict.fromkeys(_owners(metrics).values()):
        try:
            measured = metrics[owner].measure(result)
        except (Exception, SystemExit) as error:
            raise SegkitError(f"The metric {owner!r} failed on case {id!r}: {type(error).__name__}: {error}") from error
        if not isinstance(measured, Mapping):
            given = type(measured).__name__
            raise SegkitError(f"The measure of the metric {owner!r} gave a {given} for case {id!r}.", A_MEASURE)
        counts[owner] = dict(measured)
    return CaseScore(id, group, counts, finish(metrics, counts))


def finish(metrics: Mapping[str, Metric], counts: Mapping[str, Any]) -> dict[str, float]:
    """All metrics' values of one set of counts, with the metric's name before the author's: "dice", "dice/polyp".

    Raises:
        SegkitError: a metric fails, or writes its own name.
    """
    owners, values = _owners(metrics), dict[str, float]()
    for name, metric in metrics.items():
        try:
            given = metric.finish(counts[owners[name]])
        except (Exception, SystemExit) as error:
            raise SegkitError(f"The metric {name!r} failed: {type(error).__name__}: {error}") from error
        own = _numbers(given, name)
        twice = next((key for key in own if key.startswith(f"{name}/")), None)
        if twice is not None:
            rest = twice.removeprefix(f"{name}/")
            raise SegkitError(f"The metric {name!r} gave a value called {twice!r}; it is called {rest!r} alone.")
        values |= {f"{name}/{key}" if key else name: value for key, value in own.items()}
    return values


def _numbers(given: Any, name: str) -> dict[str, float]:
    """What a metric's `finish` gave, as numbers by name. Raises SegkitError where it is something else."""
    if not isinstance(given, Mapping):
        raise SegkitError(f"The finish of the metric {name!r} gave a {type(given).__name__}.", A_FINISH)
    found = {}
    for key, value in given.items():
        if not isinstance(key, str) or key == name:
            raise SegkitError(f"The metric {name!r} gave a value called {key!r}.", A_FINISH)
        try:
            found[key] = float(value)
        except (TypeError, ValueError):
            raise SegkitError(
                f"The metric {name!r} gave {value!r:.80} as its value {key!r}, not a number.", A_FINISH
            ) from None
    return found


def add(counts: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The sum of several cases' counts, by metric and name.

    Raises:
        SegkitError: a metric's counts cannot be added up, named.
    """
    total: dict[str, dict[str, Any]] = {}
    for part in counts:
        for owner, own in part.items():
            sums = total.setdefault(owner, {})
            for name, value in own.items():
                try:
                    sums[name] = sums[name] + value if name in sums else value
                except Exception as error:
                    raise SegkitError(
                        f"The counts {name!r} of the metric {owner!r} cannot be added up: {type(error).__name__}: {error}",
                        A_MEASURE,
                    ) from error
    return total


def _owners(metrics: Mapping[str, Metric]) -> dict[str, str]:
    """Metric -> the first metric with the same `measure`: under its name the counts are kept."""
    first: dict[Any, str] = {}
    return {name: first.setdefault(metric.measure, name) for name, metric in metrics.items()}


def aggregate(
    metrics: Mapping[str, Metric], scores: Sequence[CaseScore], how: str, task: Task, batch: int | None = None
) -> dict[str, Figure]:
    """Figures by "metric/class", and by "metric" the mean over the foreground classes.

    Args:
        metrics: that made the scores.
        scores: of the cases.
        how: one of `AGGREGATIONS`.
        task: of the data.
        batch: images or slices of a batch, which is never less than a case.
    """
    if how == "per_case":
        return figures_over([score.values for score in scores], task)
    parts: dict[Any, list[CaseScore]] = {}
    before = 0  # images or slices
    for score in scores:
        part = {"per_group": score.group, "per_batch": before // (batch or 1), "pooled": ""}[how]
        parts.setdefault(part, []).append(score)
        before += int(score.facts.get(SLICES, 1))
    return figures_over([finish(metrics, add(score.counts for score in own)) for own in parts.values()], task)


def all_figures(
    metrics: Mapping[str, Metric], scores: Sequence[CaseScore], task: Task, batch: int | None = None
) -> dict[str, dict[str, Figure]]:
    """Of every aggregation, with the means over all classes; nothing without a case, and of batches without their size."""
    wanted = [how for how in AGGREGATIONS if scores and (how != "per_batch" or batch)]
    return {how: with_background(aggregate(metrics, scores, how, task, batch), task) for how in wanted}


def figures_over(values: Sequence[Mapping[str, float]], task: Task) -> dict[str, Figure]:
    """The mean of each value over the rows (of cases, groups or a pool), and the means over classes."""
    keys = dict.fromkeys(key for row in values for key in row)
    return with_means({key: _figure([row[key] for row in values if key in row]) for key in keys}, task)


def with_means(figures: Mapping[str, Figure], task: Task) -> dict[str, Figure]:
    """The figures of classes, and before them by "metric" their mean over the foreground classes."""
    return {**_over_classes(figures, task.foreground, ""), **figures}


def with_background(figures: Mapping[str, Figure], task: Task) -> dict[str, Figure]:
    """With "metric/(all)", the mean over all classes, of metrics that tell the background as well."""
    background = [name for name in task.classes if name not in task.foreground]
    told = {key: one for key, one in figures.items() if background and f"{key.partition('/')[0]}/{background[0]}" in figures}
    return {**figures, **_over_classes(told, task.classes, f"/{ALL}")}


def usual_aggregation(kind: str) -> str:
    """What is shown unless another was asked for: one image's F1 says nothing, so classes are pooled."""
    return "pooled" if kind == "classification" else "per_case"


def is_detail(key: str) -> bool:
    """True for values that tables and the history leave out, such as the cells of a confusion matrix."""
    return key.count("/") > 1


def _figure(values: Sequence[float]) -> Figure:
    defined = [value for value in values if not math.isnan(value)]
    mean = math.fsum(defined) / len(defined) if defined else math.nan
    return Figure(mean, len(defined), len(values) - len(defined))


def _over_classes(figures: Mapping[str, Figure], classes: Sequence[str], end: str) -> dict[str, Figure]:
    by_metric: dict[str, list[Figure]] = {}
    for key, figure in figures.items():
        metric, _, name = key.partition("/")
        if name in classes:
            by_metric.setdefault(metric, []).append(figure)
    return {
        metric + end: Figure(
            _figure([figure.mean for figure in parts]).mean,
            max(figure.n for figure in parts),
            max(figure.undefined for figure in parts),
        )
        for metric, parts in by_metric.items()
    }


def build_metrics(choices: Sequence[Choice], task: Task) -> dict[str, Metric]:
    """The metrics by spec name.

    Raises:
        SegkitError: a plugin's own code fails, or makes something else.
    """
    made = {choice.spec.name: choice.make(task) for choice in choices}
    for choice in choices:
        metric = made[choice.spec.name]
        if not isinstance(metric, Metric):
            raise SegkitError(f"The metric {choice.name} is not a segkit.api.Metric but a {type(metric).__name__}.")
    return made
