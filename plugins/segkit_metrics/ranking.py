"""The area under the ROC curve, exact: how often a case of a class scores higher than one of another class; and the average
precision.

Equal scores count half (Hanley & McNeil 1982). What is counted per case is how often each score occurs, so counts add up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, NoOptions, Task


def count(result: CaseResult) -> dict[str, int]:
    """Numbers of items by class, truth and score: "CLASS/1/0.25" for an item of that class with probability 0.25."""
    counts: dict[str, int] = {}
    truth = np.atleast_1d(result.truth)
    for index, name in enumerate(result.task.classes):
        for probability, true in zip(np.atleast_1d(result.probabilities[index]), truth == index, strict=True):
            key = f"{name}/{int(true)}/{float(probability)!r}"
            counts[key] = counts.get(key, 0) + 1
    return counts


def build_auroc(task: Task, options: NoOptions) -> Metric:
    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        return {name: _area(name, counts) for name in task.classes}

    return Metric(count, finish)


def build_average_precision(task: Task, options: NoOptions) -> Metric:
    """The sum over thresholds of precision times what recall grows by, as scikit-learn has it."""

    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        return {name: _average_precision(name, counts) for name in task.classes}

    return Metric(count, finish)


def _by_score(name: str, counts: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Items of other classes, and of this one, at each score, the lowest first."""
    numbers: dict[float, list[int]] = {}
    for key, number in counts.items():
        label, true, score = key.split("/")
        if label == name:
            numbers.setdefault(float(score), [0, 0])[int(true)] += int(number)
    others, own = ([numbers[score][side] for score in sorted(numbers)] for side in (0, 1))
    return np.array(others, np.float64), np.array(own, np.float64)


def _average_precision(name: str, counts: Mapping[str, Any]) -> float:
    others, own = (values[::-1] for values in _by_score(name, counts))
    if not own.sum():
        return float("nan")
    found = np.cumsum(own)
    return float((found / (found + np.cumsum(others)) * own).sum() / own.sum())


def _area(name: str, counts: Mapping[str, Any]) -> float:
    others, own = _by_score(name, counts)
    if not others.sum() or not own.sum():
        return float("nan")
    below = np.cumsum(others) - others
    return float((own * (below + others / 2)).sum() / (own.sum() * others.sum()))
