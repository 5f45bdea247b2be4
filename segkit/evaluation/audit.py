"""Distances under the definitions that are in use, and whether it matters which: `segkit evaluate --audit`.

Tools differ in what they call by one name, by more than many papers' improvements (Reinke 2024): the 95th percentile of the
Hausdorff distance is the larger of the two directions (MONAI), or that of all distances together; the average distance is
over the points of both surfaces (MONAI), or the mean of the two directions' means.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from segkit.evaluation.aggregate import CaseScore, Figure

DEFINITIONS: Mapping[str, Mapping[str, str]] = {  # of a distance: the metrics, each with its words
    "hd95": {"hd95": "larger of the two directions (MONAI)", "hd95-pooled": "both directions together"},
    "assd": {"assd": "over the points of both surfaces (MONAI)", "assd-of-means": "mean of the two directions' means"},
}
METRICS = tuple(name for names in DEFINITIONS.values() for name in names)


@dataclass(frozen=True)
class Audit:
    """One distance under several definitions.

    Args:
        means: over cases, of the foreground classes, by metric.
        pairs, changed: pairs of cases, and how many of them the definitions put in another order.
        worst: the worst case, by metric.
        classes: the classes from the best to the worst, by metric.
    """

    means: Mapping[str, float]
    pairs: int
    changed: int
    worst: Mapping[str, str]
    classes: Mapping[str, tuple[str, ...]]

    @property
    def ranking_changes(self) -> bool:
        return bool(self.changed) or len(set(self.classes.values())) > 1


def audit(scores: Sequence[CaseScore], figures: Mapping[str, Figure], foreground: Sequence[str]) -> dict[str, Audit]:
    """Of each distance that was measured under every definition, by its name.

    Args:
        scores: of every case.
        figures: over cases.
        foreground: the classes.
    """
    found = {}
    for distance, definitions in DEFINITIONS.items():
        if not all(name in figures for name in definitions):
            continue
        values = {name: _over_classes(scores, name, foreground) for name in definitions}
        first, second = ([values[name][score.id] for score in scores] for name in definitions)
        orders = [
            (a1 - a2) * (b1 - b2) < 0
            for (a1, b1), (a2, b2) in itertools.combinations(zip(first, second, strict=True), 2)
            if not any(map(math.isnan, (a1, a2, b1, b2)))
        ]
        means = {name: figures[name].mean for name in definitions}
        classes = {name: tuple(sorted(foreground, key=_by_mean(figures, name))) for name in definitions}
        worst = {name: max(own, key=_by_value(own)) for name, own in values.items()}
        found[distance] = Audit(means, len(orders), sum(orders), worst, classes)
    return found


def _over_classes(scores: Sequence[CaseScore], metric: str, foreground: Sequence[str]) -> dict[str, float]:
    """By case, the mean over the classes where it is defined."""
    found = {}
    for score in scores:
        own = [score.values.get(f"{metric}/{name}", math.nan) for name in foreground]
        known = [value for value in own if not math.isnan(value)]
        found[score.id] = math.fsum(known) / len(known) if known else math.nan
    return found


def _by_mean(figures: Mapping[str, Figure], metric: str) -> Callable[[str], float]:
    return lambda name: figures[f"{metric}/{name}"].mean


def _by_value(values: Mapping[str, float]) -> Callable[[str], float]:
    return lambda case: -math.inf if math.isnan(values[case]) else values[case]


def in_words(distance: str, found: Audit) -> list[str]:
    """What a reader should know of a distance."""
    told = DEFINITIONS[distance]
    lines = [
        f"{distance} in mm, by definition: " + "; ".join(f"{told[name]} {mean:.4f}" for name, mean in found.means.items())
    ]
    if not found.ranking_changes:
        return [*lines, f"{distance}: the order of cases and classes is the same under both definitions."]
    lines.append(f"{distance}: the definitions put {found.changed} of {found.pairs} pairs of cases in another order.")
    worst = list(found.worst.values())
    if len(set(worst)) > 1:
        lines.append(f"{distance}: the worst case is {worst[0]} by the first, {worst[1]} by the second.")
    orders = list(found.classes.values())
    if len(set(orders)) > 1:
        lines.append(
            f"{distance}: best to worst class {', '.join(orders[0])} by the first, {', '.join(orders[1])} by the second."
        )
    return lines
