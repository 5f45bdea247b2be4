"""Figures of the training cases of an epoch, counted on the device while it runs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from segkit.task import Task


def score_name(task: Task) -> str:
    """What the Dice of labels is called: over cases instead of pixels it is the F1 score."""
    return "dice" if task.kind == "segmentation" else "f1"


class RunningCounts:
    """Pixels of an epoch, added up on the device: for each foreground class those found rightly, found, and there.

    Figures made of them are pooled over all pixels, so that they cost little; not-a-number where there is nothing to judge.
    """

    def __init__(self, task: Task, counts: Tensor | None = None) -> None:
        """Args: the task, and (3, foreground classes) counts to go on from."""
        self.task, self.counts = task, counts

    def add(self, logits: Tensor, masks: Tensor) -> None:
        if self.task.mode == "multiclass":
            labels, classes = logits.argmax(dim=1), range(1, len(self.task.classes))
            pairs = [(labels == value, masks == value) for value in classes]
        elif self.task.mode == "binary":
            pairs = [(logits[:, 0] > 0, masks == 1)]
        else:
            pairs = [(logits[:, index] > 0, masks[:, index] == 1) for index in range(logits.shape[1])]
        if self.task.ignore_index is not None and self.task.mode != "multilabel":
            judged = masks != self.task.ignore_index
            pairs = [(mine & judged, true) for mine, true in pairs]
        sums = torch.stack([torch.stack([(mine & true).sum(), mine.sum(), true.sum()]) for mine, true in pairs], dim=1)
        self.counts = sums if self.counts is None else self.counts + sums

    def figures(self) -> dict[str, float]:
        """Dice (of a classification: F1), IoU, precision and recall: "dice" over the classes, "dice/NAME" of each."""
        if self.counts is None:
            return {}
        right, found, there = self.counts.double().cpu()
        values = {score_name(self.task): 2 * right / (found + there), "iou": right / (found + there - right)}
        values |= {"precision": right / found, "recall": right / there}
        if self.task.kind == "classification":
            del values["iou"]
        means = {name: float(value.nanmean()) for name, value in values.items()}
        names = self.task.foreground
        each = {
            f"{name}/{label}": float(value[index]) for name, value in values.items() for index, label in enumerate(names)
        }
        return {**means, **each}

    def value(self) -> float:
        """Mean Dice or F1."""
        return self.figures().get(score_name(self.task), math.nan)
