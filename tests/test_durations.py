"""Lengths of time are read as people type them, and said so that they can be typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.durations import duration_words, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("2h", 7200), ("90s", 90), ("1h30m", 5400), ("1H 30M", 5400), ("0.5h", 1800), ("1h0m5s", 3605)],
)
def test_hours_minutes_and_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["10", "0m", "-5m", "", "ten", "5d", "m", "30m1h", "1e3s", "nan", "infs"])
def test_what_is_no_length_of_time_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="10m"):
        seconds_of(text)


@given(st.floats(0.1, 1e6))
def test_what_is_said_can_be_typed_and_is_right(seconds: float) -> None:
    assert seconds_of(duration_words(seconds)) == pytest.approx(seconds, rel=0.06)
