"""The metric: what is counted of one case, and what is made of the counts of one case or of the sum over many."""

from __future__ import annotations

from collections.abc import Mapping

from segkit.api import CaseResult, Metric, NoOptions, Task


def measure(result: CaseResult) -> dict[str, int]:
    return {"found": int((result.labels == 1).sum()), "true": int((result.truth == 1).sum())}


def build(task: Task, options: NoOptions) -> Metric:
    def finish(counts: Mapping[str, int]) -> dict[str, float]:
        return {task.foreground[0]: abs(counts["found"] - counts["true"])}  # by class; segkit puts the metric's name before

    return Metric(measure, finish)
