"""segmentation-models-pytorch's Unet with a ResNet-18 from scratch, by the bare loop's recipe; volumes go slice by slice."""

from __future__ import annotations

from functools import partial

import segmentation_models_pytorch
from torch import nn

from arms.bare import train
from arms.job import answer


def build(channels: int, outputs: int, dims: int) -> nn.Module:
    assert dims == 2
    made: nn.Module = segmentation_models_pytorch.Unet(
        "resnet18", encoder_weights=None, in_channels=channels, classes=outputs
    )
    return made


if __name__ == "__main__":
    answer(partial(train, build=build, slices=True))
