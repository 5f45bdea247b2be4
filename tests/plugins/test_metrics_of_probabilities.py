"""Metrics of probabilities equal scikit-learn, Keras' rules and hand computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special
from sklearn import metrics as oracle

from segkit import plugins
from segkit.options import build
from segkit.task import CaseResult, Metric, Task

BINARY = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
LAYERS = Task(1, ("background", "WT", "TC"), mode="multilabel")


def metric(name: str, task: Task, **options: object) -> Metric:
    spec = plugins.load().find("metrics", name).spec
    return spec.load()(task, build(spec.options, options, "metrics"))  # type: ignore[no-any-return]


def values(name: str, case: CaseResult, **options: object) -> dict[str, float]:
    own = metric(name, case.task, **options)
    return dict(own.finish(own.measure(case)))


def example(task: Task) -> CaseResult:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(task.outputs, 9, 8))
    if task.mode == "multiclass":
        p = special.softmax(logits, axis=0)
        return CaseResult(p.astype(np.float32), p.argmax(0), draw.integers(0, 4, (9, 8)), task)
    p = special.expit(logits)
    shape = (2, 9, 8) if task.mode == "multilabel" else (9, 8)
    return CaseResult(p.astype(np.float32), (p > 0.5).astype(int).reshape(shape), draw.integers(0, 2, shape), task)


def of_class(case: CaseResult, place: int) -> tuple[NDArray[Any], NDArray[Any]]:
    if case.task.mode == "multiclass":
        return case.truth.ravel() == place, case.probabilities[place].ravel().astype(float)
    truth = case.truth[place - 1] if case.task.mode == "multilabel" else case.truth
    return truth.ravel() == 1, case.probabilities[place - 1].ravel().astype(float)


@pytest.mark.parametrize("task", [BINARY, HEART, LAYERS])
def test_soft_metrics_are_the_papers_formulas(task: Task) -> None:
    case = example(task)
    for place, name in enumerate(task.foreground, start=1):
        y, q = of_class(case, place)
        expected = {
            "soft-accuracy": np.mean(y * q + (1 - y) * (1 - q)),
            "soft-precision": (y * q).sum() / q.sum(),
            "soft-recall": (y * q).sum() / y.sum(),
            "soft-iou": (y * q).sum() / (y + q - y * q).sum(),
        }
        assert {key: values(key, case)[name] for key in expected} == pytest.approx(expected)


def test_a_perfect_mask_with_soft_edges_never_reaches_one() -> None:
    """y = 1 and q = .5 everywhere: IoU .5 (Mueller & Wolf)."""
    ones = np.ones((4, 4), np.int64)
    assert values("soft-iou", CaseResult(np.full((1, 4, 4), 0.5, np.float32), ones, ones, BINARY))["polyp"] == 0.5


@pytest.mark.parametrize("task", [BINARY, LAYERS])
def test_the_brier_score_of_a_class_is_scikit_learns(task: Task) -> None:
    case = example(task)
    for place, name in enumerate(task.foreground, start=1):
        assert values("brier", case)[name] == pytest.approx(oracle.brier_score_loss(*of_class(case, place)))


def test_the_brier_score_of_exclusive_classes_is_scikit_learns() -> None:
    case = example(HEART)
    rows = case.probabilities.reshape(4, -1).T.astype(float)
    rows /= rows.sum(1, keepdims=True)
    expected = oracle.brier_score_loss(case.truth.ravel(), rows, labels=range(4), scale_by_half=False)
    assert values("brier", case)[""] == pytest.approx(expected, rel=1e-5)


def test_calibration_by_hand() -> None:
    """Probabilities .1, .1, .9, .9, .9, of which 1 of 2 and 2 of 3 are true: (2 |.5 - .1| + 3 |2/3 - .9|) / 5."""
    p, truth = np.array([[[0.1, 0.1, 0.9, 0.9, 0.9]]], np.float32), np.array([[1, 0, 1, 1, 0]])
    case = CaseResult(p, (p[0] > 0.5).astype(int), truth, BINARY)
    assert values("ece", case, bins=2)["polyp"] == pytest.approx((2 * 0.4 + 3 * (0.9 - 2 / 3)) / 5)
    found = values("reliability", case, bins=2)
    assert found["polyp/0 to 0.5/right"] == 0.5 and found["polyp/0.5 to 1/right"] == pytest.approx(2 / 3)
    assert found["polyp/0.5 to 1/mean"] == pytest.approx(0.9)


def test_calibration_of_exclusive_classes_is_that_of_the_confidence() -> None:
    case = example(HEART)
    confidence, right = case.probabilities.max(0).ravel(), (case.labels == case.truth).ravel()
    place = np.minimum((confidence * 10).astype(int), 9)
    expected = sum(abs(right[place == bin].sum() - confidence[place == bin].sum()) for bin in range(10)) / right.size
    assert values("ece", case, bins=10)[""] == pytest.approx(expected)


@pytest.mark.parametrize("task", [BINARY, HEART])
def test_mcc_and_mean_iou_are_scikit_learns(task: Task) -> None:
    case = example(task)
    truth, labels = case.truth.ravel(), case.labels.ravel()
    found = values("mcc", case)
    assert found[""] == pytest.approx(oracle.matthews_corrcoef(truth, labels))
    for place, name in enumerate(task.foreground, start=1):
        assert found[name] == pytest.approx(oracle.matthews_corrcoef(truth == place, labels == place))
    assert values("mean-iou", case)[""] == pytest.approx(oracle.jaccard_score(truth, labels, average="macro"))


def test_mcc_of_large_tables_does_not_overflow_and_is_zero_where_it_is_not_defined() -> None:
    big = metric("mcc", BINARY).finish({"confusion": np.array([[10**10, 10**9], [10**9, 10**10]], np.int64)})
    assert big[""] == pytest.approx(9 / 11)
    assert metric("mcc", BINARY).finish({"confusion": np.array([[5, 0], [3, 0]])})[""] == 0


def test_the_mean_iou_is_over_the_classes_that_occur() -> None:
    table = np.array([[6, 1, 0, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert metric("mean-iou", HEART).finish({"confusion": table})[""] == pytest.approx((6 / 8 + 2 / 4) / 2)


def test_average_precision_is_scikit_learns() -> None:
    task = BINARY.as_classification()
    draw = np.random.default_rng(0)
    p, truth = np.round(draw.random(40), 1), draw.integers(0, 2, 40)  # with ties
    case = CaseResult(np.stack([1 - p, p]).astype(np.float32), (p > 0.5).astype(int), truth, task)
    assert values("average-precision", case)["present"] == pytest.approx(oracle.average_precision_score(truth, p))


def test_keras_metrics_by_hand() -> None:
    """Probabilities 1, .6, .4, 0 and truth 1, 1, 0, 0, with s = 1.

    Dice: foreground (2 x 1.6 + 1) / (2 + 2 + 1), background the same. MeanIoU cuts .6 and .4 to 0: ones 1/2, zeros 2/3.
    BinaryIoU rounds them: 1.
    """
    p, truth = np.array([[[1, 0.6, 0.4, 0]]], np.float32), np.array([[1, 1, 0, 0]])
    case = CaseResult(p, (p[0] > 0.5).astype(int), truth, BINARY)
    assert values("keras-dice", case)[""] == pytest.approx(4.2 / 5)
    assert values("keras-mean-iou", case)[""] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert values("keras-binary-iou", case)[""] == 1
