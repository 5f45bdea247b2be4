"""U-Net as Ehab & Li built it (section 3.1, Fig. 1): the original's shape, with batch norm and nearest up-sampling.

    image -> [conv block] ----------------------------- concat -> [conv block] -> 1x1 -> batch norm -> logits
                 | max-pool 2                               ^ nearest x2
             [conv block] ---------- concat -> [conv block]-+
                 | max-pool 2           ^ nearest x2
                 +---> [conv block] ----+

The text speaks of transposed convolutions; the printed parameter counts prove up-sampling without parameters, a bias in
every convolution and a batch norm after the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_unets.keras import keras_constants
from segkit_unets.plugin import UNetOptions


class ConvBlock(nn.Sequential):
    """Twice: 3x3 convolution, batch norm, ReLU (Fig. 1b). (B, inputs, H, W) -> (B, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 2**depth.

    Args:
        channels, outputs: of the task.
        widths: feature maps per level, top to bottom.
        block: makes the block of a level from its input and output widths.
    """

    def __init__(
        self, channels: int, outputs: int, widths: Sequence[int], block: Callable[[int, int], nn.Module] = ConvBlock
    ) -> None:
        super().__init__()
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(block(below, width) for below, width in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.decoder = nn.ModuleList(block(below + width, width) for below, width in pairs)
        self.head = nn.Sequential(nn.Conv2d(widths[0], outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (B, widths[level], H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def build(task: Task, options: UNetOptions) -> nn.Module:
    return make(task, options, ConvBlock)


def make(task: Task, options: UNetOptions, block: Callable[[int, int], nn.Module]) -> nn.Module:
    """A U-Net of these options from any kind of block."""
    widths = [options.width * 2**level for level in range(options.depth + 1)]
    model = UNet(task.channels, task.outputs, widths, block)
    return keras_constants(model) if options.init == "keras" else model
