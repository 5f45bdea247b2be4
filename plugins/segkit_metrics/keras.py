"""Metrics as Keras computes them, for comparing with papers whose figures cannot be explained otherwise.

They are meant for `--aggregate per_batch`: Keras averages over batches what it computes in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, NoOptions, SegkitError, Task
from segkit_metrics.plugin import KerasDiceOptions

NAN = float("nan")


def count_elements(result: CaseResult) -> dict[str, NDArray[np.float64]]:
    """Of each class, the background too: sum(y q), sum(y), sum(q); and two tables of elements, truth by prediction.

    "cut": q cut to whole numbers, as MeanIoU does where it is given probabilities; "half": q > .5, as BinaryIoU does.
    """
    task, p = result.task, result.probabilities.astype(np.float64)
    if np.isnan(p).any():
        raise SegkitError("Keras' metrics are made of probabilities, and these masks came without.", "Leave them out.")
    if task.mode == "multilabel":
        y = result.truth == 1
    else:
        y = result.truth == np.arange(len(task.classes)).reshape(-1, *[1] * result.truth.ndim)
        p = np.concatenate([1 - p, p]) if task.mode == "binary" else p
    over = tuple(range(1, p.ndim))
    names = task.foreground if task.mode == "multilabel" else task.classes
    sums = np.stack([(p * y).sum(over), y.sum(over), p.sum(over)], axis=1)
    own = slice(1, None) if task.mode == "binary" else slice(None)  # its network has one output, of the foreground
    tables = {"cut": _table(y[own], p[own] >= 1), "half": _table(y[own], p[own] > 0.5)}
    return {**{f"class {name}": row for name, row in zip(names, sums, strict=True)}, **tables}


def _table(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.bincount(2 * truth.ravel() + found.ravel(), minlength=4).reshape(2, 2).astype(np.float64)


def build_dice(task: Task, options: KerasDiceOptions) -> Metric:
    """(2 sum(y q) + s) / (sum(y) + sum(q) + s) of each class over the batch, and their mean with the background."""

    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        found = {}
        for key, (overlap, true, given) in ((key, row) for key, row in counts.items() if key.startswith("class ")):
            found[key.removeprefix("class ")] = float((2 * overlap + options.smooth) / (true + given + options.smooth))
        return {"": sum(found.values()) / len(found), **found}

    return Metric(count_elements, finish)


def build_mean_iou(task: Task, options: NoOptions) -> Metric:
    """keras.metrics.MeanIoU given one-hot masks and probabilities: a probability below 1 is cut to class 0."""
    return Metric(count_elements, lambda counts: {"": _mean_iou(counts["cut"])})


def build_binary_iou(task: Task, options: NoOptions) -> Metric:
    """keras.metrics.BinaryIoU: the mean of the IoU of foreground and of background at a threshold of .5."""
    return Metric(count_elements, lambda counts: {"": _mean_iou(counts["half"])})


def _mean_iou(table: NDArray[np.float64]) -> float:
    """Over the classes that occur in truth or prediction, as Keras 3 does."""
    hits, sizes = table.diagonal(), table.sum(0) + table.sum(1)
    ious = [hit / (size - hit) for hit, size in zip(hits, sizes, strict=True) if size]
    return float(np.mean(ious)) if ious else NAN
