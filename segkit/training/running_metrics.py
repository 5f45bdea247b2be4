"""Metrics of the training cases of an epoch, from a confusion table that is counted on the device while it runs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from segkit.evaluation.aggregate import CaseScore, aggregate, finish, is_detail
from segkit.evaluation.confusion import count_confusion
from segkit.task import Metric, Task


class RunningCounts:
    """The table of `count_confusion`, added up over the batches of an epoch without waiting for the device."""

    def __init__(self, task: Task, counts: Tensor | None = None) -> None:
        """Args: the task, and counts to go on from, shaped as `count_confusion` has them."""
        self.task, self.counts = task, counts

    def add(self, logits: Tensor, targets: Tensor) -> None:
        """Count a batch: logits (B, K, *S); targets (B, *S), or (B, K, *S) for multilabel."""
        table = _table(logits, targets, self.task)
        self.counts = table if self.counts is None else self.counts + table

    def figures(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Values of those metrics that are made of this table, pooled over all pixels: "dice", "dice/polyp"."""
        followed = {name: metric for name, metric in metrics.items() if metric.measure is count_confusion}
        if self.counts is None or not followed:
            return {}
        counts = {next(iter(followed)): {"confusion": self.counts.cpu().numpy()}}
        score = CaseScore("", "", counts, finish(followed, counts))
        pooled = aggregate(followed, [score], "pooled", self.task)
        return {name: figure.mean for name, figure in pooled.items() if not is_detail(name)}


def _table(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    if task.mode == "multilabel":
        labels, sides, tables = (logits > 0).long(), 2, task.outputs
        offsets = torch.arange(tables, device=logits.device).reshape(-1, *[1] * (logits.ndim - 2)) * 4
    else:
        labels = logits.argmax(dim=1) if task.mode == "multiclass" else (logits[:, 0] > 0).long()
        sides, tables, offsets = len(task.classes), 1, torch.zeros((), dtype=torch.long, device=logits.device)
    cells, ignored = tables * sides * sides, task.ignore_index if task.mode != "multilabel" else None
    index = offsets + targets.long() * sides + labels
    if ignored is not None:  # they are counted in a cell of their own
        index = torch.where(targets == ignored, cells, index)
    # a sum by index has a fixed size, so the device need not be asked for it
    table = torch.zeros(cells + 1, dtype=torch.long, device=logits.device)
    table.scatter_add_(0, index.flatten(), torch.ones((), dtype=torch.long, device=logits.device).expand(index.numel()))
    return table[:cells].reshape((tables, sides, sides) if task.mode == "multilabel" else (sides, sides))
