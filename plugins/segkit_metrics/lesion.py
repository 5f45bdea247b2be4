"""Objects found and missed: connected components of the truth against those of the prediction (Vaona, section 4).

An object of the truth is found, and one of the prediction is right, where the other mask covers enough of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.api import CaseResult, Metric, Task
from segkit_metrics.masks import Mask, box_of, masks_of
from segkit_metrics.plugin import LesionOptions

NAN = float("nan")


def count_objects(mask: Mask, other: Mask, options: LesionOptions) -> tuple[int, int]:
    """How many objects a mask has, and how many of them the other mask covers enough of."""
    box = box_of(mask)
    mask, other = mask[box], other[box]
    if not mask.size:
        return 0, 0
    structure = ndimage.generate_binary_structure(mask.ndim, 1 if options.connectivity == "faces" else mask.ndim)
    numbered, number = ndimage.label(mask, structure)
    sizes = np.bincount(numbered.ravel(), minlength=number + 1)[1:]
    covered = np.bincount(numbered[other], minlength=number + 1)[1:]
    counted = sizes >= options.smallest
    enough = (covered > 0) & (covered >= options.overlap * sizes)
    return int(counted.sum()), int((counted & enough).sum())


@lru_cache
def _measure(options: LesionOptions) -> Callable[[CaseResult], dict[str, NDArray[np.int64]]]:
    """One function for all metrics of the same options, so that objects are counted once."""

    def measure(result: CaseResult) -> dict[str, NDArray[np.int64]]:
        return {
            name: np.array([*count_objects(truth, found, options), *count_objects(found, truth, options)])
            for name, truth, found in masks_of(result)
        }

    return measure


def _metric(options: LesionOptions, value: Callable[[int, int, int, int], float]) -> Metric:
    """A value of objects, those found, predicted objects, and those that are right."""

    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        return {name: value(*map(int, numbers)) for name, numbers in counts.items()}

    return Metric(_measure(options), finish)


def build_recall(task: Task, options: LesionOptions) -> Metric:
    """Objects found / objects; undefined where there are none."""
    return _metric(options, lambda objects, hit, found, right: hit / objects if objects else NAN)


def build_precision(task: Task, options: LesionOptions) -> Metric:
    """Right predicted objects / predicted objects; undefined where nothing was predicted."""
    return _metric(options, lambda objects, hit, found, right: right / found if found else NAN)


def build_f1(task: Task, options: LesionOptions) -> Metric:
    """2 found / (2 found + missed + false alarms); undefined where there are no objects in either mask."""

    def value(objects: int, hit: int, found: int, right: int) -> float:
        below = hit + objects + found - right
        return 2 * hit / below if below else NAN

    return _metric(options, value)


def build_false_alarms(task: Task, options: LesionOptions) -> Metric:
    """Predicted objects that are not right: a number for each case, whose mean is that per case."""
    return _metric(options, lambda objects, hit, found, right: float(found - right))
