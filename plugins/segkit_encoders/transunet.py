"""TransUNet (Baizhan, section 2.3.5; Chen 2021): a ResNet's maps become tokens, a U-Net's decoder brings them back.

    image -> stem (stride 2) -> stage 1 (4) -> stage 2 (8) -> stage 3 (16) -> 1x1 -> tokens + positions -> transformer
               | 64              | 256          | 512                                                          |
    logits <- 3x3 <- [16, stride 1] <- [64] <-- [128] <---- [256] <------------- 3x3, norm, ReLU (512) <-------+
                                       each: bilinear x2, concat [up, skip], two 3x3 convolutions with norm and ReLU

The convolutions of the ResNet standardise their weights (Qiao 2019) and are followed by group norm (Kolesnikov 2020, BiT).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import timm
import torch
from timm.models import adapt_input_conv
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from segkit.api import SegkitError, Task, UsageError
from segkit_encoders.encoder import source_of, weights_of
from segkit_encoders.plugin import TransUNetOptions
from segkit_unets.blocks import ConvBlock, Layers

PATCH = 16  # pixels along a token
DEFAULT_SIZE = 224
TIMM_NAME = "vit_base_r50_s16_224.orig_in21k"
DECODER = (256, 128, 64, 16)


class StandardisedConv(nn.Conv2d):
    """A convolution without bias whose kernels have mean 0 and variance 1 (Qiao 2019, eq. 5)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return self._conv_forward(x, (self.weight - mean) / torch.sqrt(variance + 1e-5), None)


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1, each with group norm; projected shortcut where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 4
        self.conv1, self.norm1 = StandardisedConv(inputs, middle, 1), nn.GroupNorm(32, middle, eps=1e-6)
        self.conv2, self.norm2 = StandardisedConv(middle, middle, 3, stride), nn.GroupNorm(32, middle, eps=1e-6)
        self.conv3, self.norm3 = StandardisedConv(middle, outputs, 1), nn.GroupNorm(32, outputs, eps=1e-6)
        self.downsample: nn.Module | None = None
        if inputs != outputs or stride != 1:
            self.downsample = _pair(StandardisedConv(inputs, outputs, 1, stride), nn.GroupNorm(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample.norm(self.downsample.conv(x))  # type: ignore[operator]
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)))
        return functional.relu(self.norm3(self.conv3(x)) + shortcut)


class HybridEncoder(nn.Module):
    """(B, channels, H, W) -> tokens as a map (B, hidden, H / 16, W / 16), and skips at strides 8, 4, 2.

    Its parts have the names of timm's `vit_base_r50_s16_224`, whose weights fit the default options.
    """

    pretrained_file, pretrained_url = weights_of(f"timm/{TIMM_NAME}")

    def __init__(self, channels: int, grid: tuple[int, int], options: TransUNetOptions) -> None:
        super().__init__()
        width, hidden = options.width, options.hidden
        outputs = [4 * width, 8 * width, 16 * width]
        self.patch_embed, backbone = nn.Module(), nn.Module()
        backbone.stem = _pair(StandardisedConv(channels, width, 7, 2), nn.GroupNorm(32, width, eps=1e-6))
        backbone.stages = nn.ModuleList()
        for inputs, output, count, stride in zip([width, *outputs[:2]], outputs, options.layers, (1, 2, 2), strict=True):
            stage = nn.Module()
            stage.blocks = nn.Sequential(
                Bottleneck(inputs, output, stride), *(Bottleneck(output, output, 1) for _ in range(count - 1))
            )
            backbone.stages.append(stage)
        self.patch_embed.backbone, self.patch_embed.proj = backbone, nn.Conv2d(outputs[-1], hidden, 1)
        self.grid = grid
        self.pos_embed = nn.Parameter(torch.zeros(1, grid[0] * grid[1], hidden))
        self.drop = nn.Dropout(options.dropout)
        self.blocks = nn.Sequential(*(_transformer_block(options) for _ in range(options.depth)))
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.frozen = options.freeze
        self.requires_grad_(not options.freeze)

    def train(self, mode: bool = True) -> HybridEncoder:
        super().train(mode and not self.frozen)
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        size, backbone = x.shape[2:], self.patch_embed.backbone
        x = functional.relu(backbone.stem.norm(backbone.stem.conv(x)))  # (B, width, H / 2, W / 2)
        skips = [x]
        x = functional.max_pool2d(x, 3, 2)  # without padding, so one short of H / 4
        for stage, stride in zip(backbone.stages, (4, 8, 16), strict=True):
            x = stage.blocks(x)
            missing = (0, size[1] // stride - x.shape[3], 0, size[0] // stride - x.shape[2])
            skips.append(functional.pad(x, missing))
        x = self.patch_embed.proj(skips.pop())  # (B, hidden, H / 16, W / 16)
        height, width = x.shape[2:]
        tokens = self.drop(x.flatten(2).transpose(1, 2) + self._positions(height, width))  # (B, H W / 256, hidden)
        tokens = self.norm(self.blocks(tokens))
        return tokens.transpose(1, 2).unflatten(2, (height, width)), skips[::-1]

    def _positions(self, height: int, width: int) -> Tensor:
        return _resized(self.pos_embed, self.grid, (height, width))  # to the same size nothing changes

    def load_pretrained(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take over weights of timm's network; class token and classifier are left out, positions resized.

        Raises:
            SegkitError: they are not of this network.
        """
        if tensors is None:
            tensors = timm.create_model(TIMM_NAME, **source_of(self.pretrained_url)).state_dict()
        own, stem = self.state_dict(), "patch_embed.backbone.stem.conv.weight"
        given = {name: tensor for name, tensor in tensors.items() if name in own}
        if set(given) != set(own):
            raise SegkitError(f"The file holds {len(given)} of the {len(own)} tensors of {TIMM_NAME!r}.")
        side = math.isqrt(given["pos_embed"].shape[1])  # a square of positions, and maybe the class token before it
        given["pos_embed"] = _resized(given["pos_embed"][:, -side * side :], (side, side), self.grid)
        given[stem] = adapt_input_conv(own[stem].shape[1], given[stem])
        try:
            self.load_state_dict(given)
        except RuntimeError as error:
            raise SegkitError(f"Its sizes are not those of {TIMM_NAME!r}: {str(error).splitlines()[-1]}") from error


class TransUNet(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs, H, W); H and W multiples of 16."""

    def __init__(self, task: Task, options: TransUNetOptions) -> None:
        super().__init__()
        sides = (options.size or DEFAULT_SIZE,) * 2 if not isinstance(options.size, tuple) else options.size
        grid = (-(-sides[0] // PATCH), -(-sides[1] // PATCH))
        self.encoder = HybridEncoder(task.channels, grid, options)
        layers = Layers(bias=False)
        self.bridge = nn.Sequential(*layers.normed(options.hidden, 512), layers.active(512))
        skips = (8 * options.width, 4 * options.width, options.width, 0)
        inputs = zip((512, *DECODER[:-1]), skips, DECODER, strict=True)
        self.decoder = nn.ModuleList(ConvBlock(before + skip, width, layers) for before, skip, width in inputs)
        self.head = nn.Conv2d(DECODER[-1], task.outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x, skips = self.encoder(x)
        x = self.bridge(x)
        for level, block in enumerate(self.decoder):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
            x = block(torch.cat([x, skips[level]], dim=1) if level < len(skips) else x)
        return self.head(x)  # type: ignore[no-any-return]


def _transformer_block(options: TransUNetOptions) -> nn.Module:
    """Pre-norm attention and MLP; dropout in the MLP alone."""
    block = Block(
        options.hidden, options.heads, qkv_bias=True, proj_drop=options.dropout, norm_layer=partial(nn.LayerNorm, eps=1e-6)
    )
    block.attn.proj_drop = nn.Identity()
    return block  # type: ignore[no-any-return]


def _pair(conv: nn.Module, norm: nn.Module) -> nn.Module:
    """Two layers under timm's names."""
    pair = nn.Module()
    pair.conv, pair.norm = conv, norm
    return pair


def _resized(positions: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """A position embedding (1, h w, hidden) for another grid, bilinear."""
    plane = positions.reshape(1, *old, -1).permute(0, 3, 1, 2)
    return functional.interpolate(plane, new, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)


def build(task: Task, options: TransUNetOptions) -> nn.Module:
    for name, value, factor in (("width", options.width, 32), ("hidden", options.hidden, options.heads)):
        if value % factor:
            raise UsageError(
                f"model.{name} = {value} is not a multiple of {factor}.",
                f"For instance {max(factor, value // factor * factor)}.",
            )
    return TransUNet(task, options)
