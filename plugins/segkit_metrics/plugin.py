"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from segkit.api import MetricSpec, hookimpl

MASKS, BOTH, CLASSES = ("segmentation",), ("segmentation", "classification"), ("classification",)


@hookimpl
def segkit_metrics() -> list[MetricSpec]:
    offered = {
        "dice": (MASKS, "2 TP / (2 TP + FP + FN) per class; 1 where mask and prediction are both empty"),
        "iou": (MASKS, "TP / (TP + FP + FN) per class; 1 where mask and prediction are both empty"),
        "precision": (BOTH, "TP / (TP + FP) per class; undefined where nothing was predicted"),
        "recall": (BOTH, "TP / (TP + FN) per class (sensitivity); undefined where the mask is empty"),
        "f1": (CLASSES, "2 TP / (2 TP + FP + FN) per class; undefined where it neither is nor is predicted"),
        "specificity": (BOTH, "TN / (TN + FP) per class; undefined where the mask is full"),
        "accuracy": (BOTH, "(TP + TN) / all pixels (or cases) per class"),
        "confusion": (BOTH, "share of each true class that was called each class"),
    }
    counted = [
        MetricSpec(name, summary, target=f"segkit_metrics.overlap:build_{name}", kinds=kinds, default=True)
        for name, (kinds, summary) in offered.items()
    ]
    auroc = MetricSpec(
        "auroc",
        "area under the ROC curve per class against the rest; undefined where all cases are of one class",
        target="segkit_metrics.ranking:build_auroc",
        modes=("multiclass",),
        kinds=CLASSES,
        default=True,
    )
    return [*counted, auroc]
