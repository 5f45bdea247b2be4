"""Dice of each class under many thresholds, from one histogram of its probabilities.

A pixel is of a class where its probability is above the threshold; of exclusive classes, where it is also the most probable
one besides the background, as `--threshold` without a class has it. 1 where mask and prediction are both empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, NoOptions, Task

THRESHOLDS = np.arange(1, 20) / 20


def build_dice_by_threshold(task: Task, options: NoOptions) -> Metric:
    return Metric(count_above, finish)


def count_above(result: CaseResult) -> dict[str, NDArray[np.int64]]:
    """Of each foreground class (3, thresholds): true positives, pixels found, pixels true."""
    task, truth, probabilities = result.task, result.truth, result.probabilities
    if np.isnan(probabilities).all():  # masks alone
        return {name: np.full((3, len(THRESHOLDS)), -1) for name in task.foreground}
    seen = np.ones(truth.shape, bool) if task.ignore_index is None else truth != task.ignore_index
    if task.mode == "multiclass":
        best = probabilities[1:].argmax(0)
        level = _levels(np.take_along_axis(probabilities[1:], best[None], 0)[0])
    counts = {}
    for place, name in enumerate(task.foreground):
        if task.mode == "multiclass":
            own, true, kept = np.where(best == place, level, 0), truth == place + 1, seen
        elif task.mode == "multilabel":
            own, true, kept = _levels(probabilities[place]), truth[place] == 1, seen[place]
        else:
            own, true, kept = _levels(probabilities[0]), truth == 1, seen
        hits, found = _above(own[true & kept]), _above(own[kept])
        counts[name] = np.stack([hits, found, np.full_like(hits, np.count_nonzero(true & kept))])
    return counts


def finish(counts: Mapping[str, Any]) -> dict[str, float]:
    values = {}
    for name, (hits, found, true) in counts.items():
        for threshold, hit, own, held in zip(THRESHOLDS, hits, found, true, strict=True):
            empty = float("nan") if own < 0 else 1.0
            values[f"{name}/{threshold:.2f}"] = 2 * hit / (own + held) if own + held > 0 else empty
    return values


def _levels(probabilities: NDArray[np.float32]) -> NDArray[np.intp]:
    """How many of the thresholds a probability is above."""
    return np.searchsorted(THRESHOLDS.astype(np.float32), probabilities, side="left")


def _above(levels: NDArray[np.intp]) -> NDArray[np.int64]:
    """For each threshold, how many are above it."""
    held = np.bincount(levels.ravel(), minlength=len(THRESHOLDS) + 1)
    return held[::-1].cumsum()[::-1][1:]
