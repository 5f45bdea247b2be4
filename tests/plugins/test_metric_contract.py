"""Every built-in metric keeps the contract that third parties are given, and the contract catches what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segkit import plugins
from segkit.config.resolve import Choice
from segkit.testing import MetricContract


class TestDice(MetricContract):
    name = "dice"


class TestIoU(MetricContract):
    name = "iou"


class TestF1(MetricContract):
    name, undefined = "f1", ("both-empty",)


class TestPrecision(MetricContract):
    name, undefined = "precision", ("both-empty", "empty-prediction")


class TestRecall(MetricContract):
    name, undefined = "recall", ("both-empty", "empty-truth")


class TestSpecificity(MetricContract):
    name, undefined = "specificity", ("full-truth",)


class TestAccuracy(MetricContract):
    name = "accuracy"


class TestPixelAccuracy(MetricContract):
    name = "pixel-accuracy"


class TestConfusion(MetricContract):
    name = "confusion"


class TestAUROC(MetricContract):
    name, undefined = "auroc", ("both-empty", "empty-truth", "full-truth")


class TestAveragePrecision(MetricContract):
    name, undefined = "average-precision", ("both-empty", "empty-truth")


class TestMCC(MetricContract):
    name = "mcc"


class TestMeanIoU(MetricContract):
    name = "mean-iou"


class TestVolumeError(MetricContract):
    name, undefined = "volume-error", ("both-empty", "empty-truth")


class TestFalsePositiveVolume(MetricContract):
    name = "false-positive-volume"


class TestFalseNegativeVolume(MetricContract):
    name = "false-negative-volume"


class TestLesionRecall(MetricContract):
    name, undefined, divisible = "lesion-recall", ("both-empty", "empty-truth"), False


class TestLesionPrecision(MetricContract):
    name, undefined, divisible = "lesion-precision", ("both-empty", "empty-prediction"), False


class TestLesionF1(MetricContract):
    name, undefined, divisible = "lesion-f1", ("both-empty",), False


class TestLesionFalsePositives(MetricContract):
    name, divisible = "lesion-false-positives", False


class TestHD95(MetricContract):
    name, divisible = "hd95", False


class TestPooledHD95(MetricContract):
    name, divisible = "hd95-pooled", False


class TestASSDOfMeans(MetricContract):
    name, divisible = "assd-of-means", False


class TestDiceByThreshold(MetricContract):
    name = "dice-by-threshold"


class TestASSD(MetricContract):
    name, divisible = "assd", False


class TestNSD(MetricContract):
    name, divisible = "nsd", False


class TestSoftAccuracy(MetricContract):
    name = "soft-accuracy"


class TestSoftPrecision(MetricContract):
    name = "soft-precision"


class TestSoftRecall(MetricContract):
    name, undefined = "soft-recall", ("both-empty", "empty-truth")


class TestSoftIoU(MetricContract):
    name = "soft-iou"


class TestECE(MetricContract):
    name, of_labels = "ece", False


class TestBrier(MetricContract):
    name = "brier"


class TestReliability(MetricContract):
    name = "reliability"


class TestKerasDice(MetricContract):
    name = "keras-dice"


class TestKerasMeanIoU(MetricContract):
    name = "keras-mean-iou"


class TestKerasBinaryIoU(MetricContract):
    name = "keras-binary-iou"


def test_every_metric_is_here() -> None:
    contracts = [value for value in globals().values() if isinstance(value, type) and issubclass(value, MetricContract)]
    tested = {value.name for value in contracts if value is not MetricContract}
    assert tested == {item.spec.name for item in plugins.load().all("metrics") if item.plugin.builtin}


BAD = """
from segkit.api import Metric, MetricSpec, hookimpl
import itertools

calls = itertools.count()

@hookimpl
def segkit_metrics():
    return [MetricSpec("bad", "a metric", target="acme_module:build", modes=("binary",))]

def measure(result):
    wrong = result.labels != result.truth
    return {"wrong": int(wrong.sum()), "share": wrong.mean(), "right": int((~wrong).sum()), "truth": int(result.truth.sum())}

def build(task, options):
    return Metric(measure, lambda counts: VALUES)
"""
FAULTS = {
    "{'bad/first': 1.0}": "test_values_are_named_by_class_or_not_at_all",
    "{'third': 1.0}": "test_values_are_named_by_class_or_not_at_all",
    "{'first': counts['share']}": "test_counts_add_up",
    "{'first': counts['wrong']}": "test_a_perfect_prediction_is_the_best",
    "{'first': counts['right'] / (counts['truth'] or float('nan'))}": "test_it_is_undefined_only_where_it_says_so",
    "{'first': next(calls)}": "test_the_same_goes_in_and_the_same_comes_out",
}


@pytest.mark.parametrize("values", FAULTS)
def test_a_metric_with_a_fault_is_caught(values: str, install: Callable[..., Path]) -> None:
    install("acme", BAD.replace("VALUES", values))
    found = plugins.load().find("metrics", "bad")
    test = getattr(MetricContract(), FAULTS[values])
    with pytest.raises(AssertionError):
        test(Choice(found, found.spec.options()), *(["empty-truth"] if "undefined" in FAULTS[values] else []))
