"""The network. `build(task, options)` is all that segkit asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_plugin_template.plugin import TinyNetOptions


class TinyNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W even."""

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        self.top = _block(channels, width)
        self.bottom = _block(width, 2 * width)
        self.head = nn.Conv2d(3 * width, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        top = self.top(x)  # (B, width, H, W)
        bottom = self.bottom(functional.max_pool2d(top, 2))  # (B, 2 width, H / 2, W / 2)
        up = functional.interpolate(bottom, scale_factor=2.0, mode="nearest")
        return self.head(torch.cat([top, up], dim=1))


def build(task: Task, options: TinyNetOptions) -> nn.Module:
    return TinyNet(task.channels, task.outputs, options.width)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
