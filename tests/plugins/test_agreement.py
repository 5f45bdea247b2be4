"""On random masks our metrics equal MONAI, torchmetrics, scikit-learn and SciPy; where one mask is empty, what each says.

Of two empty masks conventions differ: ours is 1 for Dice and IoU, as MONAI's with `ignore_empty=False`; torchmetrics and
scikit-learn say 0, SciPy 1 (a distance of 0).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics import DiceMetric, MeanIoU
from numpy.typing import NDArray
from scipy.spatial import distance
from sklearn import metrics as sklearn
from torchmetrics.functional import classification as torchmetrics

from segkit import plugins
from segkit.task import CaseResult, Task

TASK = Task(1, ("background", "organ"))
Mask = NDArray[np.int64]
Oracle = Callable[[Mask, Mask], float]


def ours(name: str, truth: Mask, found: Mask) -> float:
    spec = plugins.load().find("metrics", name).spec
    metric = spec.load()(TASK, spec.options())
    result = CaseResult(found[None].astype(np.float32), found, truth, TASK)
    return float(dict(metric.finish(metric.measure(result)))["organ"])


def of_monai(metric: Any) -> Oracle:
    def value(truth: Mask, found: Mask) -> float:
        own = metric(include_background=True, ignore_empty=False)
        return float(own(*(torch.from_numpy(mask[None, None]) for mask in (found, truth)))[0, 0])

    return value


def of_torchmetrics(function: Any) -> Oracle:
    return lambda truth, found: float(function(*(torch.from_numpy(mask.ravel()) for mask in (found, truth))))


def of_sklearn(function: Any) -> Oracle:
    return lambda truth, found: float(function(truth.ravel(), found.ravel()))


ORACLES: dict[str, dict[str, Oracle]] = {
    "dice": {
        "monai": of_monai(DiceMetric),
        "torchmetrics": of_torchmetrics(torchmetrics.binary_f1_score),
        "sklearn": of_sklearn(lambda *pair: sklearn.f1_score(*pair, zero_division=0)),
        "scipy": lambda truth, found: 1 - float(distance.dice(truth.ravel() > 0, found.ravel() > 0)),
    },
    "iou": {
        "monai": of_monai(MeanIoU),
        "torchmetrics": of_torchmetrics(torchmetrics.binary_jaccard_index),
        "sklearn": of_sklearn(lambda *pair: sklearn.jaccard_score(*pair, zero_division=0)),
        "scipy": lambda truth, found: 1 - float(distance.jaccard(truth.ravel() > 0, found.ravel() > 0)),
    },
    "precision": {"torchmetrics": of_torchmetrics(torchmetrics.binary_precision)},
    "recall": {"torchmetrics": of_torchmetrics(torchmetrics.binary_recall)},
    "specificity": {"torchmetrics": of_torchmetrics(torchmetrics.binary_specificity)},
    "mcc": {
        "torchmetrics": of_torchmetrics(torchmetrics.binary_matthews_corrcoef),
        "sklearn": of_sklearn(sklearn.matthews_corrcoef),
    },
}
PAIRS = [(name, tool) for name, tools in ORACLES.items() for tool in tools]


def masks(draw: np.random.Generator) -> Mask:
    mask = (draw.random((6, 7)) < draw.uniform(0.05, 0.95)).astype(np.int64)
    mask[0, 0], mask[5, 6] = 1, 0  # neither empty nor full
    return mask


@pytest.mark.parametrize(("name", "tool"), PAIRS)
@given(seed=st.integers(0, 2**32 - 1))
def test_masks_that_hold_something_are_scored_alike(name: str, tool: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    truth, found = masks(draw), masks(draw)
    assert ours(name, truth, found) == pytest.approx(ORACLES[name][tool](truth, found), abs=1e-6)


@pytest.mark.parametrize(("name", "tool"), [pair for pair in PAIRS if pair[0] in ("dice", "iou")])
def test_one_empty_mask_is_0_for_all_and_two_are_1_or_0(name: str, tool: str) -> None:
    some, nothing = masks(np.random.default_rng(0)), np.zeros((6, 7), np.int64)
    oracle = ORACLES[name][tool]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for truth, found in ((some, nothing), (nothing, some)):
            assert ours(name, truth, found) == oracle(truth, found) == 0
        assert ours(name, nothing, nothing) == 1
        both = oracle(nothing, nothing)
    said = {"monai": (1.0,), "torchmetrics": (0.0,), "sklearn": (0.0,), "scipy": (1.0, math.nan)}[tool]
    assert any(both == pytest.approx(value, nan_ok=True) for value in said)


def test_undefined_is_not_0_where_the_libraries_say_0() -> None:
    """Nothing was predicted: precision has no denominator. Nothing is true: recall has none."""
    some, nothing = masks(np.random.default_rng(0)), np.zeros((6, 7), np.int64)
    assert math.isnan(ours("precision", some, nothing)) and ORACLES["precision"]["torchmetrics"](some, nothing) == 0
    assert math.isnan(ours("recall", nothing, some)) and ORACLES["recall"]["torchmetrics"](nothing, some) == 0
    assert ours("recall", some, nothing) == ours("precision", nothing, some) == 0
