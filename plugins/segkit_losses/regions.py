"""A loss over the regions of a task, such as whole tumour, tumour core and enhancing tumour, in place of its classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_losses.plugin import RegionOptions, SumOptions
from segkit_losses.total import build_sum


class RegionLoss(nn.Module):
    """Logits (B, K, *S) of exclusive classes and a mask -> a loss of overlapping regions, each one layer.

    The logit of a region is that of the sum of its classes' probabilities, log(p / (1 - p)): the difference of the
    logsumexp of its own logits and of all others.
    """

    def __init__(self, criterion: nn.Module, members: list[list[int]], ignore_index: int | None) -> None:
        super().__init__()
        self.criterion, self.members, self.ignore_index = criterion, members, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        layers, truths = [], []
        for own in self.members:
            others = [place for place in range(logits.shape[1]) if place not in own]
            layers.append(logits[:, own].logsumexp(1) - logits[:, others].logsumexp(1))
            truth = torch.isin(target, torch.tensor(own, device=target.device)).to(target.dtype)
            if self.ignore_index is not None:
                truth = torch.where(target == self.ignore_index, target, truth)
            truths.append(truth)
        loss: Tensor = self.criterion(torch.stack(layers, 1), torch.stack(truths, 1))
        return loss


def build_regions(task: Task, options: RegionOptions) -> nn.Module:
    """Raises UsageError where `of` is no loss of overlapping layers."""
    regions = dict(task.regions) or {name: (name,) for name in task.foreground}
    layers = Task(task.channels, ("background", *regions), task.dims, "multilabel", ignore_index=task.ignore_index)
    criterion = build_sum(layers, SumOptions(options.of))
    members = [[task.classes.index(name) for name in names] for names in regions.values()]
    return RegionLoss(criterion, members, task.ignore_index)
