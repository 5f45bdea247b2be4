"""Cross-entropy and focal losses from logits, mean over pixels; pixels of the task's ignore_index are left out.

With p the probability given to the truth: cross-entropy is -ln p, focal is -(1 - p)^gamma ln p.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import NoOptions, Task
from segkit_losses.plugin import FocalOptions


class BinaryFocal(nn.Module):
    """Logits (B, K, *S) against (B, *S) or (B, K, *S) of 0 and 1 -> scalar (Ehab & Li, eq. 2). gamma = 0: BCE."""

    def __init__(self, gamma: float = 0.0, alpha: float | None = None, ignore_index: int | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha, self.ignore_index = gamma, alpha, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        target = target[:, None] if target.ndim < logits.ndim else target
        valid = _valid(target, self.ignore_index)
        truth = (target * valid).to(logits.dtype)
        loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if self.gamma:
            loss = loss * torch.exp(self.gamma * functional.logsigmoid(-logits * (2 * truth - 1)))  # (1 - p)^gamma
        if self.alpha is not None:
            loss = loss * (self.alpha * truth + (1 - self.alpha) * (1 - truth))
        return _mean(loss, valid)


class CategoricalFocal(nn.Module):
    """Logits (B, K, *S) against labels (B, *S) -> scalar (Ehab & Li, eq. 3). gamma = 0: cross-entropy."""

    def __init__(self, gamma: float = 0.0, alpha: float | None = None, ignore_index: int | None = None) -> None:
        super().__init__()
        self.gamma, self.alpha, self.ignore_index = gamma, alpha, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = _valid(target, self.ignore_index)
        labels = (target * valid).long()
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]  # (B, *S)
        loss = -log_p
        if self.gamma:
            loss = loss * (1 - log_p.exp()).clamp_min(0) ** self.gamma
        if self.alpha is not None:
            loss = loss * self.alpha
        return _mean(loss, valid)


def build_bce(task: Task, options: NoOptions) -> nn.Module:
    return BinaryFocal(ignore_index=task.ignore_index)


def build_cross_entropy(task: Task, options: NoOptions) -> nn.Module:
    return CategoricalFocal(ignore_index=task.ignore_index)


def build_focal(task: Task, options: FocalOptions) -> nn.Module:
    kind = CategoricalFocal if task.mode == "multiclass" else BinaryFocal
    return kind(options.gamma, options.alpha, task.ignore_index)


def _valid(target: Tensor, ignore_index: int | None) -> Tensor | bool:
    return True if ignore_index is None else target != ignore_index


def _mean(loss: Tensor, valid: Tensor | bool) -> Tensor:
    if isinstance(valid, bool):
        return loss.mean()
    return (loss * valid).sum() / valid.sum().clamp_min(1)
