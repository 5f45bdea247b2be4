"""Losses that weigh what was missed against what was found in vain.

TI = (TP + s) / (TP + alpha FP + beta FN + s), from soft counts of each class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_losses.plugin import ComboOptions, FocalTverskyOptions, TverskyOptions, UnifiedFocalOptions
from segkit_losses.soft import Classes, classes_of, soft_counts, weighted_mean
from segkit_losses.weights import checked_weights

LEAST = 1e-7  # of 1 - TI and of a probability: the power's slope and the logarithm stay finite


class Tversky(nn.Module):
    """Logits (B, K, *S) and a mask -> mean over the classes of (1 - TI)^gamma (Salehi 2017; gamma: Abraham 2019).

    Args:
        task: of the data.
        options: of the fraction.
        gamma: the power; 1 is the Tversky loss.
    """

    def __init__(self, task: Task, options: TverskyOptions | FocalTverskyOptions, gamma: float = 1.0) -> None:
        super().__init__()
        self.task, self.options, self.gamma = task, options, gamma
        self.background = options.background and task.mode == "multiclass"
        self.weights = checked_weights(options.weights, task.classes if self.background else task.foreground)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        own = self.options
        found = classes_of(logits, target, self.task, self.background)
        index = tversky_index(found, own.alpha, own.beta, own.smooth, own.batch)
        return weighted_mean(_power(1 - index, self.gamma), self.weights)


def tversky_index(found: Classes, alpha: float, beta: float, smooth: float, batch: bool) -> Tensor:
    """(K,), or (B, K) case by case, between 0 and 1."""
    hit, vain, missed = soft_counts(found, batch)
    return (hit + smooth) / (hit + alpha * vain + beta * missed + smooth)


class Combo(nn.Module):
    """Logits (B, K, *S) and a mask -> a CE' - (1 - a) Dice, from -(1 - a) (Taghanaki 2019, eq. 3).

    CE' = -mean(b y ln p + (1 - b) (1 - y) ln(1 - p)) over the pixels of all classes that count.
    """

    def __init__(self, task: Task, options: ComboOptions) -> None:
        super().__init__()
        self.task, self.options = task, options

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        own, found = self.options, classes_of(logits, target, self.task)
        p, y = found.probabilities, found.truth
        inside, outside = y * p.clamp_min(LEAST).log(), (1 - y) * (1 - p).clamp_min(LEAST).log()  # ignored ones are ln 1
        entropy = -(own.beta * inside + (1 - own.beta) * outside).sum() / found.count
        dice = tversky_index(found, 0.5, 0.5, own.smooth / 2, own.batch)
        return own.alpha * entropy - (1 - own.alpha) * dice.mean()


class UnifiedFocal(nn.Module):
    """Logits (B, K, *S) and a mask -> w focal + (1 - w) focal Tversky (Yeung 2022, from its code; d: delta, g: gamma).

    Asymmetric: the foreground's cross-entropy is not played down, and its Tversky term alone is raised to 1 - g. Symmetric:
    both are. The paper prints other exponents than its code; at gamma = .5 they are the same.
    """

    def __init__(self, task: Task, options: UnifiedFocalOptions) -> None:
        super().__init__()
        self.task, self.options = task, options

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.task.mode != "multilabel":
            return self._of(classes_of(logits, target, self.task, background=True))
        layers = classes_of(logits, target, self.task)
        return torch.stack([self._of(_with_background(layers, place)) for place in range(logits.shape[1])]).mean()

    def _of(self, found: Classes) -> Tensor:
        own, p, y = self.options, found.probabilities, found.truth
        entropy = -y * p.clamp_min(LEAST).log()
        eased = entropy * (1 - p).clamp_min(LEAST) ** own.gamma
        inside = entropy if own.asymmetric else eased
        each = own.delta * inside[:, 1:].sum() + (1 - own.delta) * eased[:, 0].sum()
        focal = each / (found.count / p.shape[1])
        lost = 1 - tversky_index(found, 1 - own.delta, own.delta, LEAST, own.batch)
        outside = lost[..., :1] if own.asymmetric else _power(lost[..., :1], 1 - own.gamma)
        return own.weight * focal + (1 - own.weight) * torch.cat([outside, _power(lost[..., 1:], 1 - own.gamma)], -1).mean()


def _with_background(layers: Classes, place: int) -> Classes:
    """One layer of a multilabel mask, behind a background of its own."""
    p, y = layers.probabilities[:, place], layers.truth[:, place]
    if layers.valid is None:
        return Classes(torch.stack([1 - p, p], 1), torch.stack([1 - y, y], 1))
    seen = torch.stack([layers.valid[:, place]] * 2, 1)
    return Classes(torch.stack([1 - p, p], 1) * seen, torch.stack([1 - y, y], 1) * seen, seen)


def build_tversky(task: Task, options: TverskyOptions) -> nn.Module:
    return Tversky(task, options)


def build_focal_tversky(task: Task, options: FocalTverskyOptions) -> nn.Module:
    return Tversky(task, options, options.gamma)


def build_combo(task: Task, options: ComboOptions) -> nn.Module:
    return Combo(task, options)


def build_unified_focal(task: Task, options: UnifiedFocalOptions) -> nn.Module:
    return UnifiedFocal(task, options)


def _power(values: Tensor, exponent: float) -> Tensor:
    return values if exponent == 1 else values.clamp_min(LEAST) ** exponent
