"""How sure a mean is: bootstrap over groups, since the slices or frames of one patient are no independent cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 10_000
BLOCK = 1_000  # resamples at a time, so that thousands of groups fit into memory
FEW_GROUPS = 50  # below which intervals of a mean are known to be too narrow (BRIDGE 2025)


@dataclass(frozen=True)
class Interval:
    """A confidence interval of a mean.

    Args:
        low, high: its ends.
        level: how often such intervals hold the true mean, about.
        groups: that were drawn from.
    """

    low: float
    high: float
    level: float
    groups: int


def interval_of_mean(
    values: Sequence[float], groups: Sequence[str], level: float = LEVEL, resamples: int = RESAMPLES
) -> Interval | None:
    """The percentile interval of the mean over cases, drawing whole groups; None for fewer than two groups.

    Args:
        values: of the cases; NaN is left out.
        groups: of each case.
        level: of the interval.
        resamples: how often the groups are drawn, always alike.
    """
    known = [(value, group) for value, group in zip(values, groups, strict=True) if value == value]
    names = {group: place for place, group in enumerate(dict.fromkeys(group for _, group in known))}
    if len(names) < 2:
        return None
    places = np.array([names[group] for _, group in known])
    sums = np.bincount(places, [value for value, _ in known], len(names))
    sizes = np.bincount(places, minlength=len(names))
    draw, means = np.random.default_rng(0), []
    for done in range(0, resamples, BLOCK):
        drawn = draw.multinomial(len(names), np.full(len(names), 1 / len(names)), min(BLOCK, resamples - done))
        means.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, len(names))
