"""How much was found too much and too little, as volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, NoOptions, Task
from segkit_metrics.masks import masks_of

NAN = float("nan")


def count_volumes(result: CaseResult) -> dict[str, NDArray[np.float64]]:
    """Of each class in mm3 (pixels where the spacing is not known): found rightly, in vain, and missed."""
    voxel = math.prod(result.spacing or (1.0,))
    counts = {}
    for name, truth, found in masks_of(result):
        hit, true, given = np.count_nonzero(truth & found), np.count_nonzero(truth), np.count_nonzero(found)
        counts[name] = voxel * np.array([hit, given - hit, true - hit], np.float64)
    return counts


def _metric(value: Callable[[float, float, float], float]) -> Callable[[Task, NoOptions], Metric]:
    def build(task: Task, options: NoOptions) -> Metric:
        def finish(counts: Mapping[str, Any]) -> dict[str, float]:
            return {name: value(*map(float, numbers)) for name, numbers in counts.items()}

        return Metric(count_volumes, finish)

    return build


build_volume_error = _metric(lambda hit, vain, missed: (vain - missed) / (hit + missed) if hit + missed else NAN)
build_false_positive_volume = _metric(lambda hit, vain, missed: vain)
build_false_negative_volume = _metric(lambda hit, vain, missed: missed)
