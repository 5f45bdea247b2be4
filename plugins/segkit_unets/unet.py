"""U-Net as Ehab & Li built it (section 3.1, Fig. 1): the original's shape, with batch norm and nearest up-sampling.

    image -> [conv block] ----------------------------- concat -> [conv block] -> 1x1 -> batch norm -> logits
                 | max-pool 2                               ^ up x2
             [conv block] ---------- concat -> [conv block]-+
                 | max-pool 2           ^ up x2
                 +---> [conv block] ----+

Their text speaks of transposed convolutions; the printed parameter counts prove up-sampling without parameters, a bias in
every convolution and a batch norm after the last one. The other papers' forms are options (see plugin.py).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import Task
from segkit_unets.blocks import ConvBlock, Layers, UpConv
from segkit_unets.initialise import initialise
from segkit_unets.plugin import UNetOptions

Block = Callable[[int, int], nn.Module]


class UNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 2**(levels - 1).

    Args:
        channels, outputs: of the task.
        widths: feature maps per level, top to bottom.
        block: makes the block of a level from its input and output widths.
        up: makes what doubles the size from the widths below and above; None: nearest, which keeps the width.
        head_norm: whether a batch norm follows the last convolution.
        drop: dropout after the blocks of encoder, bottleneck, decoder.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        widths: list[int],
        block: Block,
        up: Block | None = None,
        head_norm: bool = True,
        drop: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> None:
        super().__init__()
        inputs = [channels, *widths[:-1]]
        self.encoder = nn.ModuleList(block(before, width) for before, width in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(up(below, above) if up else nn.Upsample(scale_factor=2.0) for below, above in pairs)
        self.decoder = nn.ModuleList(block((above if up else below) + above, above) for below, above in pairs)
        self.head = nn.Sequential(nn.Conv2d(widths[0], outputs, 1), *([nn.BatchNorm2d(outputs)] if head_norm else []))
        self.drop_encoder, self.drop_bottleneck, self.drop_decoder = (nn.Dropout(p) for p in drop)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, block in enumerate(self.encoder):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (B, widths[level], H / 2**level, W / 2**level)
            x = self.drop_bottleneck(x) if block is self.encoder[-1] else self.drop_encoder(x)
            skips.append(x)
        skips.pop()
        for up, block in zip(self.up, self.decoder, strict=True):
            x = self.drop_decoder(block(torch.cat([up(x), skips.pop()], dim=1)))
        return self.head(x)  # type: ignore[no-any-return]


def build(task: Task, options: UNetOptions) -> nn.Module:
    layers = Layers(norm=options.norm, activation=options.activation, bias=options.bias)
    ups: dict[str, Block | None] = {
        "nearest": None,
        "transposed": layers.transposed,
        "nearest-conv": lambda below, above: UpConv(below, above, layers),
    }
    model = UNet(
        task.channels,
        task.outputs,
        level_widths(options.width, options.depth),
        lambda inputs, outputs: ConvBlock(inputs, outputs, layers),
        ups[options.upsample],
        options.head_norm,
        tuple(options.dropout * (place in options.dropout_at) for place in ("encoder", "bottleneck", "decoder")),  # type: ignore[arg-type]
    )
    return initialise(model, options.init)


def level_widths(width: int, depth: int) -> list[int]:
    """Feature maps per level, top to bottom.

    >>> level_widths(64, 4)
    [64, 128, 256, 512, 1024]
    """
    return [width * 2**level for level in range(depth + 1)]
