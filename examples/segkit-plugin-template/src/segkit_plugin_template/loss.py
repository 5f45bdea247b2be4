"""The loss. `build(task, options)` gives a module from logits and mask to one number."""

from __future__ import annotations

from torch import Tensor, nn

from segkit.api import Task
from segkit_plugin_template.plugin import TverskyOptions


class Tversky(nn.Module):
    """Logits (B, 1, H, W) and a mask (B, H, W) of 0 and 1 -> 1 - TP / (TP + missed FN + (1 - missed) FP)."""

    def __init__(self, missed: float) -> None:
        super().__init__()
        self.missed = missed

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        found, true = logits[:, 0].sigmoid(), target.to(logits.dtype)
        hits = (found * true).sum() + 1.0  # of an empty mask, too, the loss is 0 where nothing is found
        false = self.missed * ((1 - found) * true).sum() + (1 - self.missed) * (found * (1 - true)).sum()
        return 1 - hits / (hits + false)


def build(task: Task, options: TverskyOptions) -> nn.Module:
    return Tversky(options.missed)
