"""What U-Nets are built of, in two and three dimensions: convolutions with norm and activation, and ways to sample up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConvBlock", "Layers", "UpConv"]

GROUP = 16  # maps per group
Sides = int | tuple[int, ...]


@dataclass(frozen=True)
class Layers:
    """How every convolution of a network is dressed.

    Args:
        dims: spatial dimensions, 2 or 3.
        norm: batch, instance (with weights), group (of 16 maps or a few more; Wu & He 2018) or none.
        activation: relu, leaky-relu (slope 0.01), elu, prelu (a slope per channel) or prelu-layer (one per layer).
        bias: a bias also where a norm follows and makes it idle; without a norm there always is one.
    """

    dims: int = 2
    norm: str = "batch"
    activation: str = "relu"
    bias: bool = True

    def convolution(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
        """A convolution with a bias that keeps the size (odd kernels), without norm and activation."""
        kind = nn.Conv2d if self.dims == 2 else nn.Conv3d
        return kind(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2)

    def transposed(self, inputs: int, outputs: int, factor: Sides = 2) -> nn.Module:
        """Twice the size, or `factor` times along each axis."""
        kind = nn.ConvTranspose2d if self.dims == 2 else nn.ConvTranspose3d
        return kind(inputs, outputs, factor, factor)  # type: ignore[arg-type]

    def normed(self, inputs: int, outputs: int, kernel: Sides = 3, stride: Sides = 1) -> list[nn.Module]:
        """Convolution and norm; kernel (odd) and stride are one number, or one along each axis."""
        kind = nn.Conv2d if self.dims == 2 else nn.Conv3d
        bias = self.bias or self.norm == "none"
        padding = kernel // 2 if isinstance(kernel, int) else tuple(side // 2 for side in kernel)
        return [kind(inputs, outputs, kernel, stride, padding, bias=bias), *self._norm(outputs)]  # type: ignore[arg-type]

    def averaged(self, stride: tuple[int, ...]) -> nn.Module:
        """The mean over each stride."""
        return (nn.AvgPool2d if self.dims == 2 else nn.AvgPool3d)(stride, stride)  # type: ignore[arg-type]

    def head(self, inputs: int, outputs: int) -> nn.Module:
        """A 1x1 convolution to logits."""
        return (nn.Conv2d if self.dims == 2 else nn.Conv3d)(inputs, outputs, 1)

    def dropped(self, probability: float) -> nn.Module:
        """Dropout of whole feature maps."""
        return (nn.Dropout2d if self.dims == 2 else nn.Dropout3d)(probability)

    def active(self, channels: int) -> nn.Module:
        if self.activation.startswith("prelu"):
            return nn.PReLU(channels if self.activation == "prelu" else 1)
        return {"relu": nn.ReLU, "leaky-relu": nn.LeakyReLU, "elu": nn.ELU}[self.activation](inplace=True)

    def _norm(self, channels: int) -> list[nn.Module]:
        if self.norm == "none":
            return []
        if self.norm == "group":
            return [nn.GroupNorm(math.gcd(channels, max(1, channels // GROUP)), channels)]
        if self.norm == "instance":
            return [(nn.InstanceNorm2d if self.dims == 2 else nn.InstanceNorm3d)(channels, affine=True)]
        return [(nn.BatchNorm2d if self.dims == 2 else nn.BatchNorm3d)(channels)]


class ConvBlock(nn.Sequential):
    """Twice: 3x3 convolution, norm, activation; dropout between the two. (B, inputs, *S) -> (B, outputs, *S)."""

    def __init__(self, inputs: int, outputs: int, layers: Layers, dropout: float = 0.0) -> None:
        super().__init__(
            *layers.normed(inputs, outputs),
            layers.active(outputs),
            *([nn.Dropout(dropout)] if dropout else []),
            *layers.normed(outputs, outputs),
            layers.active(outputs),
        )


class UpConv(nn.Module):
    """Nearest up-sampling and a 2x2 convolution with activation: (B, inputs, H, W) -> (B, outputs, 2H, 2W).

    An even kernel cannot be centred; as in Keras, the missing row and column are zeros on the right and at the bottom.
    """

    def __init__(self, inputs: int, outputs: int, layers: Layers) -> None:
        super().__init__()
        self.convolution = layers.convolution(inputs, outputs, kernel=2)
        self.activation = layers.active(outputs)
        self.missing = (0, 1) * layers.dims

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.activation(self.convolution(functional.pad(x, self.missing)))  # type: ignore[no-any-return]
