"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.api import ModelSpec, hookimpl, option

ENCODER = "any timm model with feature maps at strides 4, 8, 16 and 32: resnet18, convnext_tiny, efficientnet_b0, ..."
FREEZE = "the encoder is not trained and its batch norm stays in eval mode (--freeze-encoder)"
SUPPORTS = ("mixed-precision", "channels-last", "compile", "checkpointing")
EXPORTS = ("onnx", "torch-export")
DEEPLAB_STRIDE = 16  # of the map that is dilated
BLOCKS = {"segkit_unets": "It is a part of segkit: pip install --force-reinstall segkit-med"}


@dataclass(frozen=True)
class ResNet50UNetOptions:
    """The defaults are Baizhan's form. Müller & Wolf's, whose text gives no widths, by the halving rule they state:

    widths=1024,512,256,128,64 upsample=nearest-conv bias=true head_kernel=1 freeze=true

    and its light form has widths=512,256,128,64,32.
    """

    encoder: str = option("resnet50", ENCODER)
    freeze: bool = option(False, FREEZE)
    widths: tuple[int, int, int, int, int] = option((256, 128, 64, 32, 16), "maps after each of five steps up", minimum=1)
    upsample: Literal["nearest", "nearest-conv"] = option(
        "nearest", "nearest-conv: a 2x2 convolution to the step's width follows, before the skip is joined"
    )
    bias: bool = option(False, "a bias in the decoder's 3x3 convolutions, which a batch norm follows")
    head_kernel: Literal[1, 3] = option(3, "size of the last convolution")


@dataclass(frozen=True)
class SemanticFPNOptions:
    """Vaona's form, whose text describes two heads: section 6.3 (fuse=1x1) and section 6 (fuse=3x3x2)."""

    encoder: str = option("resnet50", ENCODER)
    freeze: bool = option(False, FREEZE)
    width: int = option(256, "maps of the pyramid and of the head", minimum=1)
    fuse: Literal["1x1", "3x3x2"] = option("1x1", "how the joined pyramid is brought to width: 1x1, or two 3x3 convolutions")
    dropout: float = option(0.1, "of whole maps, before the classifier", minimum=0, maximum=0.95)


@dataclass(frozen=True)
class DeepLabV3PlusOptions:
    encoder: str = option("resnet50", "a timm model that takes output_stride: resnet50, convnext_tiny, efficientnet_b0, ...")
    freeze: bool = option(False, FREEZE)
    width: int = option(256, "maps of the pyramid pooling and of the decoder", minimum=1)
    dilations: tuple[int, int, int] = option(
        (6, 12, 18), "of the three dilated convolutions, on a map of a 16th of the image; they do not change the counts",
        minimum=1,
    )  # fmt: skip
    dropout: float = option(0.5, "after the pyramid pooling", minimum=0, maximum=0.95)

    def doubts(self, size: tuple[int, ...]) -> list[str]:
        """Rates that reach beyond the map: of such a 3x3 convolution only the middle ever sees anything but zeros."""
        sides = tuple(-(-side // DEEPLAB_STRIDE) for side in size)
        beyond = [rate for rate in self.dilations if rate >= min(sides)]
        if not beyond:
            return []
        rates, area = ", ".join(map(str, beyond)), " x ".join(map(str, sides))
        fitting = ",".join(str(max(1, min(sides) * part // 4)) for part in (1, 2, 3))
        return [
            f"model.dilations: a rate of {rates} reaches beyond the {area} map of such images, so its outer taps see zeros "
            f"alone and never learn; -o model.dilations={fitting} fits."
        ]


@dataclass(frozen=True)
class TransUNetOptions:
    """R50-ViT-B/16 of Chen 2021."""

    size: int | tuple[int, int] | None = option(
        None, "image size that the position embedding is made for (auto: preprocess.size; 224 without); resized at others",
        minimum=16,
    )  # fmt: skip
    width: int = option(64, "maps of the encoder's first convolution; a multiple of 32", minimum=32)
    layers: tuple[int, int, int] = option((3, 4, 9), "bottlenecks of the encoder's three stages", minimum=1)
    hidden: int = option(768, "length of a token", minimum=1)
    depth: int = option(12, "transformer blocks", minimum=1)
    heads: int = option(12, "attention heads; must divide hidden", minimum=1)
    dropout: float = option(0.1, "of tokens", minimum=0, maximum=0.95)
    freeze: bool = option(False, "neither ResNet nor transformer is trained (--freeze-encoder)")


@dataclass(frozen=True)
class ResNetSegOptions:
    encoder: str = option("resnet50", ENCODER)
    freeze: bool = option(False, FREEZE)
    widths: tuple[int, int, int, int, int] = option((512, 256, 128, 64, 32), "maps after each of five steps up", minimum=1)


@dataclass(frozen=True)
class ResNetClassifierOptions:
    """Baizhan's classical twin of the quantum classifier: two fully connected layers on a pooled trunk."""

    encoder: str = option("resnet18", "any timm model that takes images of any size")
    freeze: bool = option(False, FREEZE)
    hidden: int = option(128, "width of the layer between trunk and classes", minimum=1)
    head_parameters: int | None = option(
        None, "choose hidden so that the head has about this many parameters (auto: as hidden says)", minimum=1
    )
    dropout: float = option(0.5, "before the last layer", minimum=0, maximum=0.95)


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "resnet50-unet",
            "U-Net on a ResNet-50 or another timm encoder (Baizhan; Müller & Wolf)",
            target="segkit_encoders.resnet50_unet:build",
            options=ResNet50UNetOptions,
            requires=BLOCKS,
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
            default=True,
        ),
        ModelSpec(
            "semantic-fpn",
            "feature pyramid on a ResNet-50 or another timm encoder, levels joined (Vaona)",
            target="segkit_encoders.semantic_fpn:build",
            options=SemanticFPNOptions,
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "deeplabv3plus",
            "dilated encoder, pyramid pooling, one skip (Baizhan, after Chen 2018)",
            target="segkit_encoders.deeplabv3plus:build",
            options=DeepLabV3PlusOptions,
            stride=DEEPLAB_STRIDE,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "transunet",
            "ResNet-50 and vision transformer with a U-Net decoder (Baizhan, after Chen 2021)",
            target="segkit_encoders.transunet:build",
            options=TransUNetOptions,
            requires=BLOCKS,
            stride=16,
            minimum=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "resnet-seg",
            "ResNet-50 or another timm encoder, sampled up without skips (Baizhan)",
            target="segkit_encoders.resnet_seg:build",
            options=ResNetSegOptions,
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "resnet-classifier",
            "ResNet-18 or another timm trunk and two layers: does the image hold any foreground? (Baizhan)",
            target="segkit_encoders.resnet_classifier:build",
            options=ResNetClassifierOptions,
            kind="classification",
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
    ]
