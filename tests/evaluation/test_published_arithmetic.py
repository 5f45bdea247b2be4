"""Printed precision and recall give the printed Dice, and that the printed IoU: the tables of two papers, pooled.

Every printed number stands for an interval of half a unit of its last digit to either side. The figures of paper 000 are its
Tables 2, 4, 6 and 7 (Ehab and Li 2023), those of paper 003 the means over five seeds of its comparison (Vaona 2025).
"""

from __future__ import annotations

import numpy as np
import pytest

from segkit import plugins
from segkit.task import Metric, Task

TASK = Task(1, ("background", "target"))
MANY = 10**12  # pixels, so that whole numbers of them come to any share
DIGITS = {  # precision, recall, Dice and IoU as they are printed
    "000 polyp U-Net": ("0.852", "0.623", "0.720", "0.563"),
    "000 polyp Res-UNet": ("0.923", "0.939", "0.931", "0.870"),
    "000 polyp Attention Res-UNet": ("0.902", "0.946", "0.923", "0.858"),
    "000 brain U-Net": ("0.913", "0.733", "0.813", "0.686"),
    "000 brain Res-UNet": ("0.925", "0.766", "0.838", "0.721"),
    "000 brain Attention Res-UNet": ("0.881", "0.788", "0.832", "0.712"),
    "000 heart U-Net RV": ("0.91", "0.91", "0.906", "0.829"),
    "000 heart U-Net myocardium": ("0.89", "0.89", "0.893", "0.807"),
    "000 heart U-Net LV": ("0.96", "0.94", "0.951", "0.907"),
    "000 heart Res-UNet RV": ("0.92", "0.92", "0.920", "0.852"),
    "000 heart Res-UNet myocardium": ("0.89", "0.89", "0.888", "0.799"),
    "000 heart Res-UNet LV": ("0.95", "0.94", "0.944", "0.895"),
    "000 heart Attention Res-UNet RV": ("0.91", "0.91", "0.908", "0.831"),
    "000 heart Attention Res-UNet myocardium": ("0.89", "0.88", "0.884", "0.792"),
    "000 heart Attention Res-UNet LV": ("0.94", "0.95", "0.945", "0.895"),
    "003 U-Net": ("0.8623", "0.8240", "0.8427", None),
    "003 Semantic FPN": ("0.8836", "0.8401", "0.8613", None),
}
Interval = tuple[float, float]


def interval(printed: str) -> Interval:
    half = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    return float(printed) - half, float(printed) + half


def meet(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def metric(name: str) -> Metric:
    spec = plugins.load().find("metrics", name).spec
    return spec.load()(TASK, spec.options())  # type: ignore[no-any-return]


def value(name: str, precision: float, recall: float) -> float:
    """Of a table of pixels that has this precision and recall."""
    hits = round(MANY * precision * recall)
    false, missed = round(hits / precision) - hits, round(hits / recall) - hits
    table = np.array([[MANY, false], [missed, hits]])
    return dict(metric(name).finish({"confusion": table}))["target"]


@pytest.mark.parametrize("row", list(DIGITS))
def test_the_printed_dice_follows_from_precision_and_recall_and_the_iou_from_it(row: str) -> None:
    precision, recall, dice, iou = DIGITS[row]
    assert precision and recall and dice
    ends = list(zip(interval(precision), interval(recall), strict=True))  # Dice and IoU grow with both
    for name, (p, r) in zip(("precision", "recall"), ((ends[0][0], ends[1][1]),) * 2, strict=True):
        assert value(name, p, r) == pytest.approx({"precision": p, "recall": r}[name], abs=1e-9)
    low, high = (value("dice", p, r) for p, r in ends)
    assert meet((low, high), interval(dice)), (low, high)
    if iou is not None:
        low, high = (value("iou", d, d) for d in interval(dice))  # precision = recall = Dice has that Dice
        assert meet((low, high), interval(iou)), (low, high)


def test_the_intervals_are_narrow_enough_to_tell_a_wrong_formula() -> None:
    """The mean of precision and recall, in the place of their harmonic mean, is outside for most rows."""
    wrong = 0
    for precision, recall, dice, _ in DIGITS.values():
        assert precision and recall and dice
        ends = list(zip(interval(precision), interval(recall), strict=True))
        wrong += not meet((sum(ends[0]) / 2, sum(ends[1]) / 2), interval(dice))
    assert wrong >= 6
