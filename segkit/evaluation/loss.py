"""The loss of a case as training sees it: an image or a volume is a batch of one, slices of a volume make batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segkit.config.resolve import Choice
from segkit.data.preprocess import to_slices
from segkit.task import CaseResult, Metric, Task

if TYPE_CHECKING:
    from torch import Tensor

TINY, ALMOST = 1e-38, np.float32(1 - 2**-24)  # float32 next to 0 and 1
Criterion = Callable[["Tensor", "Tensor"], "Tensor"]


def loss_of(
    criterion: Criterion, logits: NDArray[np.float32], truth: NDArray[Any], slice_axis: int | None, batch: int, kind: str
) -> tuple[float, int]:
    """The mean loss over the items of a case, and how many these are: 1, or its slices.

    Args:
        criterion: (B, K, *S) logits and (B, *S) targets, (B, K, *S) for multilabel -> one number.
        logits: (K, *S); of a classification (K,), or (K, slices).
        truth: (*S) or, for multilabel, (K, *S).
        slice_axis: of a volume that the network sees in slices.
        batch: slices at a time.
        kind: of the task.
    """
    import torch

    batch_logits, batch_truth = logits[None], truth[None]
    if slice_axis is not None:
        axes = 3 if kind == "segmentation" else 1  # of a classification (K, slices) and (slices,)
        along = slice_axis if axes == 3 else 0
        batch_logits, batch_truth = to_slices(logits, along, lead=1), to_slices(truth, along, lead=truth.ndim - axes)
    items, total = len(batch_logits), 0.0
    for start in range(0, items, batch):
        part = slice(start, start + batch)
        with torch.inference_mode():
            value = criterion(torch.tensor(batch_logits[part]), torch.tensor(batch_truth[part]))
        total += float(value) * len(batch_logits[part])
    return total / items, items


def loss_metric(choice: Choice, task: Task, batch: int) -> Metric:
    """A loss as a metric: of a case, and over many the mean over all images (or slices).

    Logits are those that the probabilities came from: their logarithm, odds where there is one for each class.

    Args:
        choice: the loss and its options.
        task: what the model learned.
        batch: slices at a time.
    """
    criterion = choice.make(task)

    def measure(result: CaseResult) -> dict[str, NDArray[np.float64]]:
        probabilities = result.probabilities
        logits = np.log(np.maximum(probabilities, TINY))
        if task.mode != "multiclass":
            logits = logits - np.log1p(-np.minimum(probabilities, ALMOST))
        truth = result.truth.astype(np.int64)
        loss, items = loss_of(criterion, logits, truth, result.slice_axis, batch, task.kind)
        return {"sum": np.array([loss * items, items])}

    return Metric(measure, lambda counts: {"": float(counts["sum"][0] / counts["sum"][1])})
