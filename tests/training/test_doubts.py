"""Hardly any validation case, and a model that finds nothing in them, are said in words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from segkit.config.complete import Config
from segkit.training.doubts import doubt_of_cases, doubt_of_figures


def config(name: str = "dice", higher: bool = True) -> Config:
    metric: Any = SimpleNamespace(spec=SimpleNamespace(name=name, higher_is_better=higher))
    return SimpleNamespace(headline=name, metrics=(metric,))  # type: ignore[return-value]


def history(train: list[float], val: list[float], name: str = "dice") -> list[dict[str, float]]:
    return [{f"train_{name}": one, f"val_{name}": other} for one, other in zip(train, val, strict=True)]


@pytest.mark.parametrize(("count", "words"), [(0, ""), (1, "is 1 validation case:"), (2, "are 2 validation"), (3, "")])
def test_few_validation_cases(count: int, words: str) -> None:
    found = doubt_of_cases({"train": ["a"], "val": [str(n) for n in range(count)], "test": []})
    assert words in found and bool(found) == bool(words)


def test_a_model_that_finds_nothing_in_validation_is_told_once_and_at_the_end() -> None:
    rows = history([0.9] * 6, [0.0] * 6)
    said = [bool(doubt_of_figures(rows[:done], config(), ended=done == 6)) for done in range(1, 7)]
    assert said == [False, False, True, False, False, True]
    assert "validation dice is 0.000 beside 0.900 in training" in doubt_of_figures(rows, config(), ended=True)


@pytest.mark.parametrize(
    ("train", "val"), [([0.9], [0.5]), ([0.3, 0.4], [0.0, 0.0]), ([0.9] * 4, [0.0, 0.0, 0.0, 0.6]), ([0.01] * 4, [0.0] * 4)]
)
def test_models_that_learn_or_have_just_begun_are_not_doubted(train: list[float], val: list[float]) -> None:
    assert doubt_of_figures(history(train, val), config(), ended=True) == ""


def test_a_model_that_learned_nothing_is_told_at_the_end() -> None:
    assert "nothing was learned" in doubt_of_figures(history([0.01] * 5, [0.0] * 5), config(), ended=True)


def test_metrics_of_which_zero_is_best_are_left_alone() -> None:
    assert doubt_of_figures(history([0.9] * 5, [0.0] * 5, "hd95"), config("hd95", higher=False), ended=True) == ""
