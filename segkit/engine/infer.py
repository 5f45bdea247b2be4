"""The only path from pixels to probabilities: preprocess, network, inverse. NumPy in, NumPy out, no torch.

What the network sees of an image is the whole of it, its slices (a 2D network on a volume), or overlapping windows
(fit = patch), which are blended with a Gaussian weight (Isensee 2021, nnU-Net).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit.data.preprocess import Geometry, forward_image, from_slices, geometry_of, inverse, to_slices
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.task import Task

Floats = NDArray[np.float32]
Forward = Callable[[Floats], Floats]
Spacing = tuple[float, ...] | None
Item = TypeVar("Item")

THRESHOLD = 0.5  # a probability must be above it
OVERLAP = 0.5  # of neighbouring windows, as a share of their size
SIGMA = 0.125  # of the windows' weight, as a share of their size


@dataclass(frozen=True)
class Network:
    """What inference needs to know of a network.

    Args:
        forward: (B, C, *S) -> logits (B, K, *S).
        dims: its spatial dimensions.
        task: of the data.
        preprocess: complete record.
        batch_size: images, slices or windows at a time.
    """

    forward: Forward
    dims: int
    task: Task
    preprocess: Preprocess
    batch_size: int = 8


def predict_images(network: Network, images: Iterable[tuple[Item, NDArray[Any], Spacing]]) -> Iterator[tuple[Item, Floats]]:
    """Probabilities of images on their own grids, in order, holding one batch in memory.

    Args:
        network: what runs.
        images: (anything, (C, *S) in stored units, spacing); the first part comes back beside the result.

    Yields:
        (the first part, (K, *S) probabilities); of a classification (K,), or (K, slices) of a volume seen in slices.
    """
    task = network.task
    background = np.zeros(task.outputs, np.float32)
    if task.mode == "multiclass":
        background[0] = 1

    def prepared() -> Iterator[tuple[tuple[Item, Geometry], Floats, Geometry]]:
        for item, image, spacing in images:
            geometry = geometry_of(image.shape[1:], network.preprocess, network.dims, spacing)
            yield (item, geometry), forward_image(image, network.preprocess, geometry), geometry

    for (item, geometry), logits in logits_of(network, prepared()):
        probabilities = probabilities_of(logits, task)
        yield item, inverse(probabilities, geometry, background) if task.kind == "segmentation" else probabilities


def logits_of(network: Network, images: Iterable[tuple[Item, Floats, Geometry]]) -> Iterator[tuple[Item, Floats]]:
    """Logits (K, *target) of preprocessed images (C, *target), in order."""
    pending: list[tuple[Item, Floats]] = []
    for item, image, geometry in images:
        if pending and pending[0][1].shape != image.shape:
            yield from _whole(network, pending)
            pending = []
        if geometry.slice_axis is not None:
            slices = to_slices(image, geometry.slice_axis, lead=1)
            if network.preprocess.fit == "patch":
                logits = np.stack([_windows(network, np.ascontiguousarray(part)) for part in slices])
            else:
                logits = np.stack([found for (_, found) in _one_by_one(network, slices)])
            yield item, from_slices(logits, geometry.slice_axis if logits.ndim > 2 else 0, lead=1)
        elif network.preprocess.fit == "patch":
            yield item, _windows(network, image)
        else:
            pending.append((item, image))
            if len(pending) == network.batch_size:
                yield from _whole(network, pending)
                pending = []
    if pending:
        yield from _whole(network, pending)


def probabilities_of(logits: Floats, task: Task) -> Floats:
    """(K, *S) logits -> probabilities: sigmoid, or softmax over K for multiclass."""
    if task.mode == "multiclass":
        powers: Floats = np.exp(logits - logits.max(axis=0, keepdims=True))
        return np.asarray(powers / powers.sum(axis=0, keepdims=True), np.float32)
    with np.errstate(over="ignore"):  # exp(-logit) = inf gives the right 0
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def labels_of(probabilities: NDArray[Any], task: Task) -> NDArray[np.unsignedinteger[Any]]:
    """(K, *S) probabilities -> (*S) labels, or (K, *S) of 0 and 1 for multilabel."""
    if task.mode == "multiclass":
        return np.asarray(probabilities.argmax(axis=0), np.uint8 if len(probabilities) <= 256 else np.uint16)
    above: NDArray[np.uint8] = (probabilities > THRESHOLD).astype(np.uint8)
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


def _whole(network: Network, pending: Sequence[tuple[Item, Floats]]) -> Iterator[tuple[Item, Floats]]:
    """One batch of images of one size."""
    logits = network.forward(np.stack([image for _, image in pending]))
    if not np.isfinite(logits).all():
        raise SegkitError("The network gave values that are not finite: these weights are unusable.", "Train again.")
    yield from ((item, found) for (item, _), found in zip(pending, logits, strict=True))


def _one_by_one(network: Network, images: Floats) -> Iterator[tuple[int, Floats]]:
    """Logits of (N, C, *S) in batches."""
    for start in range(0, len(images), network.batch_size):
        part = images[start : start + network.batch_size]
        yield from _whole(network, list(enumerate(np.ascontiguousarray(part), start)))


def _windows(network: Network, image: Floats) -> Floats:
    """Logits of an image seen through overlapping windows, blended."""
    size = network.preprocess.size
    assert isinstance(size, tuple), "complete() gave patch a size"
    shape = image.shape[1:]
    short = [(0, max(0, window - own)) for own, window in zip(shape, size, strict=True)]
    padded = np.pad(image, [(0, 0), *short])
    weight = _gaussian(size)
    total = np.zeros((network.task.outputs, *padded.shape[1:]), np.float32)
    weights = np.zeros(padded.shape[1:], np.float32)
    places = list(itertools.product(*(_starts(own, window) for own, window in zip(padded.shape[1:], size, strict=True))))
    boxes = [tuple(slice(start, start + window) for start, window in zip(place, size, strict=True)) for place in places]
    for first in range(0, len(boxes), network.batch_size):
        part = boxes[first : first + network.batch_size]
        for box, (_, logits) in zip(part, _whole(network, [(0, padded[(slice(None), *box)]) for box in part]), strict=True):
            total[(slice(None), *box)] += logits * weight
            weights[box] += weight
    blended = np.asarray(total / weights, np.float32)
    return blended[(slice(None), *(slice(own) for own in shape))]


def _starts(own: int, window: int) -> list[int]:
    """Evenly spaced first positions of windows that cover an axis."""
    if own <= window:
        return [0]
    count = int(np.ceil((own - window) / (window * (1 - OVERLAP)))) + 1
    return sorted({round(start) for start in np.linspace(0, own - window, count)})


def _gaussian(size: Sequence[int]) -> Floats:
    weight = np.ones((), np.float32)
    for axis, window in enumerate(size):
        distance = np.arange(window) - (window - 1) / 2
        line = np.exp(-0.5 * (distance / (SIGMA * window)) ** 2)
        weight = weight * line.reshape([-1 if ax == axis else 1 for ax in range(len(size))])
    return np.maximum(weight, 1e-3).astype(np.float32)
