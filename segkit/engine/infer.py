"""The only path from pixels to probabilities: preprocess, batch, network, inverse. NumPy in, NumPy out, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit.data.preprocess import forward_image, geometry_of, inverse
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.task import Task

Floats = NDArray[np.float32]
Item = TypeVar("Item")

THRESHOLD = 0.5  # a probability must be above it


def predict_images(
    forward: Callable[[Floats], Floats],
    images: Iterable[tuple[Item, NDArray[Any]]],
    preprocess: Preprocess,
    task: Task,
    batch_size: int = 8,
) -> Iterator[tuple[Item, Floats]]:
    """Probabilities of images on their own grids, in order, holding one batch in memory.

    Args:
        forward: (B, C, *size) -> logits (B, K, *size).
        images: (anything, (C, *S) in stored units); the first half comes back beside the result.
        preprocess: complete record.
        task: says how logits become probabilities.

    Yields:
        (the first half, (K, *S) probabilities).
    """
    pending: list[tuple[Item, tuple[int, ...], Floats]] = []
    for item, image in images:
        pending.append((item, image.shape[1:], forward_image(image, preprocess)))
        if len(pending) == batch_size:
            yield from _finish(forward, pending, preprocess, task)
            pending = []
    if pending:
        yield from _finish(forward, pending, preprocess, task)


def probabilities_of(logits: Floats, task: Task) -> Floats:
    """(B, K, *S) logits -> probabilities: sigmoid, or softmax over K for multiclass."""
    if task.mode == "multiclass":
        powers: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)
    with np.errstate(over="ignore"):  # exp(-logit) = inf gives the right 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def labels_of(probabilities: NDArray[Any], task: Task) -> NDArray[np.unsignedinteger[Any]]:
    """(K, *S) probabilities -> (*S) labels, or (K, *S) of 0 and 1 for multilabel."""
    if task.mode == "multiclass":
        return np.asarray(probabilities.argmax(axis=0), np.uint8 if len(probabilities) <= 256 else np.uint16)
    above: NDArray[np.uint8] = (probabilities > THRESHOLD).astype(np.uint8)
    return above[0] if task.mode == "binary" else above


def _finish(
    forward: Callable[[Floats], Floats],
    pending: list[tuple[Item, tuple[int, ...], Floats]],
    preprocess: Preprocess,
    task: Task,
) -> Iterator[tuple[Item, Floats]]:
    logits = forward(np.stack([array for _, _, array in pending]))
    if not np.isfinite(logits).all():
        raise SegkitError("The network gave values that are not finite: these weights are unusable.", "Train again.")
    background = np.zeros(task.outputs, np.float32)
    if task.mode == "multiclass":
        background[0] = 1
    for (item, size, _), probabilities in zip(pending, probabilities_of(logits, task), strict=True):
        yield item, inverse(probabilities, geometry_of(size, preprocess), background)
