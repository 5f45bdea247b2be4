"""Metrics of the training cases of an epoch, from confusion tables that are counted on the device while it runs.

There is a table for each case, so that the figures of an epoch are put together as those of validation are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from segkit.evaluation.aggregate import CaseScore, aggregate, finish, is_detail
from segkit.evaluation.confusion import count_confusion
from segkit.task import Metric, Task


class RunningCounts:
    """The tables of `count_confusion`, added up over the batches of an epoch without waiting for the device."""

    def __init__(self, task: Task, by_case: Tensor | None = None) -> None:
        """Args: the task, and tables to go on from, one for each case, shaped as `count_confusion` has them."""
        self.task, self.by_case = task, by_case

    @property
    def counts(self) -> Tensor | None:
        """Over all cases."""
        return None if self.by_case is None else self.by_case.sum(dim=0)

    def add(self, logits: Tensor, targets: Tensor, cases: Sequence[int] = ()) -> None:
        """Count a batch.

        Args:
            logits: (B, K, *S).
            targets: (B, *S), or (B, K, *S) for multilabel.
            cases: places of the cases that the items are of; items of one case are added up. Empty: all are of one.
        """
        tables, places = _tables(logits, targets, self.task), tuple(cases) or (0,) * len(logits)
        self.by_case = _with_rows(self.by_case, max(places) + 1, tables)
        self.by_case.index_add_(0, torch.tensor(places, device=tables.device), tables)

    def figures(self, metrics: Mapping[str, Metric], how: str = "pooled") -> dict[str, float]:
        """Values of those metrics that are made of these tables: "dice", "dice/polyp".

        Args:
            metrics: of the run.
            how: one of `segkit.evaluation.aggregate.AGGREGATIONS` but per_group.
        """
        followed = {name: metric for name, metric in metrics.items() if metric.measure is count_confusion}
        if self.by_case is None or not followed:
            return {}
        tables = (self.by_case if how == "per_case" else self.by_case.sum(dim=0, keepdim=True)).cpu().numpy()
        scores = []
        for table in tables[tables.reshape(len(tables), -1).any(axis=1)]:  # a case may not have been drawn
            counts = {next(iter(followed)): {"confusion": table}}
            scores.append(CaseScore("", "", counts, finish(followed, counts)))
        found = aggregate(followed, scores, how, self.task) if scores else {}
        return {name: figure.mean for name, figure in found.items() if not is_detail(name)}


def add_counts(parts: Sequence[Tensor]) -> Tensor | None:
    """The sum of several processes' tables by case; they need not have seen equally many cases."""
    total: Tensor | None = None
    for part in parts:
        total = _with_rows(total, len(part), part)
        total[: len(part)] += part
    return total


def _with_rows(tables: Tensor | None, rows: int, like: Tensor) -> Tensor:
    """Tables of at least so many cases; the new ones are 0."""
    more = rows - (0 if tables is None else len(tables))
    if tables is not None and more <= 0:
        return tables
    new = like.new_zeros((more, *like.shape[1:]))
    return new if tables is None else torch.cat([tables, new])


def _tables(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """(B, classes, classes), or (B, K, 2, 2) for multilabel."""
    if task.mode == "multilabel":
        labels, sides, tables = (logits > 0).long(), 2, task.outputs
        offsets = torch.arange(tables, device=logits.device).reshape(-1, *[1] * (logits.ndim - 2)) * 4
    else:
        labels = _largest(logits) if task.mode == "multiclass" else (logits[:, 0] > 0).long()
        sides, tables, offsets = len(task.classes), 1, torch.zeros((), dtype=torch.long, device=logits.device)
    cells, ignored = tables * sides * sides, task.ignore_index if task.mode != "multilabel" else None
    index = offsets + targets.long() * sides + labels
    if ignored is not None:  # they are counted in a cell of their own
        index = torch.where(targets == ignored, cells, index)
    index = index.reshape(len(logits), -1)
    # a sum by index has a fixed size, so the device need not be asked for it
    counted = torch.zeros((len(logits), cells + 1), dtype=torch.long, device=logits.device)
    counted.scatter_add_(1, index, torch.ones((), dtype=torch.long, device=logits.device).expand(index.shape))
    return counted[:, :cells].reshape((-1, tables, sides, sides) if task.mode == "multilabel" else (-1, sides, sides))


def _largest(logits: Tensor) -> Tensor:
    """`logits.argmax(dim=1)` (the first of equal ones), many times faster on a CPU for a few classes."""
    if logits.device.type != "cpu":
        return logits.argmax(dim=1)
    best, labels = logits[:, 0], torch.zeros(logits[:, 0].shape, dtype=torch.int16)
    for value in range(1, logits.shape[1]):
        labels.masked_fill_(logits[:, value] > best, value)
        best = torch.maximum(best, logits[:, value])
    return labels.long()
