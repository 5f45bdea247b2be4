"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from segkit.api import LossSpec, hookimpl, option


@dataclass(frozen=True)
class FocalOptions:
    gamma: float = option(2.0, "how strongly easy pixels are played down; 0 is cross-entropy", minimum=0)
    alpha: float | None = option(
        None,
        "binary: weight of the foreground, 1 - alpha of the background; categorical: of every class",
        minimum=0,
        maximum=1,
    )


@dataclass(frozen=True)
class DiceOptions:
    smooth: float = option(
        1.0, "added above and below the fraction: an empty mask has loss 0 if nothing is found", minimum=0
    )
    batch: bool = option(False, "one fraction over the whole batch instead of one per case")
    background: bool = option(False, "multiclass: count the background as a class")


@dataclass(frozen=True)
class DiceFocalOptions:
    dice: float = option(1.0, "weight of the Dice loss", minimum=0)
    focal: float = option(1.0, "weight of the focal loss", minimum=0)
    gamma: float = option(2.0, "of the focal loss", minimum=0)
    alpha: float | None = option(None, "of the focal loss", minimum=0, maximum=1)
    smooth: float = option(1.0, "of the Dice loss", minimum=0)
    batch: bool = option(False, "of the Dice loss: one fraction over the whole batch")
    background: bool = option(False, "of the Dice loss, multiclass: count the background as a class")


@dataclass(frozen=True)
class DiceCrossEntropyOptions:
    dice: float = option(1.0, "weight of the Dice loss", minimum=0)
    ce: float = option(1.0, "weight of the cross-entropy", minimum=0)
    smooth: float = option(1.0, "of the Dice loss", minimum=0)
    batch: bool = option(True, "of the Dice loss: one fraction over the whole batch instead of one per case")
    background: bool = option(False, "of the Dice loss, multiclass: count the background as a class")


@hookimpl
def segkit_losses() -> list[LossSpec]:
    both = ("segmentation", "classification")
    return [  # the first default that suits a task is taken when the user names none
        LossSpec(
            "dice-ce",
            "sum of Dice and cross-entropy, binary or categorical (Isensee 2021)",
            target="segkit_losses.dice:build_dice_cross_entropy",
            options=DiceCrossEntropyOptions,
            default=True,
            ignore_index=True,
        ),
        LossSpec(
            "dice-focal",
            "weighted sum of Dice and focal loss (Vaona, section 7.3.4)",
            target="segkit_losses.dice:build_dice_focal",
            options=DiceFocalOptions,
            ignore_index=True,
        ),
        LossSpec(
            "bce",
            "binary cross-entropy, mean over pixels",
            target="segkit_losses.entropy:build_bce",
            modes=("binary", "multilabel"),
            ignore_index=True,
        ),
        LossSpec(
            "cross-entropy",
            "categorical cross-entropy, mean over pixels or cases",
            target="segkit_losses.entropy:build_cross_entropy",
            modes=("multiclass",),
            kinds=both,
            default=True,
            ignore_index=True,
        ),
        LossSpec(
            "focal",
            "focal loss, binary and categorical (Ehab & Li, eq. 2 and 3; Lin 2017)",
            target="segkit_losses.entropy:build_focal",
            options=FocalOptions,
            kinds=both,
            ignore_index=True,
        ),
        LossSpec(
            "dice",
            "1 - soft Dice, mean over cases and classes (Milletari 2016)",
            target="segkit_losses.dice:build_dice",
            options=DiceOptions,
            ignore_index=True,
        ),
    ]
