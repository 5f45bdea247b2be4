"""What this plugin offers; light, imports no numpy."""

from __future__ import annotations

from segkit.api import MetricSpec, hookimpl


@hookimpl
def segkit_metrics() -> list[MetricSpec]:
    offered = {
        "dice": "2 TP / (2 TP + FP + FN) per class; 1 where mask and prediction are both empty",
        "iou": "TP / (TP + FP + FN) per class; 1 where mask and prediction are both empty",
        "precision": "TP / (TP + FP) per class; undefined where nothing was predicted",
        "recall": "TP / (TP + FN) per class (sensitivity); undefined where the mask is empty",
        "specificity": "TN / (TN + FP) per class; undefined where the mask is full",
        "accuracy": "(TP + TN) / all pixels per class",
        "confusion": "share of each true class that was called each class",
    }
    return [
        MetricSpec(name, summary, f"segkit_metrics.overlap:build_{name}", default=True) for name, summary in offered.items()
    ]
