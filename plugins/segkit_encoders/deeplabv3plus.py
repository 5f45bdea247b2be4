"""DeepLabV3+ (Baizhan's results, after Chen 2018, Fig. 2), in the form that segmentation-models-pytorch made common.

encoder, deepest maps at stride 16 ---> pyramid pooling -> separable 3x3 -> bilinear x4 -+
     | stride 4                                                                       concat -> separable 3x3
     +-------------------------------> 1x1 to 48 -----------------------------------------+         |
                                                                      logits <- bilinear x4 <- 1x1 -+

The rates are 6, 12, 18, as Chen has them at stride 16; 12, 24, 36 are for stride 8. A rate must be smaller than the map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_encoders.encoder import Encoder
from segkit_encoders.plugin import DEEPLAB_STRIDE, DeepLabV3PlusOptions

SKIP = 48  # maps of the skip, few so that they do not outweigh the encoder's (Chen 2018, section 4.1)


class DeepLabV3Plus(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 16."""

    def __init__(self, task: Task, options: DeepLabV3PlusOptions) -> None:
        super().__init__()
        width = options.width
        self.encoder = Encoder(options.encoder, task.channels, options.freeze, output_stride=DEEPLAB_STRIDE)
        self.pooling = PyramidPooling(self.encoder.widths[32], width, options.dilations, options.dropout)
        self.refine = _normed(*_separable(width, width))
        self.skip = _normed(nn.Conv2d(self.encoder.widths[4], SKIP, 1, bias=False))
        self.fuse = _normed(*_separable(width + SKIP, width))
        self.head = nn.Conv2d(width, task.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.encoder(x)
        deep = _enlarged(self.refine(self.pooling(maps[32])))  # (B, width, H / 4, W / 4)
        return _enlarged(self.head(self.fuse(torch.cat([deep, self.skip(maps[4])], dim=1))))


class PyramidPooling(nn.Module):
    """Atrous spatial pyramid pooling (Chen 2017): (B, inputs, h, w) -> (B, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, dilations: tuple[int, int, int], dropout: float) -> None:
        super().__init__()
        self.point = _normed(nn.Conv2d(inputs, outputs, 1, bias=False))
        self.dilated = nn.ModuleList(_normed(*_separable(inputs, outputs, dilation)) for dilation in dilations)
        self.image = _normed(nn.Conv2d(inputs, outputs, 1, bias=False))
        self.project = nn.Sequential(_normed(nn.Conv2d(5 * outputs, outputs, 1, bias=False)), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.project(torch.cat([self.point(x), *(layer(x) for layer in self.dilated), image], dim=1))  # type: ignore[no-any-return]


def _separable(inputs: int, outputs: int, dilation: int = 1) -> list[nn.Conv2d]:
    """A 3x3 convolution map by map, then a 1x1 across maps."""
    return [
        nn.Conv2d(inputs, inputs, 3, padding=dilation, dilation=dilation, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=False),
    ]


def _normed(*convolutions: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(*convolutions, nn.BatchNorm2d(convolutions[-1].out_channels), nn.ReLU(inplace=True))


def _enlarged(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=4.0, mode="bilinear", align_corners=True)


def build(task: Task, options: DeepLabV3PlusOptions) -> nn.Module:
    return DeepLabV3Plus(task, options)
