"""U-Nets whose skips pass attention gates: Ehab & Li (section 3.3, Fig. 3), Baizhan, after Oktay 2018.

    encoder as in unet.py; then at each level, from the bottom:

    skip ------------------------> [attention] ---- concat -> [block] -> to the level above
    below -> 1x1, norm, ReLU (gate) ---^               ^
    below -> nearest x2 -------------------------------+

With conv blocks this is the attention U-Net, with residual blocks the attention Res-UNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_unets.blocks import ConvBlock, Layers
from segkit_unets.initialise import initialise
from segkit_unets.plugin import VariantOptions
from segkit_unets.resunet import ResidualBlock
from segkit_unets.unet import Block, level_widths


class Attention(nn.Module):
    """Weighs a skip (B, C, H, W) by what a gate (B, C, H/2, W/2) makes of it: (B, C, H, W).

    The paper's counts prove a 3x3 transposed convolution of stride 1 on the gate and a batch norm at the end.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, channels, 2, 2)
        self.phi = nn.Conv2d(channels, channels, 1)
        self.spread = nn.ConvTranspose2d(channels, channels, 3, 1, 1)
        self.psi = nn.Conv2d(channels, 1, 1)
        self.result = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        joint = functional.relu(self.spread(self.phi(gate)) + self.theta(skip))  # (B, C, H/2, W/2)
        weight = functional.interpolate(self.psi(joint).sigmoid(), scale_factor=2.0, mode="nearest")  # (B, 1, H, W)
        return self.result(weight * skip)  # type: ignore[no-any-return]


class AttentionUNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 2**(levels - 1).

    Args:
        channels, outputs: of the task.
        widths: feature maps per level, top to bottom.
        block: makes the block of a level from its input and output widths.
    """

    def __init__(self, channels: int, outputs: int, widths: list[int], block: Block) -> None:
        super().__init__()
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(block(before, width) for before, width in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, above, 1), nn.BatchNorm2d(above), nn.ReLU(inplace=True)) for below, above in pairs
        )
        self.attention = nn.ModuleList(Attention(above) for _, above in pairs)
        self.decoder = nn.ModuleList(block(below + above, above) for below, above in pairs)
        self.head = nn.Sequential(nn.Conv2d(widths[0], outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (B, widths[level], H / 2**level, W / 2**level)
            skips.append(x)
        skips.pop()
        for gate, attention, block in zip(self.gates, self.attention, self.decoder, strict=True):
            attended = attention(skips.pop(), gate(x))
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), attended], dim=1))
        return self.head(x)  # type: ignore[no-any-return]


def build(task: Task, options: VariantOptions) -> nn.Module:
    return _make(task, options, lambda inputs, outputs: ConvBlock(inputs, outputs, Layers()))


def build_residual(task: Task, options: VariantOptions) -> nn.Module:
    return _make(task, options, ResidualBlock)


def _make(task: Task, options: VariantOptions, block: Block) -> nn.Module:
    model = AttentionUNet(task.channels, task.outputs, level_widths(options.width, options.depth), block)
    return initialise(model, options.init)
