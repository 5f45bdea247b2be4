"""The gray levels of a mask, told from the noise of JPEG and from soft edges: a level is flat, an edge is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Histogram = NDArray[np.int64]

FLAT = 12  # gray values that the 3 x 3 pixels around one may differ by
WIDTH = 16  # of a level, to each side
APART = 40  # gray values between two levels
SMALLEST = 0.01  # share of the foreground's flat pixels that makes a level
FEWEST = 9  # pixels of it


def flat_histogram(mask: NDArray[Any]) -> Histogram:
    """How often each gray value from 0 to 255 stands in the middle of a flat part of a mask, of any number of axes."""
    values = np.clip(mask, 0, 255).astype(np.uint8)
    spread = ndimage.maximum_filter(values, 3) - ndimage.minimum_filter(values, 3)
    return np.bincount(values[spread <= FLAT], minlength=256)


def gray_levels(flat: Histogram) -> list[int]:
    """The levels that stand out of a histogram of flat pixels, in order.

    >>> flat = np.zeros(256, int)
    >>> flat[[0, 2, 126, 128, 255]] = 5000, 90, 20, 400, 900
    >>> gray_levels(flat)
    [0, 128, 255]
    """
    found = list[int]()
    rest, foreground = flat.copy(), int(flat[APART:].sum())
    while rest.any():
        near = np.convolve(rest, np.ones(2 * WIDTH + 1, int), "same")
        middle = int(near.argmax())
        window = slice(max(0, middle - WIDTH), middle + WIDTH + 1)
        around = slice(max(0, middle - APART), middle + APART + 1)
        if near[middle] < max(FEWEST, SMALLEST * foreground):
            break
        if 2 * near[middle] > flat[around].sum():  # a level, no slope
            found.append(window.start + int(rest[window].argmax()))
        rest[around] = 0
    return sorted(found)


def between(levels: Sequence[int], low: int, high: int) -> list[int]:
    """Those of several levels that lie clearly between two."""
    return [level for level in levels if low + APART < level < high - APART]
