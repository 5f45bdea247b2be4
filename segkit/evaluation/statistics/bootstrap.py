"""Bootstrap confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    values: Sequence[float], groups: Sequence[str], level: float = 0.95, draws: int = 2000
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a mean over cases, by drawing whole groups: cases of one patient are not independent.

    Args:
        values: of the cases.
        groups: of the cases.
        level: how often such an interval shall hold the true mean.
        draws: resamples; the seed is fixed.

    Returns:
        Lower and upper end; None for fewer than two groups.
    """
    members = list(dict.fromkeys(groups))
    if len(members) < 2:
        return None
    sums = np.array(
        [[sum(v for v, g in zip(values, groups, strict=True) if g == own), groups.count(own)] for own in members]
    )
    drawn = np.random.default_rng(0).integers(0, len(members), (draws, len(members)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
