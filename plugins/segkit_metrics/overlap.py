"""Dice, IoU, precision, recall, specificity, MCC, accuracy and the confusion matrix, all from one count per case.

Empty masks: Dice and IoU are 1 where truth and prediction are both empty and 0 where one is; precision, recall and
specificity are undefined (NaN) where their denominator is empty.

Accuracy of several classes has two readings. The share of right pixels is one number; a class against the rest,
(TP + TN) / all, counts as right what was taken for another wrong class, so a mean over classes would flatter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import Metric, NoOptions, Task, count_confusion

Counts = Mapping[str, Any]
Ratio = Callable[[int, int, int, int], tuple[int, int]]


def _one_against_rest(task: Task, counts: Counts) -> dict[str, tuple[int, int, int, int]]:
    """Class name -> (TP, FP, FN, TN): the foreground for binary and multilabel, every class and region for multiclass."""
    table = counts["confusion"]
    if task.mode == "multilabel":
        return {
            name: (int(own[1, 1]), int(own[0, 1]), int(own[1, 0]), int(own[0, 0]))
            for name, own in zip(task.foreground, table, strict=True)
        }
    wanted = [(name, [index]) for index, name in enumerate(task.classes)][1 if task.mode == "binary" else 0 :]
    wanted += [(name, [task.classes.index(one) for one in members]) for name, members in task.regions.items()]
    found = {}
    for name, own in wanted:
        hit, predicted, true = int(table[np.ix_(own, own)].sum()), int(table[:, own].sum()), int(table[own].sum())
        found[name] = (hit, predicted - hit, true - hit, int(table.sum()) - predicted - true + hit)
    return found


def _ratio_metric(ratio: Ratio, empty: float) -> Callable[[Task, NoOptions], Metric]:
    def build(task: Task, options: NoOptions) -> Metric:
        def finish(counts: Counts) -> dict[str, float]:
            values = {}
            for label, cells in _one_against_rest(task, counts).items():
                above, below = ratio(*cells)
                values[label] = above / below if below else empty
            return values

        return Metric(count_confusion, finish)

    return build


build_dice = _ratio_metric(lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn), empty=1.0)
build_iou = _ratio_metric(lambda tp, fp, fn, tn: (tp, tp + fp + fn), empty=1.0)
build_f1 = _ratio_metric(lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn), empty=float("nan"))
build_precision = _ratio_metric(lambda tp, fp, fn, tn: (tp, tp + fp), empty=float("nan"))
build_recall = _ratio_metric(lambda tp, fp, fn, tn: (tp, tp + fn), empty=float("nan"))
build_specificity = _ratio_metric(lambda tp, fp, fn, tn: (tn, tn + fp), empty=float("nan"))


def _share_right(counts: Counts) -> float:
    """Of the pixels; of overlapping classes, of the decisions: one for each pixel and class."""
    table = counts["confusion"]
    right, total = int(table.diagonal(axis1=-2, axis2=-1).sum()), int(table.sum())
    return right / total if total else float("nan")


def build_pixel_accuracy(task: Task, options: NoOptions) -> Metric:
    """Right pixels of all, (0, 1); undefined where every pixel is to be ignored."""
    return Metric(count_confusion, lambda counts: {"": _share_right(counts)})


def build_accuracy(task: Task, options: NoOptions) -> Metric:
    """The share of right cases (or pixels), and each class against the rest."""

    def finish(counts: Counts) -> dict[str, float]:
        cells = _one_against_rest(task, counts)
        return {
            "": _share_right(counts),
            **{name: (own[0] + own[3]) / (sum(own) or float("nan")) for name, own in cells.items()},
        }

    return Metric(count_confusion, finish)


def build_mcc(task: Task, options: NoOptions) -> Metric:
    """Matthews' coefficient of each class against the rest; of exclusive classes also of the whole table (Gorodkin 2004).

    0 where it is not defined, as scikit-learn has it.
    """

    def finish(counts: Counts) -> dict[str, float]:
        found = {
            name: _mcc(np.array([[tn, fp], [fn, tp]])) for name, (tp, fp, fn, tn) in _one_against_rest(task, counts).items()
        }
        return found if task.mode == "multilabel" else {"": _mcc(counts["confusion"]), **found}

    return Metric(count_confusion, finish)


def _mcc(table: NDArray[Any]) -> float:
    """Of a table of truth by prediction, with square roots taken one by one: whole products would not fit into 64 bits."""
    total, true, found = float(table.sum()), table.sum(1).astype(float), table.sum(0).astype(float)
    below = math.sqrt(total**2 - (true**2).sum()) * math.sqrt(total**2 - (found**2).sum()) if total else 0.0
    return float((table.trace() * total - (true * found).sum()) / below) if below else 0.0


def build_mean_iou(task: Task, options: NoOptions) -> Metric:
    """The mean over all classes that occur in truth or prediction, background included; of layers, over the layers."""

    def finish(counts: Counts) -> dict[str, float]:
        table = counts["confusion"]
        if task.mode == "multilabel":
            hits, sizes = table[:, 1, 1], table[:, 1].sum(1) + table[:, :, 1].sum(1)
        else:
            hits, sizes = table.diagonal(), table.sum(0) + table.sum(1)
        ious = [hit / (size - hit) for hit, size in zip(hits, sizes, strict=True) if size]
        return {"": float(np.mean(ious)) if ious else (1.0 if task.mode == "multilabel" else float("nan"))}

    return Metric(count_confusion, finish)


def build_confusion(task: Task, options: NoOptions) -> Metric:
    """Rows of the confusion matrix as shares: "TRUTH/PREDICTION"."""

    def finish(counts: Counts) -> dict[str, float]:
        table = counts["confusion"]
        tables = {"": (task.classes, table)}
        if task.mode == "multilabel":
            tables = {name: ((f"no {name}", name), own) for name, own in zip(task.foreground, table, strict=True)}
        values = {}
        for names, cells in tables.values():
            for truth, row in zip(names, cells, strict=True):
                for predicted, cell in zip(names, row, strict=True):
                    values[f"{truth}/{predicted}"] = cell / row.sum() if row.sum() else float("nan")
        return values

    return Metric(count_confusion, finish)
