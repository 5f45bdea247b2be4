"""Metrics of surfaces, objects and volumes equal MONAI, SciPy and hand computations, and worsen where they must."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from scipy import ndimage

from segkit import plugins
from segkit.evaluation.aggregate import add, finish, score_case
from segkit.options import build
from segkit.task import CaseResult, Metric, Task

VOLUME = Task(1, ("background", "organ"), dims=3)
TUMOUR = Task(
    1, ("background", "NCR", "ED", "ET"), 3, "multiclass", regions={"WT": ("NCR", "ED", "ET"), "TC": ("NCR", "ET")}
)
NAMES = ("dice", "iou", "recall", "lesion-recall", "hd95", "assd", "nsd")


def metric(name: str, task: Task = VOLUME, **options: object) -> Metric:
    spec = plugins.load().find("metrics", name).spec
    return spec.load()(task, build(spec.options, options, "metrics"))  # type: ignore[no-any-return]


def result(truth: NDArray[Any], labels: NDArray[Any], task: Task = VOLUME, spacing: Any = None) -> CaseResult:
    return CaseResult(np.zeros((task.outputs, *truth.shape), np.float32), labels, truth, task, spacing)


def value(name: str, truth: NDArray[Any], labels: NDArray[Any], spacing: Any = None, **options: object) -> float:
    found = metric(name, **options)
    return dict(found.finish(found.measure(result(truth, labels, spacing=spacing))))["organ"]


def blobs(seed: int, shape: tuple[int, ...] = (14, 15, 16)) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A smooth random mask and another one like it."""
    draw = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(draw.normal(size=shape), 2)
    other = noise + 0.5 * ndimage.gaussian_filter(draw.normal(size=shape), 2)
    return (noise > 0.05).astype(np.int64), (other > 0.05).astype(np.int64)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [None, (1.0, 0.5, 3.0)])
def test_distances_are_monais(seed: int, spacing: tuple[float, ...] | None) -> None:
    truth, labels = blobs(seed)
    pair = [torch.from_numpy(np.stack([mask == 0, mask == 1])[None]) for mask in (labels, truth)]
    hd95 = compute_hausdorff_distance(*pair, percentile=95, spacing=spacing).item()
    assd = compute_average_surface_distance(*pair, symmetric=True, spacing=spacing).item()
    nsd = compute_surface_dice(*pair, class_thresholds=[1.5], spacing=spacing).item()
    assert value("hd95", truth, labels, spacing) == pytest.approx(hd95, rel=1e-5)
    assert value("hd95", truth, labels, spacing, percentile=100) == pytest.approx(
        compute_hausdorff_distance(*pair, spacing=spacing).item(), rel=1e-5
    )
    assert value("assd", truth, labels, spacing) == pytest.approx(assd, rel=1e-5)
    assert value("nsd", truth, labels, spacing, tolerance=1.5) == pytest.approx(nsd)


@pytest.mark.parametrize("seed", range(4))
def test_distances_are_the_same_with_and_without_the_faster_package(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("edt", reason="the package edt is not installed")
    truth, labels = blobs(seed)
    fast = [value(name, truth, labels, (1.0, 0.5, 3.0)) for name in ("hd95", "assd")]
    monkeypatch.setattr("segkit_metrics.surface.edt", None)
    assert fast == pytest.approx([value(name, truth, labels, (1.0, 0.5, 3.0)) for name in ("hd95", "assd")], rel=1e-5)


def test_distances_by_hand() -> None:
    """A pixel and one three columns on, 2 mm apart: 6 mm each way. Beside it a second pixel, far from the other mask."""
    truth, labels = np.zeros((2, 1, 1, 12), np.int64)
    truth[0, 0, 2] = labels[0, 0, 5] = 1
    assert value("hd95", truth, labels, (1, 1, 2)) == value("assd", truth, labels, (1, 1, 2)) == 6
    assert value("nsd", truth, labels, (1, 1, 2)) == 0 and value("nsd", truth, labels, (1, 1, 2), tolerance=6) == 1
    labels[0, 0, 11] = 1  # from the prediction 6 and 18 mm, from the truth 6 mm
    assert value("assd", truth, labels, (1, 1, 2)) == 10
    assert value("hd95", truth, labels, (1, 1, 2)) == pytest.approx(6 + 0.95 * 12)
    assert value("hd95", truth, labels, (1, 1, 2), pooled=True) == pytest.approx(6 + 0.9 * 12)  # of 6, 6 and 18


def test_empty_masks_follow_the_table() -> None:
    some, nothing = blobs(0)[0], np.zeros((14, 15, 16), np.int64)
    diagonal = math.sqrt(14**2 + 30**2 + 16**2)
    assert value("hd95", nothing, nothing, (1, 2, 1)) == value("assd", nothing, nothing) == 0
    assert value("nsd", nothing, nothing) == 1 and value("nsd", nothing, some) == value("nsd", some, nothing) == 0
    assert value("hd95", some, nothing, (1, 2, 1)) == value("hd95", nothing, some, (1, 2, 1)) == pytest.approx(diagonal)
    assert math.isnan(value("lesion-recall", nothing, some)) and value("lesion-recall", some, nothing) == 0
    assert math.isnan(value("lesion-precision", some, nothing)) and value("lesion-precision", nothing, some) == 0
    assert math.isnan(value("lesion-f1", nothing, nothing)) and value("lesion-f1", nothing, some) == 0


@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 10))
def test_distances_scale_with_the_spacing(seed: int, factor: float) -> None:
    truth, labels = blobs(seed, (6, 7, 8))
    for name in ("hd95", "assd"):
        one, many = (value(name, truth, labels, (step, 2 * step, step)) for step in (1.0, factor))
        assert many == pytest.approx(factor * one)


@given(seed=st.integers(0, 10_000))
def test_emptying_the_prediction_never_improves_a_figure(seed: int) -> None:
    truth, labels = blobs(seed, (6, 7, 8))
    truth[0, 0, 0] = 1
    for name in NAMES:
        some, nothing = value(name, truth, labels), value(name, truth, np.zeros_like(truth))
        higher = plugins.load().find("metrics", name).spec.higher_is_better
        assert nothing <= some if higher else nothing >= some, name


def test_objects_by_hand() -> None:
    """Three objects, of 1, 4 and 9 pixels; the second is touched by a corner of the prediction, the third half covered."""
    truth, labels = np.zeros((2, 1, 12, 12), np.int64)
    truth[0, 0, 0], truth[0, 3:5, 3:5], truth[0, 7:10, 7:10] = 1, 1, 1
    labels[0, 2:4, 2:4], labels[0, 7:9, 7:10], labels[0, 11, 0] = 1, 1, 1
    assert value("lesion-recall", truth, labels) == pytest.approx(2 / 3)
    assert value("lesion-precision", truth, labels) == pytest.approx(2 / 3)
    assert value("lesion-f1", truth, labels) == pytest.approx(4 / (4 + 1 + 1))
    assert value("lesion-false-positives", truth, labels) == 1
    assert value("lesion-recall", truth, labels, overlap=0.5) == pytest.approx(1 / 3)
    assert value("lesion-recall", truth, labels, smallest=2) == 1
    assert value("lesion-recall", truth, labels, smallest=9) == 1


def test_pixels_that_touch_by_a_corner_are_one_object_unless_faces_are_asked_for() -> None:
    truth = np.eye(3, dtype=np.int64)[None]
    labels = np.zeros_like(truth)
    labels[0, 0, 0] = 1
    assert value("lesion-recall", truth, labels) == 1
    assert value("lesion-recall", truth, labels, connectivity="faces") == pytest.approx(1 / 3)


def test_volumes_by_hand() -> None:
    """Five voxels of 6 mm3, four found: three rightly, one in vain."""
    truth, labels = np.zeros((2, 1, 1, 8), np.int64)
    truth[0, 0, :5] = labels[0, 0, 2:6] = 1
    spacing = (1.0, 2.0, 3.0)
    assert value("volume-error", truth, labels, spacing) == pytest.approx((4 - 5) / 5)
    assert value("false-positive-volume", truth, labels, spacing) == 6
    assert value("false-negative-volume", truth, labels, spacing) == 12
    assert math.isnan(value("volume-error", np.zeros_like(truth), labels))


def test_regions_are_scored_as_unions_of_their_classes() -> None:
    draw = np.random.default_rng(0)
    truth, labels = draw.integers(0, 4, (2, 5, 6, 7))
    metrics = {name: metric(name, TUMOUR) for name in (*NAMES, "specificity", "mcc", "false-positive-volume")}
    values = score_case(metrics, "a", "a", result(truth, labels, TUMOUR)).values
    for region, numbers in {"WT": (1, 2, 3), "TC": (1, 3)}.items():
        alone = result(np.isin(truth, numbers).astype(int), np.isin(labels, numbers).astype(int))
        binary = {name: metric(name) for name in metrics}
        expected = score_case(binary, "a", "a", alone).values
        for name in metrics:
            assert values[f"{name}/{region}"] == pytest.approx(expected[f"{name}/organ"]), (region, name)


def test_distances_of_several_cases_add_up_to_their_mean() -> None:
    metrics = {"hd95": metric("hd95"), "assd": metric("assd")}
    scores = [score_case(metrics, str(seed), "a", result(*blobs(seed))) for seed in range(3)]
    total = finish(metrics, add(score.counts for score in scores))
    for name in ("hd95/organ", "assd/organ"):
        assert total[name] == pytest.approx(np.mean([score.values[name] for score in scores]))
