"""How the figures of an evaluation spread over its cases: interval of the mean, median, standard deviation, worst cases."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from segkit.evaluation.aggregate import CaseScore, is_detail
from segkit.evaluation.statistics.bootstrap import Interval, intervals_of_means
from segkit.task import Task

WORST = 5  # cases that are named


@dataclass(frozen=True)
class Spread:
    """Of the values of one figure, case by case.

    Args:
        interval: of their mean, over groups; None for fewer than two groups.
        median, std: of the cases; std (sample) is NaN for a single one.
        worst: cases and their values, the worst first; empty where neither more nor less is better.
    """

    interval: Interval | None
    median: float
    std: float
    worst: tuple[tuple[str, float], ...]


def spread_of(scores: Sequence[CaseScore], task: Task, higher_is_better: Mapping[str, bool | None]) -> dict[str, Spread]:
    """By "metric/class", and by "metric" over the foreground classes of each case.

    Args:
        scores: of every case.
        task: of the data.
        higher_is_better: by metric.
    """
    keys = [key for key in dict.fromkeys(key for score in scores for key in score.values) if not is_detail(key)]
    columns = {key: [score.values.get(key, math.nan) for score in scores] for key in keys}
    over: dict[str, list[str]] = {}
    for key in keys:
        metric, _, name = key.partition("/")
        if name in task.foreground and metric not in columns:
            over.setdefault(metric, []).append(key)
    intervals = intervals_of_means(columns, [score.group for score in scores], over)
    means = {
        metric: [_mean(row) for row in zip(*(columns[key] for key in parts), strict=True)] for metric, parts in over.items()
    }
    ids = [score.id for score in scores]
    return {
        key: _spread(values, ids, intervals[key], higher_is_better.get(key.partition("/")[0]))
        for key, values in {**means, **columns}.items()
    }


def _spread(values: Sequence[float], ids: Sequence[str], interval: Interval | None, higher: bool | None) -> Spread:
    known = sorted((value, case) for value, case in zip(values, ids, strict=True) if not math.isnan(value))
    numbers = [value for value, _ in known]
    worst = [] if higher is None else known[:WORST] if higher else known[::-1][:WORST]
    return Spread(
        interval,
        statistics.median(numbers) if numbers else math.nan,
        statistics.stdev(numbers) if len(numbers) > 1 else math.nan,
        tuple((case, value) for value, case in worst),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan
