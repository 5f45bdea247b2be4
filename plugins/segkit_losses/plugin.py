"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.api import LossSpec, NoOptions, hookimpl, option

SMOOTH = "added above and below the fraction: an empty mask has loss 0 if nothing is found"
BATCH = "one fraction over the whole batch instead of one per case"
BACKGROUND = "multiclass: count the background as a class"
WEIGHTS = "of the classes, background first, of layers one for each; balanced sets them; auto: all the same"
OF_CLASSES = "of the classes that count, in the mean over them; auto: all the same"
BALANCED = "weights by the training data: pixels of all classes / (classes x pixels of this one), as scikit-learn has it"


@dataclass(frozen=True)
class EntropyOptions:
    weights: tuple[float, ...] | None = option(None, WEIGHTS, minimum=0)
    balanced: bool = option(False, BALANCED)


@dataclass(frozen=True)
class FocalOptions:
    gamma: float = option(2.0, "how strongly easy pixels are played down; 0 is cross-entropy", minimum=0)
    alpha: float | None = option(
        None, "factor of the foreground's pixels; of the background's see alpha_as", minimum=0, maximum=1
    )
    alpha_as: Literal["keras", "monai"] = option(
        "keras",
        "of the background: keras has alpha for every class, monai 1 - alpha; of binary masks it always is 1 - alpha",
    )
    weights: tuple[float, ...] | None = option(None, WEIGHTS, minimum=0)
    balanced: bool = option(False, BALANCED)


@dataclass(frozen=True)
class DiceOptions:
    smooth: float = option(1.0, SMOOTH, minimum=0)
    batch: bool = option(False, BATCH)
    background: bool = option(False, BACKGROUND)
    squared: bool = option(False, "probabilities are squared below the fraction (V-Net, Milletari 2016)")
    weights: tuple[float, ...] | None = option(None, OF_CLASSES, minimum=0)


@dataclass(frozen=True)
class GeneralizedDiceOptions:
    smooth: float = option(1e-5, "added above and below the fraction", minimum=0)
    batch: bool = option(False, BATCH)
    background: bool = option(True, "count the background as a class, of binary masks too")


@dataclass(frozen=True)
class TverskyOptions:
    alpha: float = option(0.3, "weight of what is found in vain", minimum=0)
    beta: float = option(0.7, "weight of what is missed; alpha = beta = 0.5 is Dice", minimum=0)
    smooth: float = option(1.0, SMOOTH, minimum=0)
    batch: bool = option(False, BATCH)
    background: bool = option(False, BACKGROUND)
    weights: tuple[float, ...] | None = option(None, OF_CLASSES, minimum=0)


@dataclass(frozen=True)
class FocalTverskyOptions(TverskyOptions):
    gamma: float = option(0.75, "power of 1 - the index, the paper's 1 / gamma", minimum=0.01)


@dataclass(frozen=True)
class ComboOptions:
    alpha: float = option(0.5, "weight of the cross-entropy; the rest is that of Dice", minimum=0, maximum=1)
    beta: float = option(0.5, "within the cross-entropy: above 0.5, what is missed costs more", minimum=0, maximum=1)
    smooth: float = option(1.0, SMOOTH, minimum=0)
    batch: bool = option(False, BATCH)


@dataclass(frozen=True)
class UnifiedFocalOptions:
    weight: float = option(0.5, "of the focal loss; the rest is that of the focal Tversky loss", minimum=0, maximum=1)
    delta: float = option(0.6, "weight of the foreground, and of what is missed", minimum=0, maximum=1)
    gamma: float = option(0.5, "how strongly easy pixels are played down", minimum=0, maximum=0.99)
    asymmetric: bool = option(True, "play down the background alone")
    batch: bool = option(False, BATCH)


@dataclass(frozen=True)
class SumOptions:
    of: str = option(
        "dice+cross-entropy", "losses with factors, and options in brackets: dice(batch=true;smooth=0)+0.5*boundary"
    )


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
class RegionOptions:
    of: str = option("dice-ce", "the loss of the regions, each one a layer; a sum as loss.of of 'sum'")


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
            options=EntropyOptions,
            modes=("binary", "multilabel"),
            ignore_index=True,
        ),
        LossSpec(
            "cross-entropy",
            "categorical cross-entropy, mean over pixels or cases",
            target="segkit_losses.entropy:build_cross_entropy",
            options=EntropyOptions,
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
        _of_masks("dice", "1 - soft Dice, mean over cases and classes (Milletari 2016)", "dice", DiceOptions),
        _of_masks(
            "generalized-dice",
            "Dice over all classes at once, each weighted by 1 / (its pixels)^2 (Sudre 2017)",
            "dice",
            GeneralizedDiceOptions,
        ),
        _of_masks("tversky", "Dice that weighs misses against false alarms (Salehi 2017)", "tversky", TverskyOptions),
        _of_masks(
            "focal-tversky", "Tversky loss to a power: hard cases count more (Abraham 2019)", "tversky", FocalTverskyOptions
        ),
        _of_masks(
            "combo", "weighted cross-entropy less Dice; can be negative (Taghanaki 2019, eq. 3)", "tversky", ComboOptions
        ),
        _of_masks(
            "unified-focal", "focal plus focal Tversky, asymmetric or symmetric (Yeung 2022)", "tversky", UnifiedFocalOptions
        ),
        _of_masks(
            "boundary", "distance to the truth's boundary; for sums with another (Kervadec 2019)", "boundary", NoOptions
        ),
        LossSpec(
            "regions",
            "a loss of the task's regions (BraTS: WT, TC, ET) in place of its classes (Isensee 2021)",
            target="segkit_losses.regions:build_regions",
            options=RegionOptions,
            modes=("multiclass",),
            ignore_index=True,
        ),
        _of_masks("sum", "any weighted sum of losses: -o 'loss.of=dice+0.5*focal'", "total", SumOptions),
    ]


def _of_masks(name: str, summary: str, module: str, options: type) -> LossSpec:
    target = f"segkit_losses.{module}:build_{name.replace('-', '_')}"
    return LossSpec(name, summary, target=target, options=options, ignore_index=True)
