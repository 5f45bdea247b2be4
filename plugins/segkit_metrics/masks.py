"""The masks of a case, one class after the other: what metrics of objects and of surfaces look at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult

Mask = NDArray[np.bool_]


def masks_of(result: CaseResult) -> Iterator[tuple[str, Mask, Mask]]:
    """Name, truth and prediction (*S) of each foreground class, then of each region of exclusive classes.

    Pixels to be ignored are in neither mask.
    """
    task, truth, labels = result.task, result.truth, result.labels
    if task.mode == "multilabel":
        for place, name in enumerate(task.foreground):
            yield name, truth[place] == 1, labels[place] == 1
        return
    seen = None if task.ignore_index is None else truth != task.ignore_index
    wanted = [(name, (number,)) for number, name in enumerate(task.classes)][1:]
    wanted += [(name, tuple(map(task.classes.index, members))) for name, members in task.regions.items()]
    for name, numbers in wanted:
        found = labels == numbers[0] if len(numbers) == 1 else np.isin(labels, numbers)
        yield name, np.isin(truth, numbers), found if seen is None else found & seen


def box_of(*masks: Mask) -> tuple[slice, ...]:
    """The smallest box that holds all that is in any of the masks; empty where nothing is."""
    whole = masks[0] if len(masks) == 1 else np.logical_or.reduce(masks)
    box = []
    for axis in range(whole.ndim):
        held = np.flatnonzero(whole.any(axis=tuple(other for other in range(whole.ndim) if other != axis)))
        box.append(slice(int(held[0]), int(held[-1]) + 1) if len(held) else slice(0, 0))
    return tuple(box)
