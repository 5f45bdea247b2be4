"""U-Net with a residual encoder (Isensee 2024, "nnU-Net Revisited"), in two and three dimensions.

    image -> [conv, residual blocks] ---------------------- concat -> [conv] -> 1x1 -> logits
                 | first block halves                         ^ transposed
             [residual blocks] ---------- concat -> [conv] ---+----> 1x1 -> coarser logits (deep supervision)
                 | first block halves       ^ transposed
                 +---> [residual blocks] ---+

How often, and from which level on, each axis is halved are options, so that axes of coarse spacing keep their size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_unets.blocks import Layers
from segkit_unets.plugin import USUAL_BLOCKS, USUAL_DEPTH, USUAL_WIDTH, ResEncUNetOptions

Sides = tuple[int, ...]
SUPERVISED = 3  # resolutions that see the loss: coarser ones say little more and cost as much


class ResidualBlock(nn.Module):
    """conv, norm, activation, conv, norm, plus the input; (B, inputs, *S) -> (B, outputs, *S / stride).

    Where the shape changes, the shortcut is an average over the stride and a 1x1 convolution with norm (He 2019, ResNet-D).
    """

    def __init__(self, inputs: int, outputs: int, layers: Layers, kernel: Sides, stride: Sides) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            *layers.normed(inputs, outputs, kernel, stride),
            layers.active(outputs),
            *layers.normed(outputs, outputs, kernel),
        )
        shortcut: list[nn.Module] = [layers.averaged(stride)] if max(stride) > 1 else []
        shortcut += layers.normed(inputs, outputs, 1) if inputs != outputs else []
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = layers.active(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.convolutions(x) + self.shortcut(x))  # type: ignore[no-any-return]


class ResEncUNet(nn.Module):
    """(B, channels, *S) -> logits (B, outputs, *S); sides multiples of the product of the strides along each axis.

    Args:
        channels, outputs: of the task.
        widths, blocks: feature maps and residual blocks per level, top to bottom.
        kernels, strides: of each level, along each axis; the first stride is 1.
        layers: how the convolutions are dressed.
        dropout: probability that a feature map is left out.
    """

    deep_supervision = False

    def __init__(
        self,
        channels: int,
        outputs: int,
        widths: list[int],
        blocks: list[int],
        kernels: list[Sides],
        strides: list[Sides],
        layers: Layers,
        dropout: float,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(*layers.normed(channels, widths[0], kernels[0]), layers.active(widths[0]))
        inputs = [widths[0], *widths[:-1]]
        levels = zip(inputs, widths, blocks, kernels, strides, strict=True)
        self.encoder = nn.ModuleList(_level(*level, layers, dropout) for level in levels)
        pairs = list(zip(widths[1:], widths[:-1], kernels[:-1], strides[1:], strict=True))[::-1]
        self.up = nn.ModuleList(layers.transposed(below, above, stride) for below, above, _, stride in pairs)
        self.decoder = nn.ModuleList(
            nn.Sequential(*layers.normed(2 * above, above, kernel), layers.active(above)) for _, above, kernel, _ in pairs
        )
        seen = [above for _, above, _, _ in pairs[-SUPERVISED:]] or widths  # one level has no decoder
        self.heads = nn.ModuleList(layers.head(width, outputs) for width in seen)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        x, skips = self.stem(x), []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        decoded = [skips.pop()]
        for up, block in zip(self.up, self.decoder, strict=True):
            x = block(torch.cat([up(x), skips.pop()], dim=1))
            decoded.append(x)
        if not (self.training and self.deep_supervision):
            return self.heads[-1](decoded[-1])  # type: ignore[no-any-return]
        return [head(maps) for head, maps in zip(self.heads, decoded[-len(self.heads) :], strict=True)][::-1]


def _level(
    inputs: int, outputs: int, blocks: int, kernel: Sides, stride: Sides, layers: Layers, dropout: float
) -> nn.Sequential:
    whole = (1,) * len(stride)
    first = ResidualBlock(inputs, outputs, layers, kernel, stride)
    more = [ResidualBlock(outputs, outputs, layers, kernel, whole) for _ in range(blocks - 1)]
    return nn.Sequential(first, *more, *([layers.dropped(dropout)] if dropout else []))


def level_shapes(depth: Sides, flat: Sides) -> tuple[list[Sides], list[Sides]]:
    """Kernels and strides of each level, along each axis.

    Args:
        depth: how often each axis is halved.
        flat: its uppermost levels without kernel and stride.

    >>> level_shapes((2, 1), (0, 1))
    ([(3, 1), (3, 3), (3, 3)], [(1, 1), (2, 1), (2, 2)])
    """
    levels = max(halved + above for halved, above in zip(depth, flat, strict=True)) + 1
    kernels = [tuple(1 if level < above else 3 for above in flat) for level in range(levels)]
    strides = [
        tuple(2 if above < level <= above + halved else 1 for halved, above in zip(depth, flat, strict=True))
        for level in range(levels)
    ]
    return kernels, strides


def build(task: Task, options: ResEncUNetOptions) -> nn.Module:
    depth, flat = (
        by_axis if len(by_axis) > 1 else by_axis * task.dims for by_axis in (options.depth or (USUAL_DEPTH,), options.flat)
    )
    kernels, strides = level_shapes(depth, flat)
    width, by_level = options.width or USUAL_WIDTH, options.blocks or USUAL_BLOCKS
    widths = [min(options.max_width, width * 2**level) for level in range(len(strides))]
    blocks = [by_level[min(level, len(by_level) - 1)] for level in range(len(strides))]
    layers = Layers(task.dims, options.norm, options.activation)
    model = ResEncUNet(task.channels, task.outputs, widths, blocks, kernels, strides, layers, options.dropout)
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            nn.init.kaiming_normal_(module.weight, a=0.01)  # nnU-Net's, for leaky ReLU
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
