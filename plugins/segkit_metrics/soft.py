"""Metrics of probabilities instead of labels, without a threshold (Mueller & Wolf, eq. 2 to 5).

With truth y and probability q: accuracy = mean(y q + (1 - y)(1 - q)), recall = sum(y q) / sum(y),
precision = sum(y q) / sum(q), IoU = sum(y q) / sum(y + q - y q). A perfect mask with soft edges never reaches 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import CaseResult, Metric, NoOptions, Task

NAN = float("nan")


def count_soft(result: CaseResult) -> dict[str, NDArray[np.float64]]:
    """Of each foreground class: sum(y q), sum(y), sum(q), and the number of pixels."""
    task, seen = result.task, True
    if task.ignore_index is not None and task.mode != "multilabel":
        seen = result.truth != task.ignore_index
    counts = {}
    for place, name in enumerate(task.foreground):
        q = result.probabilities[place + 1 if task.mode == "multiclass" else place].astype(np.float64)
        y = result.truth[place] == 1 if task.mode == "multilabel" else result.truth == place + 1
        q, number = q * seen, y.size if seen is True else np.count_nonzero(seen)
        counts[name] = np.array([q[y].sum(), y.sum(), q.sum(), number], np.float64)
    return counts


def _metric(value: Callable[[float, float, float, float], tuple[float, float]], empty: float = NAN) -> Callable[..., Metric]:
    def build(task: Task, options: NoOptions) -> Metric:
        def finish(counts: Mapping[str, Any]) -> dict[str, float]:
            found = {}
            for name, numbers in counts.items():
                above, below = value(*map(float, numbers))
                found[name] = above / below if below > 0 or below != below else empty  # NaN: masks without probabilities
            return found

        return Metric(count_soft, finish)

    return build


build_accuracy = _metric(lambda hit, true, found, pixels: (pixels - true - found + 2 * hit, pixels))
build_precision = _metric(lambda hit, true, found, pixels: (hit, found))
build_recall = _metric(lambda hit, true, found, pixels: (hit, true))
build_iou = _metric(lambda hit, true, found, pixels: (hit, true + found - hit), empty=1.0)
