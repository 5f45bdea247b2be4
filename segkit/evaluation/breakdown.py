"""Figures of parts of the cases: by the size of their target, by label, or by anything else that is known of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from segkit.errors import UsageError, did_you_mean
from segkit.evaluation.aggregate import SLICES, CaseScore, Figure, aggregate
from segkit.task import Case, CaseResult, Metric, Task

SIZE = "size"  # of the target
MOST_PARTS = 8  # different values, from which on numbers are cut into quarters
Fact = str | float


def facts_of_case(case: Case | None, result: CaseResult) -> dict[str, Fact]:
    """What is known of a case: label, plain metadata, and the size of its true foreground in mm2 or mm3 (or pixels)."""
    found: dict[str, Fact] = {}
    if case is not None:
        found |= {key: value for key, value in case.metadata.items() if isinstance(value, str | int | float)}
        found |= {"label": case.label} if case.label is not None else {}
    task, truth = result.task, result.truth
    if result.slice_axis is not None:
        found[SLICES] = float(result.probabilities.shape[1:][result.slice_axis if result.probabilities.ndim > 2 else 0])
    if task.kind == "segmentation":
        held = (truth > 0) if task.ignore_index is None else (truth > 0) & (truth != task.ignore_index)
        held = held.any(axis=0) if task.mode == "multilabel" else held
        found[SIZE] = float(np.count_nonzero(held) * np.prod(result.spacing or (1.0,)))
    return found


def parts_of(scores: Sequence[CaseScore], key: str) -> dict[str, list[CaseScore]]:
    """The cases by what is known of them; many numbers are cut into quarters of equally many cases.

    Raises:
        UsageError: nothing of this name is known of any case.
    """
    known = [(score.facts[key], score) for score in scores if key in score.facts]
    if not known:
        names = list(dict.fromkeys(name for score in scores for name in score.facts))
        raise UsageError(f"--by {key}: nothing of this name is known of the cases.", did_you_mean(key, names))
    values = {value for value, _ in known}
    if len(values) > MOST_PARTS and not any(isinstance(value, str) for value in values):
        return _quarters([(float(value), score) for value, score in known])
    parts: dict[str, list[CaseScore]] = {}
    for value, score in sorted(known, key=lambda pair: (isinstance(pair[0], str), pair[0])):
        parts.setdefault(value if isinstance(value, str) else f"{value:g}", []).append(score)
    return parts


def _quarters(known: Sequence[tuple[float, CaseScore]]) -> dict[str, list[CaseScore]]:
    limits = np.unique(np.quantile([value for value, _ in known], [0, 0.25, 0.5, 0.75, 1]))
    parts: dict[str, list[CaseScore]] = {}
    for low, high in itertools.pairwise(limits):
        own = [score for value, score in known if low < value <= high or (value == low == limits[0])]
        if own:
            parts[f"{low:.4g} to {high:.4g}"] = own
    return parts


def breakdown(
    scores: Sequence[CaseScore], key: str, metrics: Mapping[str, Metric], task: Task
) -> dict[str, dict[str, Figure]]:
    """The figures of each part, case by case.

    Raises:
        UsageError: as `parts_of`.
    """
    return {name: aggregate(metrics, own, "per_case", task) for name, own in parts_of(scores, key).items()}
