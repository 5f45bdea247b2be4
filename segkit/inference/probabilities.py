"""From logits to probabilities, and from these to labels. NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.task import Task

Floats = NDArray[np.float32]

THRESHOLD = 0.5  # a probability must be above it


def probabilities_of(logits: Floats, task: Task) -> Floats:
    """(K, *S) logits -> probabilities: sigmoid, or softmax over K for multiclass."""
    if task.mode == "multiclass":
        powers: Floats = np.exp(logits - logits.max(axis=0, keepdims=True))
        return np.asarray(powers / powers.sum(axis=0, keepdims=True), np.float32)
    with np.errstate(over="ignore"):  # exp(-logit) = inf gives the right 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def labels_of(
    probabilities: NDArray[Any], task: Task, thresholds: Sequence[float | None] = ()
) -> NDArray[np.unsignedinteger[Any]]:
    """(K, *S) probabilities -> (*S) labels, or (K, *S) of 0 and 1 for multilabel.

    `thresholds`, one per class (background first): a class that has one is taken where its probability is above it, of
    several the one that exceeds its own by the largest factor; elsewhere the most probable of the classes that have none.
    """
    if task.mode == "multiclass":
        dtype = np.uint8 if len(probabilities) <= 256 else np.uint16
        if not any(own is not None for own in thresholds):
            return np.asarray(probabilities.argmax(axis=0), dtype)
        limits = np.array([np.inf if value is None else max(value, 1e-6) for value in thresholds], np.float32)
        limits = limits.reshape(-1, *[1] * (probabilities.ndim - 1))
        factors, free = probabilities / limits, np.where(np.isinf(limits), probabilities, -1)
        return np.asarray(np.where(factors.max(axis=0) > 1, factors.argmax(axis=0), free.argmax(axis=0)), dtype)
    each = [THRESHOLD if value is None else value for value in (thresholds or [None] * (task.outputs + 1))[1:]]
    above: NDArray[np.uint8] = np.stack([own > limit for own, limit in zip(probabilities, each, strict=True)]).astype(
        np.uint8
    )
    return above[0] if task.mode == "binary" else above


def presence_of(mask: NDArray[Any], task: Task, slice_axis: int | None) -> NDArray[np.int64]:
    """The truth of a classification: 1 where a mask holds any foreground, else 0.

    Args:
        mask: (*S), or (K, *S) for multilabel.
        task: of the masks.
        slice_axis: which axis of *S is seen slice by slice, if any.

    Returns:
        () for the whole of it, or (slices,).
    """
    found = (mask != 0) if task.ignore_index is None else (mask != 0) & (mask != task.ignore_index)
    own = None if slice_axis is None else slice_axis + (task.mode == "multilabel")
    return np.asarray(found.any(axis=tuple(axis for axis in range(mask.ndim) if axis != own)), np.int64)


def background_of(task: Task) -> Floats:
    """The probabilities of what the network never saw."""
    background = np.zeros(task.outputs, np.float32)
    if task.mode == "multiclass":
        background[0] = 1
    return background
