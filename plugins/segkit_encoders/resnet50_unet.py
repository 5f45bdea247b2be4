"""U-Net on a pretrained encoder: Baizhan (section 2.3.3) and Müller & Wolf (section IV.B), which differ in options only.

    encoder   stride 2    4    8    16    32
                     |    |    |     |    |
    decoder   1 <----2<---4<---8<---16<---+     each step: up x2, concat [up, skip], two 3x3 convolutions with norm, ReLU
              |
              3x3 or 1x1 -> logits

There is no skip at full size, and none at a stride where the encoder has no maps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_encoders.encoder import Encoder
from segkit_encoders.plugin import ResNet50UNetOptions
from segkit_unets.blocks import ConvBlock, Layers, UpConv

STEPS = (16, 8, 4, 2, 1)  # stride after each step


class EncoderUNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 32."""

    def __init__(self, task: Task, options: ResNet50UNetOptions) -> None:
        super().__init__()
        self.encoder = Encoder(options.encoder, task.channels, options.freeze)
        layers = Layers(bias=options.bias)
        ups, blocks, before = [], [], self.encoder.widths[32]
        for stride, width in zip(STEPS, options.widths, strict=True):
            skip = self.encoder.widths.get(stride, 0)
            convolves = options.upsample == "nearest-conv"
            ups.append(UpConv(before, width, layers) if convolves else nn.Upsample(scale_factor=2.0))
            blocks.append(ConvBlock((width if convolves else before) + skip, width, layers))
            before = width
        self.up, self.decoder = nn.ModuleList(ups), nn.ModuleList(blocks)
        self.head = nn.Conv2d(before, task.outputs, options.head_kernel, padding=options.head_kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.encoder(x)
        x = maps[32]  # (B, widths[32], H / 32, W / 32)
        for stride, up, block in zip(STEPS, self.up, self.decoder, strict=True):
            x = up(x)
            x = block(torch.cat([x, maps[stride]], dim=1) if stride in maps else x)  # (B, width, H / stride, W / stride)
        return self.head(x)  # type: ignore[no-any-return]


def build(task: Task, options: ResNet50UNetOptions) -> nn.Module:
    return EncoderUNet(task, options)
