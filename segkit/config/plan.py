"""What a plan has decided: settings that were left on auto, each with its reason, and what was measured for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segkit.options import in_words


@dataclass(frozen=True)
class Decision:
    """A setting that was left open: its key as -o takes it, its value, and why, in a few words.

    >>> print(Decision("preprocess.size", (128, 160), "median 288,384, 44 % of it"))
    size 128,160: median 288,384, 44 % of it
    """

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key.partition('.')[2]} {in_words(self.value)}: {self.reason}"


@dataclass(frozen=True)
class Plan:
    """All decisions of a plan.

    Args:
        decisions: in the order in which they were taken.
        measured: what they rest on: facts of the data and times of steps, as JSON knows values.
        seconds: that the training is expected to take; None where nothing was measured.
    """

    decisions: tuple[Decision, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows values."""
        decisions = [{"key": one.key, "value": _plain(one.value), "reason": one.reason} for one in self.decisions]
        return {"decisions": decisions, "measured": dict(self.measured), "seconds": self.seconds}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
