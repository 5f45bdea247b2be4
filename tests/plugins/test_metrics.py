"""Metrics equal hand computations and scikit-learn; empty masks follow the stated rules."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as oracle

from segkit import plugins
from segkit.config.complete import complete_metrics
from segkit.config.resolve import Choice
from segkit.evaluation.aggregate import AGGREGATIONS, aggregate, build_metrics, score_case
from segkit.task import CaseResult, Metric, Task

BINARY = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
LAYERS = Task(1, ("background", "WT", "TC"), mode="multilabel")


def all_metrics(task: Task) -> dict[str, Metric]:
    found = [item for item in plugins.load().all("metrics") if item.spec.suits(task)]
    return build_metrics([Choice(item, item.spec.options()) for item in found], task)


def score(task: Task, truth: object, labels: object) -> dict[str, float]:
    truth, labels = np.asarray(truth), np.asarray(labels)
    result = CaseResult(np.zeros((task.outputs, *truth.shape[-2:]), np.float32), labels, truth, task)
    return dict(score_case(all_metrics(task), "a", "g", result).values)


def test_one_case_by_hand() -> None:
    values = score(BINARY, [[1, 1, 1, 0], [0, 0, 0, 0]], [[1, 1, 0, 1], [0, 0, 0, 0]])  # TP 2, FP 1, FN 1, TN 4
    expected = {"dice": 4 / 6, "iou": 2 / 4, "precision": 2 / 3, "recall": 2 / 3, "specificity": 4 / 5, "accuracy": 6 / 8}
    assert {name: values[f"{name}/polyp"] for name in expected} == pytest.approx(expected)
    assert values["confusion/polyp/background"] == pytest.approx(1 / 3)
    assert values["accuracy"] == values["pixel-accuracy"] == 6 / 8


def test_the_accuracy_of_several_classes_is_the_share_of_right_pixels_and_no_mean_over_classes() -> None:
    truth, labels = [[0, 0, 0, 0, 0, 1, 1, 2, 2, 3]], [[0, 0, 0, 0, 1, 1, 2, 2, 3, 3]]  # 7 of 10 are right
    values = score(HEART, truth, labels)
    assert values["pixel-accuracy"] == values["accuracy"] == 0.7
    against_the_rest = {"background": 0.9, "RV": 0.8, "myocardium": 0.8, "LV": 0.9}
    assert {name: values[f"accuracy/{name}"] for name in HEART.classes} == pytest.approx(against_the_rest)
    metrics = all_metrics(HEART)
    result = CaseResult(np.zeros((4, 1, 10), np.float32), np.array(labels), np.array(truth), HEART)
    for how in AGGREGATIONS:
        figures = aggregate(metrics, [score_case(metrics, "1", "1", result)], how, HEART)
        assert figures["pixel-accuracy"].mean == figures["accuracy"].mean == 0.7  # the mean over classes would be 0.85


def test_pixel_accuracy_of_overlapping_classes_counts_every_decision_and_ignored_pixels_none() -> None:
    assert score(LAYERS, [[[1, 1, 0]], [[1, 0, 0]]], [[[1, 0, 0]], [[1, 0, 0]]])["pixel-accuracy"] == pytest.approx(5 / 6)
    task = Task(1, ("background", "polyp"), ignore_index=255)
    assert score(task, [[1, 0, 255, 255]], [[1, 1, 1, 0]])["pixel-accuracy"] == 0.5
    assert math.isnan(score(task, [[255, 255]], [[1, 0]])["pixel-accuracy"])


def test_masks_are_shown_with_the_share_of_right_pixels_and_classes_with_that_of_right_cases() -> None:
    catalogue = plugins.load()
    for task, usual in ((HEART, "pixel-accuracy"), (BINARY, "pixel-accuracy"), (HEART.as_classification(), "accuracy")):
        names = [choice.spec.name for choice in complete_metrics((), task, catalogue)]
        assert [name for name in names if "accuracy" in name] == [usual]


@given(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.7, 0.9, 1.0])), st.data()
)
def test_auroc_equals_scikit_learns_however_the_cases_are_divided(scores: np.ndarray, data: st.DataObject) -> None:  # type: ignore[type-arg]
    truth = data.draw(arrays.arrays(np.int64, len(scores), elements=st.integers(0, 1)))
    cut = data.draw(st.integers(0, len(scores)))
    task = BINARY.as_classification()
    metrics = all_metrics(task)
    parts = [(scores[:cut], truth[:cut]), (scores[cut:], truth[cut:])]
    scored = []
    for number, (own, labels) in enumerate(parts):
        result = CaseResult(np.stack([1 - own, own]), (own > 0.5).astype(np.uint8), labels, task)
        scored.append(score_case(metrics, str(number), str(number), result))
    figures = aggregate(metrics, scored, "pooled", task)
    if len(set(truth)) == 2:
        assert figures["auroc/present"].mean == pytest.approx(oracle.roc_auc_score(truth, scores))
        assert figures["auroc"].mean == figures["auroc/present"].mean
    else:
        assert math.isnan(figures["auroc/present"].mean)
    found = scores > 0.5
    expected = {
        "accuracy": oracle.accuracy_score(truth, found),
        "precision": oracle.precision_score(truth, found, zero_division=math.nan),
        "recall": oracle.recall_score(truth, found, zero_division=math.nan),
        "specificity": oracle.recall_score(truth, found, pos_label=0, zero_division=math.nan),
        "f1": oracle.f1_score(truth, found, zero_division=math.nan),
    }
    assert {name: figures[f"{name}/present"].mean for name in expected} == pytest.approx(expected, nan_ok=True)


EMPTY, FULL, HALF = [[0, 0]], [[1, 1]], [[1, 0]]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (EMPTY, EMPTY, {"dice": 1, "iou": 1, "precision": None, "recall": None, "specificity": 1, "accuracy": 1}),
        (EMPTY, HALF, {"dice": 0, "iou": 0, "precision": 0, "recall": None, "specificity": 0.5, "accuracy": 0.5}),
        (HALF, EMPTY, {"dice": 0, "iou": 0, "precision": None, "recall": 0, "specificity": 1, "accuracy": 0.5}),
        (FULL, FULL, {"dice": 1, "iou": 1, "precision": 1, "recall": 1, "specificity": None, "accuracy": 1}),
    ],
)
def test_empty_masks_follow_the_rules(truth: object, found: object, expected: dict[str, float | None]) -> None:
    values = score(BINARY, truth, found)
    for name, value in expected.items():
        assert math.isnan(values[f"{name}/polyp"]) if value is None else values[f"{name}/polyp"] == value


MASKS = arrays.arrays(np.int64, (5, 7), elements=st.integers(0, 3))


@given(MASKS, MASKS)
def test_every_class_equals_scikit_learns(truth: np.ndarray, labels: np.ndarray) -> None:  # type: ignore[type-arg]
    values = score(HEART, truth, labels)
    y, z = truth.ravel(), labels.ravel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = oracle.confusion_matrix(y, z, labels=range(4))
        nan = {"labels": list(range(4)), "average": None, "zero_division": np.nan}
        expected = {
            "dice": oracle.f1_score(y, z, labels=range(4), average=None, zero_division=1.0),
            "iou": oracle.jaccard_score(y, z, labels=range(4), average=None, zero_division=1),
            "precision": oracle.precision_score(y, z, **nan),
            "recall": oracle.recall_score(y, z, **nan),
            "accuracy": [oracle.accuracy_score(y == k, z == k) for k in range(4)],
            "specificity": [oracle.recall_score(y != k, z != k, zero_division=np.nan) for k in range(4)],
        }
    for metric, row in expected.items():
        for name, value in zip(HEART.classes, row, strict=True):
            assert values[f"{metric}/{name}"] == pytest.approx(value, nan_ok=True), (metric, name)
    assert values["pixel-accuracy"] == pytest.approx(oracle.accuracy_score(y, z))
    for name, row in zip(HEART.classes, table, strict=True):
        for other, cell in zip(HEART.classes, row, strict=True):
            share = cell / row.sum() if row.sum() else math.nan
            assert values[f"confusion/{name}/{other}"] == pytest.approx(share, nan_ok=True)


@given(
    arrays.arrays(np.int64, (2, 4, 4), elements=st.integers(0, 1)),
    arrays.arrays(np.int64, (2, 4, 4), elements=st.integers(0, 1)),
)
def test_overlapping_classes_are_scored_one_by_one(truth: np.ndarray, labels: np.ndarray) -> None:  # type: ignore[type-arg]
    together = score(LAYERS, truth, labels)
    for index, name in enumerate(LAYERS.foreground):
        alone = score(BINARY, truth[index], labels[index])
        for metric in ("dice", "iou", "precision", "recall", "specificity", "accuracy"):
            assert together[f"{metric}/{name}"] == pytest.approx(alone[f"{metric}/polyp"], nan_ok=True)


@given(MASKS, MASKS)
def test_where_there_is_a_target_finding_nothing_never_improves(truth: np.ndarray, labels: np.ndarray) -> None:  # type: ignore[type-arg]
    truth, labels = truth == 1, labels == 1
    if truth.any():
        found, nothing = score(BINARY, truth, labels), score(BINARY, truth, np.zeros_like(labels))
        for metric in ("dice", "iou", "recall"):
            assert nothing[f"{metric}/polyp"] <= found[f"{metric}/polyp"]


def test_ignored_pixels_do_not_count() -> None:
    task = Task(3, ("background", "polyp"), ignore_index=255)
    assert score(task, [[1, 0, 255, 255]], [[1, 0, 1, 0]])["dice/polyp"] == 1
    assert score(task, [[1, 0, 255, 255]], [[1, 0, 1, 0]])["accuracy/polyp"] == 1


# Two patients: a has a large hit (TP 8) and a miss (FN 1), b one case, half right (TP 1, FP 1).
CASES = [
    ("1", "a", [1] * 8 + [0] * 2, [1] * 8 + [0] * 2),
    ("2", "a", [1] + [0] * 9, [0] * 10),
    ("3", "b", [1] + [0] * 9, [1, 1] + [0] * 8),
]


@pytest.mark.parametrize(
    ("how", "dice", "n", "precision", "undefined"),
    [
        ("per_case", (1 + 0 + 2 / 3) / 3, 3, (1 + 1 / 2) / 2, 1),
        ("per_group", (16 / 17 + 2 / 3) / 2, 2, (1 + 1 / 2) / 2, 0),
        ("pooled", 18 / 20, 1, 9 / 10, 0),
    ],
)
def test_the_aggregations_by_hand(how: str, dice: float, n: int, precision: float, undefined: int) -> None:
    metrics = all_metrics(BINARY)
    scores = [
        score_case(
            metrics, id, group, CaseResult(np.zeros((1, 1, 10), np.float32), np.array([found]), np.array([truth]), BINARY)
        )
        for id, group, truth, found in CASES
    ]
    figures = aggregate(metrics, scores, how, BINARY)
    assert (figures["dice/polyp"].mean, figures["dice/polyp"].n) == (pytest.approx(dice), n)
    assert (figures["precision/polyp"].mean, figures["precision/polyp"].undefined) == (pytest.approx(precision), undefined)
    assert figures["dice"].mean == figures["dice/polyp"].mean


def test_the_mean_is_over_the_foreground_classes() -> None:
    metrics = all_metrics(HEART)
    result = CaseResult(np.zeros((4, 1, 4), np.float32), np.array([[0, 1, 2, 0]]), np.array([[0, 1, 2, 3]]), HEART)
    figures = aggregate(metrics, [score_case(metrics, "1", "1", result)], "per_case", HEART)
    assert figures["dice"].mean == pytest.approx((1 + 1 + 0) / 3)  # the background's 2/3 is not in it


def test_metrics_of_one_count_look_at_the_pixels_once() -> None:
    calls = []

    def measure(result: CaseResult) -> dict[str, int]:
        calls.append(result)
        return {"n": 1}

    metrics = {name: Metric(measure, lambda counts: {"": counts["n"]}) for name in "abc"}
    result = CaseResult(np.zeros((1, 1, 1), np.float32), np.zeros((1, 1)), np.zeros((1, 1)), BINARY)
    assert score_case(metrics, "1", "1", result).values == {"a": 1, "b": 1, "c": 1}
    assert len(calls) == 1
