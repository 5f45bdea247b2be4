"""3D U-Net in the form that Baizhan's section 2.3.2 describes (after Çiçek 2016).

volume -> [conv, dropout, conv] --------------------------------- concat -> [conv, dropout, conv] -> 1x1x1 -> logits
             | max-pool 2                                           ^ transposed 2x2x2
         [conv, dropout, conv] ---- concat -> [conv, dropout, conv]-+
             | max-pool 2              ^ transposed 2x2x2
             +---> [conv, dropout, conv]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_unets.blocks import ConvBlock, Layers
from segkit_unets.initialise import initialise
from segkit_unets.plugin import UNet3DOptions
from segkit_unets.unet import level_widths


class UNet3D(nn.Module):
    """(B, channels, X, Y, Z) -> logits (B, outputs, X, Y, Z); sides multiples of 2**(levels - 1).

    Args:
        channels, outputs: of the task.
        widths, dropout: feature maps and dropout per level, top to bottom.
        layers: how the convolutions are dressed.
    """

    def __init__(self, channels: int, outputs: int, widths: list[int], dropout: list[float], layers: Layers) -> None:
        super().__init__()
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(
            ConvBlock(before, width, layers, p) for before, width, p in zip(inputs, widths, dropout, strict=True)
        )
        levels = list(zip(widths[1:], widths[:-1], dropout[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(layers.transposed(below, above) for below, above, _ in levels)
        self.decoder = nn.ModuleList(ConvBlock(2 * above, above, layers, p) for _, above, p in levels)
        self.head = nn.Conv3d(widths[0], outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool3d(x, 2) if level else x)  # (B, widths[level], X / 2**level, ...)
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def build(task: Task, options: UNet3DOptions) -> nn.Module:
    widths = level_widths(options.width, options.depth)
    stated = options.dropout or (0.0,)
    dropout = [stated[min(level, len(stated) - 1)] for level in range(len(widths))]
    model = UNet3D(task.channels, task.outputs, widths, dropout, Layers(3, options.norm, options.activation))
    return initialise(model, options.init)
