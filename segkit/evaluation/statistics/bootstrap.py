"""How sure a mean is: bootstrap over groups, since the slices or frames of one patient are no independent cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    return intervals_of_means({"": values}, groups, {}, level, resamples)[""]


def intervals_of_means(
    columns: Mapping[str, Sequence[float]],
    groups: Sequence[str],
    over: Mapping[str, Sequence[str]],
    level: float = LEVEL,
    resamples: int = RESAMPLES,
) -> dict[str, Interval | None]:
    """Intervals of many means at once, from the same draws of groups.

    Args:
        columns: values of the cases by name.
        groups, level, resamples: as `interval_of_mean` takes them.
        over: names of further means: each is the mean of the means of these columns.
    """
    table = np.array([list(values) for values in columns.values()], np.float64).reshape(len(columns), len(groups)).T
    known, places = ~np.isnan(table), {group: place for place, group in enumerate(dict.fromkeys(groups))}
    of_case = np.array([places[group] for group in groups], np.int64)
    sums, sizes = np.zeros((len(places), len(columns))), np.zeros((len(places), len(columns)))
    np.add.at(sums, of_case, np.where(known, table, 0.0))
    np.add.at(sizes, of_case, known)
    means = _resampled(sums, sizes, resamples)
    number, order = (sizes > 0).sum(axis=0), list(columns)
    found = {name: _interval(means[:, place], int(number[place]), level) for place, name in enumerate(order)}
    for name, parts in over.items():
        own = [order.index(part) for part in parts]
        found[name] = _interval(means[:, own].mean(axis=1), int(number[own].max(initial=0)), level)
    return found


def _resampled(sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """Means (resamples, columns) of groups that are drawn with replacement; NaN where no drawn group has a value."""
    draw, means, number = np.random.default_rng(0), [], len(sums)
    for done in range(0, resamples, BLOCK):
        drawn = draw.multinomial(number, np.full(number, 1 / number), min(BLOCK, resamples - done)) if number else sizes[:0]
        with np.errstate(invalid="ignore"):
            means.append((drawn @ sums) / (drawn @ sizes))
    return np.concatenate(means)


def _interval(means: NDArray[np.float64], groups: int, level: float) -> Interval | None:
    if groups < 2:
        return None
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), level, groups)
