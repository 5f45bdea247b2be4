"""Semantic FPN as Vaona built it (sections 6 and 6.3; Kirillov 2019 in spirit: here levels are joined, not added).

encoder   C2 (stride 4)   C3 (8)   C4 (16)   C5 (32)
lateral      | 1x1          |        |         |            to one width
top-down     + <- x2 ------ + <- x2 -+ <- x2 --+            nearest, added
smooth      3x3            3x3      3x3       3x3
             |            nearest to C2's grid
             +---- concat ----------------------> fuse -> dropout -> 1x1 -> bilinear x4 -> logits
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_encoders.encoder import Encoder
from segkit_encoders.plugin import SemanticFPNOptions

LEVELS = (4, 8, 16, 32)


class SemanticFPN(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 32."""

    def __init__(self, task: Task, options: SemanticFPNOptions) -> None:
        super().__init__()
        width = options.width
        self.encoder = Encoder(options.encoder, task.channels, options.freeze)
        self.lateral = nn.ModuleList(nn.Conv2d(self.encoder.widths[stride], width, 1) for stride in LEVELS)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in LEVELS)
        kernels = (1,) if options.fuse == "1x1" else (3, 3)
        inputs = (len(LEVELS) * width, width)
        self.fuse = nn.Sequential(
            *(layer for before, kernel in zip(inputs, kernels, strict=False) for layer in _fusion(before, width, kernel))
        )
        self.head = nn.Sequential(nn.Dropout2d(options.dropout), nn.Conv2d(width, task.outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.encoder(x)
        levels = [lateral(maps[stride]) for stride, lateral in zip(LEVELS, self.lateral, strict=True)]
        for finer in (2, 1, 0):
            levels[finer] = levels[finer] + functional.interpolate(levels[finer + 1], scale_factor=2.0, mode="nearest")
        levels = [
            smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)
        ]  # each (B, width, H / stride, ...)
        grid = levels[0].shape[2:]
        joined = torch.cat(
            [levels[0], *(functional.interpolate(level, grid, mode="nearest") for level in levels[1:])], dim=1
        )
        logits = self.head(self.fuse(joined))  # (B, outputs, H / 4, W / 4)
        return functional.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=False)


def _fusion(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def build(task: Task, options: SemanticFPNOptions) -> nn.Module:
    return SemanticFPN(task, options)
