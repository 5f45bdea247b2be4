"""Soft Dice loss, alone, with cross-entropy and with the focal loss.

Dice = (2 sum(p y) + s) / (sum(p) + sum(y) + s), with p the probability and y the truth of a class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_losses.entropy import build_focal
from segkit_losses.plugin import DiceCrossEntropyOptions, DiceFocalOptions, DiceOptions, FocalOptions


class Dice(nn.Module):
    """Logits (B, K, *S) and a mask (see segkit.api) -> 1 - mean Dice, between 0 and 1."""

    def __init__(self, task: Task, smooth: float, batch: bool, background: bool) -> None:
        super().__init__()
        self.task, self.smooth, self.batch, self.background = task, smooth, batch, background

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        probabilities, truth = self._by_class(logits, target)  # both (B, classes, *S)
        over = [0, *range(2, logits.ndim)] if self.batch else list(range(2, logits.ndim))
        overlap = (probabilities * truth).sum(over)
        size = probabilities.sum(over) + truth.sum(over)
        return 1 - ((2 * overlap + self.smooth) / (size + self.smooth)).mean()

    def _by_class(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        ignored = self.task.ignore_index
        valid = torch.ones_like(target, dtype=torch.bool) if ignored is None else target != ignored
        target = target * valid
        if self.task.mode == "multiclass":
            probabilities = logits.softmax(dim=1)
            truth = functional.one_hot(target.long(), logits.shape[1]).movedim(-1, 1).to(logits.dtype)
            first = 0 if self.background else 1
            probabilities, truth = probabilities[:, first:], truth[:, first:]
        else:
            probabilities = logits.sigmoid()
            truth = target.reshape(logits.shape).to(logits.dtype)
        if ignored is None:
            return probabilities, truth
        seen = valid[:, None] if valid.ndim < logits.ndim else valid
        return probabilities * seen, truth * seen


class WeightedSum(nn.Module):
    """first_weight * first + second_weight * second."""

    def __init__(self, first: nn.Module, first_weight: float, second: nn.Module, second_weight: float) -> None:
        super().__init__()
        self.first, self.first_weight = first, first_weight
        self.second, self.second_weight = second, second_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return self.first_weight * self.first(logits, target) + self.second_weight * self.second(logits, target)


def build_dice(task: Task, options: DiceOptions) -> nn.Module:
    return Dice(task, options.smooth, options.batch, options.background)


def build_dice_cross_entropy(task: Task, options: DiceCrossEntropyOptions) -> nn.Module:
    dice = Dice(task, options.smooth, options.batch, options.background)
    return WeightedSum(dice, options.dice, build_focal(task, FocalOptions(gamma=0.0)), options.ce)


def build_dice_focal(task: Task, options: DiceFocalOptions) -> nn.Module:
    dice = Dice(task, options.smooth, options.batch, options.background)
    focal = build_focal(task, FocalOptions(options.gamma, options.alpha))
    return WeightedSum(dice, options.dice, focal, options.focal)
