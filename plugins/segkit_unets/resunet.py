"""Res-UNet as Ehab & Li built it (section 3.2, Fig. 2): the U-Net of unet.py with residual blocks."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_unets.initialise import initialise
from segkit_unets.plugin import VariantOptions
from segkit_unets.unet import UNet, level_widths


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a projected shortcut (Ehab & Li, Fig. 2b).

    The shortcut is always projected, also when the widths agree: the paper's parameter count needs it.

    Shapes: (B, inputs, H, W) -> (B, outputs, H, W).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.convolutions(x) + self.shortcut(x))


def build(task: Task, options: VariantOptions) -> nn.Module:
    model = UNet(task.channels, task.outputs, level_widths(options.width, options.depth), ResidualBlock)
    return initialise(model, options.init)
