"""Confidence intervals of means over groups of cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from segkit.evaluation.statistics.bootstrap import bootstrap_interval


def test_the_interval_is_scipys_percentile_bootstrap_where_each_case_is_its_own_group() -> None:
    values = np.random.default_rng(3).beta(8, 2, 40)
    ours = bootstrap_interval(list(values), [str(index) for index in range(40)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(1))
    assert ours == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.004)
    torn = bootstrap_interval(list(np.repeat(values[:10], 4)), [str(index // 4) for index in range(40)])
    assert torn is not None and torn[1] - torn[0] > 1.2 * (ours[1] - ours[0])  # type: ignore[index]
    assert bootstrap_interval([0.5, 0.6], ["one", "one"]) is None
