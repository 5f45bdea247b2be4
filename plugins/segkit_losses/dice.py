"""Soft Dice losses, alone, with cross-entropy and with the focal loss.

Dice = (2 sum(p y) + s) / (sum(p) + sum(y) + s), with p the probability and y the truth of a class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_losses.entropy import build_focal
from segkit_losses.plugin import (
    DiceCrossEntropyOptions,
    DiceFocalOptions,
    DiceOptions,
    FocalOptions,
    GeneralizedDiceOptions,
)
from segkit_losses.soft import axes_of, classes_of, weighted_mean
from segkit_losses.weights import checked_weights


class Dice(nn.Module):
    """Logits (B, K, *S) and a mask (see segkit.api) -> 1 - mean Dice, between 0 and 1.

    Args:
        task: of the data.
        smooth: added above and below the fraction.
        batch: one fraction over the whole batch.
        background: whether it is a class.
        squared: probabilities and truth are squared below the fraction (Milletari 2016, V-Net).
        weights: of the classes that count, in the mean over them.
    """

    def __init__(
        self,
        task: Task,
        smooth: float = 1.0,
        batch: bool = False,
        background: bool = False,
        squared: bool = False,
        weights: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.task, self.smooth, self.batch, self.background = task, smooth, batch, background
        self.squared, self.weights = squared, weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        many = self.task.mode == "multiclass"
        found = classes_of(logits, target, self.task, self.background and many)
        p, y, over = found.probabilities, found.truth, axes_of(logits, self.batch)
        overlap, size = (p * y).sum(over), (p * p if self.squared else p).sum(over) + y.sum(over)
        return 1 - weighted_mean((2 * overlap + self.smooth) / (size + self.smooth), self.weights)


class GeneralizedDice(nn.Module):
    """Logits (B, K, *S) and a mask -> 1 - 2 sum(w overlap) / sum(w size), with w = 1 / (pixels of the class)^2 (Sudre 2017).

    A class that a case does not hold weighs as much as its rarest one that it does.
    """

    def __init__(self, task: Task, smooth: float, batch: bool, background: bool) -> None:
        super().__init__()
        self.task, self.smooth, self.batch, self.background = task, smooth, batch, background

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        found, over = classes_of(logits, target, self.task, self.background), axes_of(logits, self.batch)
        p, y = found.probabilities, found.truth
        held = y.sum(over)
        weights = torch.where(held > 0, held, torch.inf) ** -2
        rarest = weights.amax(dim=-1, keepdim=True)
        weights = torch.where(held > 0, weights, torch.where(rarest > 0, rarest, 1.0))
        overlap = (weights * (p * y).sum(over)).sum(-1)
        size = (weights * (p.sum(over) + held)).sum(-1)
        return (1 - (2 * overlap + self.smooth) / (size + self.smooth)).mean()


class WeightedSum(nn.Module):
    """The sum of losses, each times its factor."""

    def __init__(self, *parts: tuple[float, nn.Module]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in parts]
        self.losses = nn.ModuleList(loss for _, loss in parts)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        values = [factor * loss(logits, target) for factor, loss in zip(self.factors, self.losses, strict=True)]
        return torch.stack(values).sum()


def build_dice(task: Task, options: DiceOptions) -> nn.Module:
    many = task.mode == "multiclass"
    names = task.classes if many and options.background else task.foreground
    weights = checked_weights(options.weights, names)
    return Dice(task, options.smooth, options.batch, options.background, options.squared, weights)


def build_generalized_dice(task: Task, options: GeneralizedDiceOptions) -> nn.Module:
    return GeneralizedDice(task, options.smooth, options.batch, options.background)


def build_dice_cross_entropy(task: Task, options: DiceCrossEntropyOptions) -> nn.Module:
    dice = Dice(task, options.smooth, options.batch, options.background)
    return WeightedSum((options.dice, dice), (options.ce, build_focal(task, FocalOptions(gamma=0.0))))


def build_dice_focal(task: Task, options: DiceFocalOptions) -> nn.Module:
    dice = Dice(task, options.smooth, options.batch, options.background)
    return WeightedSum((options.dice, dice), (options.focal, build_focal(task, FocalOptions(options.gamma, options.alpha))))
