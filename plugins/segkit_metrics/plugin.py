"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from segkit.api import MetricSpec, hookimpl, option

MASKS, BOTH, CLASSES = ("segmentation",), ("segmentation", "classification"), ("classification",)


@dataclass(frozen=True)
class HausdorffOptions:
    percentile: float = option(95.0, "of the distances; 100 is the Hausdorff distance itself", minimum=0, maximum=100)
    pooled: bool = option(False, "of all distances together; else the larger of those of the two directions (MONAI)")


@dataclass(frozen=True)
class SurfaceDiceOptions:
    tolerance: float = option(1.0, "mm (pixels where the spacing is not known) within which a surface is right", minimum=0)


@dataclass(frozen=True)
class LesionOptions:
    connectivity: Literal["full", "faces"] = option("full", "pixels of one object touch by corners too, or by faces alone")
    overlap: float = option(0.0, "share of an object that must be covered; 0: a single pixel", minimum=0, maximum=1)
    smallest: int = option(1, "pixels that an object has at least to be counted", minimum=1)


@dataclass(frozen=True)
class CalibrationOptions:
    bins: int = option(15, "of probabilities, of equal width", minimum=1)


@dataclass(frozen=True)
class KerasDiceOptions:
    smooth: float = option(1.0, "added above and below the fraction", minimum=0)


@hookimpl
def segkit_metrics() -> list[MetricSpec]:
    return [*_overlap(), *_objects(), *_surfaces(), *_probabilities(), *_of_keras(), *_ranking()]


def _overlap() -> list[MetricSpec]:
    offered = {  # the first that suits a task decides the best weights, unless --monitor names another
        "dice": (MASKS, "2 TP / (2 TP + FP + FN) per class; 1 where mask and prediction are both empty"),
        "iou": (MASKS, "TP / (TP + FP + FN) per class; 1 where mask and prediction are both empty"),
        "f1": (CLASSES, "2 TP / (2 TP + FP + FN) per class; undefined where it neither is nor is predicted"),
        "precision": (BOTH, "TP / (TP + FP) per class; undefined where nothing was predicted"),
        "recall": (BOTH, "TP / (TP + FN) per class (sensitivity); undefined where the mask is empty"),
        "specificity": (BOTH, "TN / (TN + FP) per class; undefined where the mask is full"),
    }
    ratios = [
        MetricSpec(name, summary, target=f"segkit_metrics.overlap:build_{name}", kinds=kinds, default=True)
        for name, (kinds, summary) in offered.items()
    ]
    pixel_accuracy = MetricSpec(
        "pixel-accuracy",
        "share of the pixels whose label is right, background included",
        target="segkit_metrics.overlap:build_pixel_accuracy",
        default=True,
    )
    accuracy = MetricSpec(
        "accuracy",
        "share of right cases (or pixels); per class (TP + TN) / all: this class against the rest",
        target="segkit_metrics.overlap:build_accuracy",
        kinds=BOTH,
        default=CLASSES,
    )
    confusion = MetricSpec(
        "confusion",
        "share of each true class that was called each class",
        target="segkit_metrics.overlap:build_confusion",
        kinds=BOTH,
        default=True,
        higher_is_better=None,
    )
    return [
        *ratios,
        pixel_accuracy,
        accuracy,
        confusion,
        _more("mcc", "Matthews' correlation coefficient, of all classes together and of each", "overlap", kinds=BOTH),
        _more("mean-iou", "IoU, mean over the classes that occur, background included", "overlap"),
        _more("volume-error", "(predicted - true) / true volume, signed", "volumes", higher_is_better=None),
        _more("false-positive-volume", "what was found in vain", "volumes", higher_is_better=False, unit="mm3"),
        _more("false-negative-volume", "what was missed", "volumes", higher_is_better=False, unit="mm3"),
    ]


def _objects() -> list[MetricSpec]:
    own: dict[str, Any] = {"options": LesionOptions}
    alarms = "connected components of the prediction that are in no object, per case"
    return [
        _more("lesion-recall", "share of the truth's connected components that were found", "lesion:recall", **own),
        _more(
            "lesion-precision", "share of the prediction's connected components that are right", "lesion:precision", **own
        ),
        _more("lesion-f1", "2 found / (2 found + missed + false alarms), of connected components", "lesion:f1", **own),
        _more("lesion-false-positives", alarms, "lesion:false_alarms", higher_is_better=False, **own),
    ]


def _surfaces() -> list[MetricSpec]:
    own: dict[str, Any] = {"higher_is_better": False, "unit": "mm"}
    hausdorff = "95th percentile of the distances between surfaces, the larger of the two directions (MONAI)"
    return [
        _more("hd95", hausdorff, "surface", options=HausdorffOptions, **own),
        _more("hd95-pooled", "95th percentile of the distances of both directions together", "surface", **own),
        _more("assd", "mean distance between surfaces, over the voxels of both", "surface", **own),
        _more("assd-of-means", "mean of the two directions' mean distances between surfaces", "surface", **own),
        _more("nsd", "share of both surfaces within a tolerance of the other", "surface", options=SurfaceDiceOptions),
    ]


def _probabilities() -> list[MetricSpec]:
    soft = {
        "accuracy": "mean(y q + (1 - y)(1 - q)) over pixels",
        "precision": "sum(y q) / sum(q)",
        "recall": "sum(y q) / sum(y)",
        "iou": "sum(y q) / sum(y + q - y q)",
    }
    own: dict[str, Any] = {"options": CalibrationOptions}
    return [
        *(_more(f"soft-{name}", f"{words}, no threshold (Mueller & Wolf)", f"soft:{name}") for name, words in soft.items()),
        _more("dice-by-threshold", "Dice where a probability above .05, .10, ..., .95 is taken", "thresholds"),
        _more("ece", "expected calibration error of the probabilities", "calibration", BOTH, higher_is_better=False, **own),
        _more("brier", "mean squared error of the probabilities", "calibration", BOTH, higher_is_better=False, **own),
        _more("reliability", "how often probabilities are right", "calibration", BOTH, higher_is_better=None, **own),
    ]


def _of_keras() -> list[MetricSpec]:
    return [
        _more("keras-dice", "soft Dice with smoothing and background, of a batch", "keras:dice", options=KerasDiceOptions),
        _more("keras-mean-iou", "MeanIoU given probabilities: below 1 they are cut to 0", "keras:mean_iou"),
        _more("keras-binary-iou", "BinaryIoU: mean IoU of foreground and background at .5", "keras:binary_iou"),
    ]


def _ranking() -> list[MetricSpec]:
    own: dict[str, Any] = {"modes": ("multiclass",), "kinds": CLASSES, "default": True}
    auroc = "area under the ROC curve per class against the rest; undefined where all cases are of one class"
    precision = "area under the precision-recall steps per class; undefined where no case is of the class"
    return [
        MetricSpec("auroc", auroc, target="segkit_metrics.ranking:build_auroc", **own),
        MetricSpec("average-precision", precision, target="segkit_metrics.ranking:build_average_precision", **own),
    ]


def _more(name: str, summary: str, where: str, kinds: tuple[str, ...] = MASKS, **facts: Any) -> MetricSpec:
    """One that is asked for by name. `where`: its file, and the builder's name where that is another."""
    module, _, builder = where.partition(":")
    target = f"segkit_metrics.{module}:build_{builder or name.replace('-', '_')}"
    return MetricSpec(name, summary, target=target, kinds=kinds, **facts)
