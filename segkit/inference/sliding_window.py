"""Large images through overlapping windows, blended with a Gaussian weight (Isensee 2021, nnU-Net), band by band.

Windows are taken row by row along one axis; what no later row reaches is finished and handed on, so that the sums of one row
of windows is all that is held.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box = tuple[slice, ...]

OVERLAP = 0.5  # of neighbouring windows, as a share of their size
SIGMA = 0.125  # of the windows' weight, as a share of their size


def predict_windows(
    run: Callable[[Iterable[Floats]], Iterator[Floats]],
    crop: Callable[[Box], Floats],
    shape: Sequence[int],
    size: Sequence[int],
    axis: int = 0,
) -> Iterator[tuple[int, int, Floats]]:
    """Logits of an image from overlapping windows, blended.

    Args:
        run: windows (C, *size) -> their logits (K, *size), in order.
        crop: a box of the image -> (C, ...) of it.
        shape: of the image.
        size: of a window; where the image is smaller, zeros are added at its end.
        axis: along which the result comes.

    Yields:
        (start, stop, logits (K, ...) of these rows), in order, covering the image.
    """
    weight = gaussian(size)
    places = [window_starts(own, window) for own, window in zip(shape, size, strict=True)]
    along = places.pop(axis)
    total, weights = np.zeros(0, np.float32), np.zeros(0, np.float32)
    for number, start in enumerate(along):
        corners = [(*place[:axis], start, *place[axis:]) for place in itertools.product(*places)]
        boxes = [tuple(slice(at, at + side) for at, side in zip(corner, size, strict=True)) for corner in corners]
        for box, logits in zip(boxes, run(_filled(crop, box, shape) for box in boxes), strict=True):
            if not total.size:
                wide = [
                    max(own, side) if ax != axis else side for ax, (own, side) in enumerate(zip(shape, size, strict=True))
                ]
                total, weights = np.zeros((len(logits), *wide), np.float32), np.zeros(wide, np.float32)
            here = tuple(slice(0, size[axis]) if ax == axis else part for ax, part in enumerate(box))
            total[(slice(None), *here)] += logits * weight
            weights[here] += weight
        end = along[number + 1] if number + 1 < len(along) else max(start + size[axis], shape[axis])
        stop = min(end, shape[axis])
        inside = tuple(slice(0, stop - start) if ax == axis else slice(0, own) for ax, own in enumerate(shape))
        yield start, stop, total[(slice(None), *inside)] / weights[inside]
        total, weights = _moved(total, axis + 1, end - start), _moved(weights, axis, end - start)


def window_starts(own: int, window: int) -> list[int]:
    """Evenly spaced first positions of windows that cover an axis.

    >>> window_starts(10, 4), window_starts(3, 4)
    ([0, 2, 4, 6], [0])
    """
    if own <= window:
        return [0]
    count = int(np.ceil((own - window) / (window * (1 - OVERLAP)))) + 1
    return sorted({round(start) for start in np.linspace(0, own - window, count)})


def gaussian(size: Sequence[int]) -> Floats:
    """The weight of each place in a window: 1 in its middle."""
    weight = np.ones((), np.float32)
    for axis, window in enumerate(size):
        distance = np.arange(window) - (window - 1) / 2
        line = np.exp(-0.5 * (distance / (SIGMA * window)) ** 2)
        weight = weight * line.reshape([-1 if ax == axis else 1 for ax in range(len(size))])
    return np.maximum(weight, 1e-3).astype(np.float32)


def _filled(crop: Callable[[Box], Floats], box: Box, shape: Sequence[int]) -> Floats:
    inside = tuple(slice(part.start, min(part.stop, own)) for part, own in zip(box, shape, strict=True))
    missing = [(0, part.stop - within.stop) for part, within in zip(box, inside, strict=True)]
    values = crop(inside)
    return np.pad(values, [(0, 0), *missing]) if any(after for _, after in missing) else values


def _moved(values: Floats, axis: int, rows: int) -> Floats:
    """Shift the sums by the rows that are finished; zeros follow."""
    kept = np.delete(values, np.s_[:rows], axis) if rows < values.shape[axis] else values[:0]
    result = np.zeros_like(values)
    if rows < values.shape[axis]:
        result[(slice(None),) * axis + (slice(0, kept.shape[axis]),)] = kept
    return result
