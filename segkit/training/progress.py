"""How far a training is: what an epoch has added up so far, the history, the kept weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

from segkit import distributed
from segkit.task import Task
from segkit.training.running_metrics import RunningCounts, add_counts


@dataclass
class EpochSums:
    """What an epoch has added up so far, over this process' share of the batches that were trained on."""

    counts: RunningCounts
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        tables = self.counts.by_case
        own = {"total": self.total, "seen": self.seen, "seconds": self.seconds}
        return {**own, "by_case": tables if tables is None else tables.cpu()}

    def over_all(self) -> EpochSums:
        """Over all processes."""
        return add_sums(distributed.all_gather(self.state()), self.counts.task)


def add_sums(states: Sequence[Mapping[str, Any]], task: Task) -> EpochSums:
    """The sums of several processes, from what `EpochSums.state` gave, put together."""
    tables = [state["by_case"] for state in states if state.get("by_case") is not None]  # 0.1.0 kept none by case
    return EpochSums(
        RunningCounts(task, add_counts(tables)),
        math.fsum(state["total"] for state in states),
        sum(state["seen"] for state in states),
        max((state["seconds"] for state in states), default=0.0),
    )


@dataclass
class TrainingProgress:
    """How far a training is.

    Args:
        sums: of the epoch at hand.
        epoch: the one at hand, from 1.
        step: batches of it that are done.
        history: a row for each epoch that is done.
        best_epoch, best_value, best: of the kept weights: their epoch, what decided (smoothed, smaller is better), their
            validation values.
        lowest_epoch, lowest: the epoch of the best single monitored value (smaller is better), by which patience goes.
        kept: these weights, on the CPU.
        seconds: of all sessions.
        ended: why the training is over; empty while it is not.
    """

    sums: EpochSums = field(metadata={"apart": True})
    epoch: int = 1
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.inf
    best: Mapping[str, float] | None = None
    lowest_epoch: int = 0
    lowest: float = math.inf
    kept: dict[str, Tensor] | None = None
    seconds: float = 0.0
    ended: str = ""
    saved: bool = field(default=False, metadata={"apart": True})  # so that it can go on, whatever comes now

    def state(self) -> dict[str, Any]:
        """What a resumed training needs of it, beside the sums, which each process has of its own."""
        return {own.name: getattr(self, own.name) for own in fields(self) if not own.metadata.get("apart")}
