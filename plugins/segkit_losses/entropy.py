"""Cross-entropy and focal losses from logits, mean over pixels; pixels of the task's ignore_index are left out.

With p the probability given to the truth: cross-entropy is -ln p, focal is -(1 - p)^gamma ln p.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_losses.plugin import EntropyOptions, FocalOptions
from segkit_losses.weights import checked_weights


class BinaryFocal(nn.Module):
    """Logits (B, K, *S) against (B, *S) or (B, K, *S) of 0 and 1 -> scalar (Ehab & Li, eq. 2). gamma = 0: BCE.

    Args:
        gamma: how strongly easy pixels are played down.
        alpha: weight of the foreground, 1 - alpha of the background.
        weights: of background and foreground; of layers one for each. The mean is weighted by them.
        ignore_index: of the task.
    """

    def __init__(
        self,
        gamma: float = 0.0,
        alpha: float | None = None,
        weights: tuple[float, ...] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.gamma, self.alpha, self.weights, self.ignore_index = gamma, alpha, weights, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        layers = target.ndim == logits.ndim
        target = target if layers else target[:, None]
        valid = _valid(target, self.ignore_index)
        truth = (target * valid).to(logits.dtype)
        loss = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if self.gamma:
            loss = loss * torch.exp(self.gamma * functional.logsigmoid(-logits * (2 * truth - 1)))  # (1 - p)^gamma
        if self.alpha is not None:
            loss = loss * (self.alpha * truth + (1 - self.alpha) * (1 - truth))
        if self.weights is None:
            return _mean(loss, valid)
        factors = loss.new_tensor(self.weights)
        each = factors.reshape(-1, *[1] * (loss.ndim - 2)) if layers else factors[truth.long()]
        return _weighted(loss, each.expand_as(loss), valid)


class CategoricalFocal(nn.Module):
    """Logits (B, K, *S) against labels (B, *S) -> scalar (Ehab & Li, eq. 3). gamma = 0: cross-entropy.

    Args:
        gamma: how strongly easy pixels are played down.
        alpha: the factor of each class; the mean is not weighted by it.
        weights: of each class. The mean is weighted by them, as in torch's cross_entropy.
        ignore_index: of the task.
    """

    def __init__(
        self,
        gamma: float = 0.0,
        alpha: tuple[float, ...] | None = None,
        weights: tuple[float, ...] | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.gamma, self.alpha, self.weights, self.ignore_index = gamma, alpha, weights, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        valid = _valid(target, self.ignore_index)
        labels = (target * valid).long()
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]  # (B, *S)
        loss = -log_p
        if self.gamma:
            loss = loss * (1 - log_p.exp()).clamp_min(0) ** self.gamma
        if self.alpha is not None:
            loss = loss * loss.new_tensor(self.alpha)[labels]
        if self.weights is None:
            return _mean(loss, valid)
        return _weighted(loss, loss.new_tensor(self.weights)[labels], valid)


def build_bce(task: Task, options: EntropyOptions) -> nn.Module:
    return BinaryFocal(weights=_weights(task, options), ignore_index=task.ignore_index)


def build_cross_entropy(task: Task, options: EntropyOptions) -> nn.Module:
    return CategoricalFocal(weights=_weights(task, options), ignore_index=task.ignore_index)


def build_focal(task: Task, options: FocalOptions) -> nn.Module:
    alpha, gamma, weights = options.alpha, options.gamma, _weights(task, options)
    if task.mode != "multiclass":
        return BinaryFocal(gamma, alpha, weights, task.ignore_index)
    by_class = None
    if alpha is not None:
        first = alpha if options.alpha_as == "keras" else 1 - alpha
        by_class = (first, *[alpha] * (len(task.classes) - 1))
    return CategoricalFocal(gamma, by_class, weights, task.ignore_index)


def _weights(task: Task, options: EntropyOptions | FocalOptions) -> tuple[float, ...] | None:
    classes = task.foreground if task.mode == "multilabel" else task.classes
    return checked_weights(options.weights, classes, options.balanced)


def _valid(target: Tensor, ignore_index: int | None) -> Tensor | bool:
    return True if ignore_index is None else target != ignore_index


def _mean(loss: Tensor, valid: Tensor | bool) -> Tensor:
    if isinstance(valid, bool):
        return loss.mean()
    return (loss * valid).sum() / valid.sum().clamp_min(1)


def _weighted(loss: Tensor, weights: Tensor, valid: Tensor | bool) -> Tensor:
    """The weighted mean; 0 where nothing that counts is there."""
    weights = weights * valid
    return (loss * weights).sum() / weights.sum().clamp_min(torch.finfo(loss.dtype).tiny)
