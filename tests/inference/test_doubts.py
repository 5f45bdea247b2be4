"""Five masks of which none holds anything are no accident, and said to be none."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from segkit.inference.doubts import Doubts
from segkit.inference.network import Network
from segkit.settings import Preprocess
from segkit.task import Task


@pytest.mark.parametrize(("masks", "said"), [([True] * 5, True), ([True] * 4, False), ([True] * 9 + [False], False)])
def test_masks_that_are_all_empty_are_told(caplog: pytest.LogCaptureFixture, masks: list[bool], said: bool) -> None:
    doubts = Doubts(Network(lambda batch: batch, 2, Task(1, ("background", "x")), Preprocess("native", intensity="zscore")))
    doubts.look("a", np.zeros((1, 4, 4), np.float32))
    for empty in masks:
        doubts.count(empty)
    with caplog.at_level(logging.WARNING, "segkit"):
        doubts.say_rest()
    assert ("all 5 predicted masks are empty" in caplog.text) == said
