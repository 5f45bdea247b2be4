"""Whether probabilities are what they say: expected calibration error, Brier score, reliability curve.

Binary and overlapping classes: the probability of each class. Exclusive classes: the confidence, the largest probability,
against how often that class is right (Guo 2017); the Brier score is the sum over the classes (Brier 1950).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, Task
from segkit_metrics.plugin import CalibrationOptions

NAN = float("nan")


@lru_cache
def _measure(bins: int) -> Callable[[CaseResult], dict[str, NDArray[np.float64]]]:
    """One function for all metrics with so many bins, so that pixels are sorted once."""

    def measure(result: CaseResult) -> dict[str, NDArray[np.float64]]:
        """Of each bin: pixels, sum of probabilities, right ones; then, in a last row, pixels and squared errors."""
        return {name: _counted(*pair, bins) for name, pair in _pairs(result).items()}

    return measure


def _pairs(result: CaseResult) -> dict[str, tuple[NDArray[Any], NDArray[np.bool_], float]]:
    """By class ("" for confidence): probabilities and what is right, of the pixels that count, and the squared errors."""
    task, p = result.task, result.probabilities
    if task.mode == "multilabel":
        found = {}
        for place, name in enumerate(task.foreground):
            right = result.truth[place].ravel() == 1
            q = p[place].ravel()
            found[name] = q, right, float(((q - right) ** 2).sum())
        return found
    truth = np.atleast_1d(result.truth).ravel()
    flat = p.reshape(len(p), -1)
    if task.ignore_index is not None:
        flat, truth = flat[:, truth != task.ignore_index], truth[truth != task.ignore_index]
    if task.mode == "binary":
        right = truth == 1
        return {task.foreground[0]: (flat[0], right, float(((flat[0] - right) ** 2).sum()))}
    best, of_truth = flat.argmax(axis=0), flat[truth, np.arange(len(truth))]
    squared = (flat.astype(np.float64) ** 2).sum() + (1 - 2 * of_truth.astype(np.float64)).sum()
    return {"": (flat.max(axis=0), best == truth, float(squared))}


def _counted(q: NDArray[Any], right: NDArray[np.bool_], squared: float, bins: int) -> NDArray[np.float64]:
    if np.isnan(q).any():  # of masks that came without probabilities
        return np.zeros((bins + 1, 3))
    place = np.clip((q * bins).astype(np.int64), 0, bins - 1)
    columns = (np.bincount(place, weights, bins) for weights in (None, q, right))
    table = np.stack([column.astype(np.float64) for column in columns], axis=1)
    return np.concatenate([table, [[len(q), squared, 0.0]]])


def _metric(options: CalibrationOptions, values: Callable[[NDArray[np.float64]], dict[str, float]]) -> Metric:
    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        found = {}
        for name, table in counts.items():
            found |= {"/".join(filter(None, (name, key))): value for key, value in values(np.asarray(table)).items()}
        return found

    return Metric(_measure(options.bins), finish)


def build_ece(task: Task, options: CalibrationOptions) -> Metric:
    """The mean over pixels of |accuracy - mean probability| of their bin; 0 is perfect."""

    def values(table: NDArray[np.float64]) -> dict[str, float]:
        number, total, right = table[:-1].T
        pixels = number.sum()
        return {"": float(np.abs(right - total).sum() / pixels) if pixels else NAN}

    return _metric(options, values)


def build_brier(task: Task, options: CalibrationOptions) -> Metric:
    """The mean over pixels of the squared error of the probabilities; 0 is perfect."""
    return _metric(options, lambda table: {"": float(table[-1, 1] / table[-1, 0]) if table[-1, 0] else NAN})


def build_reliability(task: Task, options: CalibrationOptions) -> Metric:
    """Of each bin of probabilities, how often it is right, and its mean: what a reliability diagram draws."""

    def values(table: NDArray[np.float64]) -> dict[str, float]:
        found = {}
        for place, (number, total, right) in enumerate(table[:-1]):
            name = f"{place / options.bins:g} to {(place + 1) / options.bins:g}"
            found[f"{name}/right"] = right / number if number else NAN
            found[f"{name}/mean"] = total / number if number else NAN
        return found

    return _metric(options, values)
