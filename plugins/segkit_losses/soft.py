"""What losses on regions share: probabilities and truth of each class, and the soft counts of pixels made of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from segkit.api import Task


@dataclass(frozen=True)
class Classes:
    """Probabilities and truth, both (B, K, *S); 0 where a pixel is to be ignored.

    Args:
        probabilities: between 0 and 1.
        truth: 0 or 1.
        valid: (B, K, *S), which values count; None: all.
    """

    probabilities: Tensor
    truth: Tensor
    valid: Tensor | None = None

    @property
    def count(self) -> Tensor:
        """How many values count, at least 1."""
        every = self.probabilities.new_tensor(self.probabilities.numel())
        return (every if self.valid is None else self.valid.sum()).clamp_min(1)


def classes_of(logits: Tensor, target: Tensor, task: Task, background: bool = False) -> Classes:
    """Each class of a prediction and its mask.

    Args:
        logits: (B, K, *S).
        target: (B, *S), or (B, K, *S) for multilabel.
        task: of both.
        background: multiclass: whether the background is a class; of a binary mask it is put in front as one.
    """
    ignored = task.ignore_index
    valid = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != ignored
    target = target * valid
    if task.mode == "multiclass":
        probabilities = logits.softmax(dim=1)
        truth = functional.one_hot(target.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
        if not background:
            probabilities, truth = probabilities[:, 1:], truth[:, 1:]
    else:
        probabilities = logits.sigmoid()
        truth = target.reshape(logits.shape).to(logits.dtype)
        if background and task.mode == "binary":
            probabilities = torch.cat([(-logits).sigmoid(), probabilities], dim=1)
            truth = torch.cat([1 - truth, truth], dim=1)
    if ignored is None:
        return Classes(probabilities, truth)
    seen = (valid[:, None] if valid.ndim < logits.ndim else valid).expand_as(probabilities)
    return Classes(probabilities * seen, truth * seen, seen)


def axes_of(logits: Tensor, batch: bool) -> list[int]:
    """The axes that a count sums over: all but the class, or all but case and class."""
    return [0, *range(2, logits.ndim)] if batch else list(range(2, logits.ndim))


def soft_counts(found: Classes, batch: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Soft true positives, false positives and false negatives of each class: (K,), or (B, K) case by case."""
    p, y = found.probabilities, found.truth
    over = axes_of(p, batch)
    overlap = (p * y).sum(over)
    return overlap, p.sum(over) - overlap, y.sum(over) - overlap


def weighted_mean(values: Tensor, weights: tuple[float, ...] | None) -> Tensor:
    """The mean of (..., K), over the classes with weights that are divided by their sum."""
    if weights is None:
        return values.mean()
    factors = values.new_tensor(weights)
    return (values * factors).sum(-1).mean() / factors.sum()
