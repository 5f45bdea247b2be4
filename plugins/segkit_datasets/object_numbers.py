"""Masks that number objects (1 for the first nucleus, 2 for the next one, ...) told from masks that hold classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit_datasets.reading import read_labels, readable

FEWEST = 5  # values below which they may well be classes
UNSHARED = 0.8  # share of the values that one mask alone holds
PIECES = 1.5  # connected parts per value and mask: an object is one, rarely cut in two
SMALLEST = 4  # pixels of a usual object; fewer are soft edges
LOOKED_AT = 10  # masks whose connected parts are counted


def are_object_numbers(masks: Sequence[Path], counts: Sequence[Mapping[int, int]]) -> bool:
    """Whether values are numbers of objects: many, hardly shared by masks or counted from 1 in each, and of one piece.

    Args:
        masks: files.
        counts: pixels of each value, mask by mask.
    """
    numbers = [sorted(value for value in own if value != 0) for own in counts]
    numbers = [own for own in numbers if own]
    owners = Counter(value for own in numbers for value in own)
    unshared = len(numbers) > 1 and sum(count == 1 for count in owners.values()) >= UNSHARED * len(owners)
    lengths = {len(own) for own in numbers}
    counted = len(lengths) > 2 and all(own == list(range(1, len(own) + 1)) for own in numbers)
    sizes = [pixels for own in counts for value, pixels in own.items() if value != 0]
    if len(owners) < FEWEST or not (unshared or counted) or np.median(sizes) < SMALLEST:
        return False
    looked_at = readable(masks[:LOOKED_AT], read_labels)
    values = sum(len(set(np.unique(labels).tolist()) - {0}) for labels in looked_at)
    return sum(map(_pieces, looked_at)) <= PIECES * values


def _pieces(labels: NDArray[np.int32]) -> int:
    """Connected parts of one value each, the background's left out."""
    values, places = np.unique(labels, return_inverse=True)
    places = places.reshape(labels.shape) + 1  # 0 would be nothing to find_objects
    whole = np.ones((3,) * labels.ndim)
    boxes = enumerate(ndimage.find_objects(places), start=1)
    return sum(ndimage.label(places[box] == number, whole)[1] for number, box in boxes if values[number - 1] != 0)
