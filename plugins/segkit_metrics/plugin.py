"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from segkit.api import MetricSpec, hookimpl

MASKS, BOTH, CLASSES = ("segmentation",), ("segmentation", "classification"), ("classification",)


@hookimpl
def segkit_metrics() -> list[MetricSpec]:
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
    auroc = MetricSpec(
        "auroc",
        "area under the ROC curve per class against the rest; undefined where all cases are of one class",
        target="segkit_metrics.ranking:build_auroc",
        modes=("multiclass",),
        kinds=CLASSES,
        default=True,
    )
    return [*ratios, pixel_accuracy, accuracy, confusion, auroc]
