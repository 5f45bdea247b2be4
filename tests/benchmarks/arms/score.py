"""The one score of all arms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def case_dice(predicted: Array, truth: Array, classes: int) -> float:
    """Mean over the foreground classes of Dice; 1 where both are empty, 0 where one is.

    >>> case_dice(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), 2)
    0.6666666666666666
    >>> case_dice(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0]), 3)
    0.8333333333333333
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"the prediction is {predicted.shape}, the truth {truth.shape}")
    return float(np.mean([_dice(predicted == label, truth == label) for label in range(1, classes)]))


def mean_dice(pairs: Iterable[tuple[Array, Array]], classes: int) -> float:
    """Mean over cases (prediction, truth)."""
    return float(np.mean([case_dice(predicted, truth, classes) for predicted, truth in pairs]))


def _dice(predicted: Array, truth: Array) -> float:
    total = int(predicted.sum()) + int(truth.sum())
    return 2 * int((predicted & truth).sum()) / total if total else 1.0
