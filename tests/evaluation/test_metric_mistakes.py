"""What a metric plugin gives instead of counts or values is told with its name and with what was expected."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from segkit.errors import SegkitError
from segkit.evaluation.aggregate import score_case
from segkit.task import CaseResult, Metric, Task

ONES = np.ones((2, 2), np.int32)
RESULT = CaseResult(np.ones((1, 2, 2), np.float32), ONES, ONES, Task(3, ("background", "lesion")))


def told(measure: Any, finish: Any) -> str:
    with pytest.raises(SegkitError) as error:
        score_case({"bias": Metric(measure, finish)}, "c1", "g1", RESULT)
    return str(error.value)


@pytest.mark.parametrize(
    ("measured", "words"),
    [(None, "The measure of the metric 'bias' gave a NoneType for case 'c1'"), (0.5, "gave a float for case 'c1'")],
)
def test_a_measure_without_names_is_told(measured: Any, words: str) -> None:
    said = told(lambda result: measured, lambda counts: {"": 1.0})
    assert words in said and "numbers or arrays of one shape by name" in said


@pytest.mark.parametrize(
    ("finished", "words"),
    [
        (0.5, "The finish of the metric 'bias' gave a float"),
        (None, "The finish of the metric 'bias' gave a NoneType"),
        ({"": "a"}, "gave 'a' as its value '', not a number"),
        ({"": None}, "gave None as its value '', not a number"),
        ({"": np.array([1.0, 2.0])}, "as its value '', not a number"),
        ({0: 0.5}, "gave a value called 0"),
        ({"bias": 0.5}, "gave a value called 'bias'"),
    ],
)
def test_a_finish_without_numbers_by_name_is_told(finished: Any, words: str) -> None:
    said = told(lambda result: {"n": 1}, lambda counts: finished)
    assert words in said and "finish(counts) gives numbers by name" in said


@pytest.mark.parametrize("part", ["measure", "finish"])
def test_a_metric_that_exits_is_told_as_its_own_failure(part: str) -> None:
    parts: dict[str, Any] = {"measure": lambda result: {"n": 1}, "finish": lambda counts: {"": 1.0}}
    parts[part] = lambda given: sys.exit(0)
    assert "'bias' failed" in told(**parts) and "SystemExit" in told(**parts)
