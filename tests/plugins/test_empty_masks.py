"""What empty masks count is what the page on scoring says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from segkit import plugins
from segkit.task import CaseResult, Task

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
TASK = Task(1, ("background", "organ"))
SIDES = (6, 8)


def rows() -> list[tuple[str, list[str]]]:
    lines = PAGE.read_text().split("| metric | both empty |")[1].splitlines()[2:]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[: lines.index("")]]
    return [(name.strip("` "), cells) for names, *cells in table for name in names.split(",")]


@pytest.mark.parametrize(("name", "cells"), rows())
def test_an_empty_mask_counts_what_the_table_says(name: str, cells: list[str]) -> None:
    some, nothing = np.zeros((2, *SIDES), np.int64)
    some[2:4, 3:5] = 1
    spec = plugins.load().find("metrics", name).spec
    metric = spec.load()(TASK, spec.options())
    for (truth, labels), said in zip([(nothing, nothing), (nothing, some), (some, nothing)], cells, strict=True):
        result = CaseResult(labels[None].astype(np.float32), labels, truth, TASK)
        value = metric.finish(metric.measure(result))["organ"]
        expected = {"undefined": math.nan, "the image's diagonal": math.hypot(*SIDES)}.get(said)
        assert value == pytest.approx(float(said) if expected is None else expected, nan_ok=True), (name, said)
