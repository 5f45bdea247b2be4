"""The confusion table of a case: what most metrics of labels are made of, counted once for all of them.

A metric whose `measure` is `count_confusion` itself is also followed while training, where the same table is counted on the
device (segkit.training.running_metrics).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.task import CaseResult


def count_confusion(result: CaseResult) -> dict[str, NDArray[np.int64]]:
    """Count the pixels (or, of a classification, the items) of each true and each predicted class.

    Returns:
        {"confusion": table}. Exclusive classes: (classes, classes), truth by prediction, without pixels of ignore_index;
        multilabel: (classes - 1, 2, 2), one such table per class.
    """
    if result.task.mode == "multilabel":
        pairs = zip(result.truth, result.labels, strict=True)
        return {"confusion": np.stack([tabulate(truth, labels, 2) for truth, labels in pairs])}
    return {"confusion": tabulate(result.truth, result.labels, len(result.task.classes), result.task.ignore_index)}


def tabulate(truth: NDArray[Any], labels: NDArray[Any], classes: int, ignore: int | None = None) -> NDArray[np.int64]:
    """(classes, classes) numbers of pixels, truth by label; both arrays hold whole numbers from 0 to classes - 1.

    >>> tabulate(np.array([0, 1, 1]), np.array([0, 0, 1]), 2).tolist()
    [[1, 0], [1, 1]]
    """
    truth, labels = truth.astype(np.int64).ravel(), labels.astype(np.int64).ravel()
    if ignore is not None:
        truth, labels = truth[truth != ignore], labels[truth != ignore]
    return np.bincount(truth * classes + labels, minlength=classes**2).reshape(classes, classes)


def overlap(table: NDArray[np.int64]) -> float | None:
    """How well two masks agree: their Dice, from a (2, 2) table; None where both are empty.

    >>> overlap(np.array([[5, 1], [1, 2]]))
    0.6666666666666666
    """
    sizes = int(table[1].sum() + table[:, 1].sum())
    return 2 * int(table[1, 1]) / sizes if sizes else None
