"""The classical ResNet for masks that Baizhan sets against the quantum one (section 2.3.7): no skips.

encoder, stride 32 -> 5 x [nearest x2, 3x3 convolution, norm, ReLU] -> 1x1 -> logits
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from segkit.api import Task
from segkit_encoders.encoder import Encoder
from segkit_encoders.plugin import ResNetSegOptions

__all__ = ["ResNetSeg"]


class Options(Protocol):
    """What it asks of its options; another model may have more."""

    @property
    def encoder(self) -> str: ...
    @property
    def freeze(self) -> bool: ...
    @property
    def widths(self) -> tuple[int, ...]: ...


class ResNetSeg(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 32.

    Args:
        task, options: as everywhere.
        bottleneck: makes what the deepest maps pass through, from their width; nothing here.
    """

    def __init__(
        self, task: Task, options: Options, bottleneck: Callable[[int], nn.Module] = lambda width: nn.Identity()
    ) -> None:
        super().__init__()
        self.encoder = Encoder(options.encoder, task.channels, options.freeze)
        self.bottleneck = bottleneck(self.encoder.widths[32])
        before = (self.encoder.widths[32], *options.widths[:-1])
        self.decoder = nn.Sequential(*(_step(inputs, width) for inputs, width in zip(before, options.widths, strict=True)))
        self.head = nn.Conv2d(options.widths[-1], task.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decoder(self.bottleneck(self.encoder(x)[32])))  # type: ignore[no-any-return]


def _step(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2.0),
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def build(task: Task, options: ResNetSegOptions) -> nn.Module:
    return ResNetSeg(task, options)
