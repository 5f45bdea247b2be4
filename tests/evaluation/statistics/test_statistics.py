"""Intervals and paired tests: what they promise is simulated, and SciPy and hand computations agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segkit.evaluation.statistics.bootstrap import interval_of_mean
from segkit.evaluation.statistics.paired import compare_paired, equivalence, false_claim, groups_for, holm, needed

differences = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=10)


def names(number: int) -> list[str]:
    return [f"g{place}" for place in range(number)]


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    """200 groups of 1 to 5 cases that are alike within a group, 500 times: between 92 and 98 % for a nominal 95 %."""
    draw, held = np.random.default_rng(1), 0
    for _ in range(500):
        sizes = draw.integers(1, 6, 200)
        values = np.repeat(draw.beta(8, 2, 200), sizes) + draw.normal(0, 0.02, sizes.sum())
        found = interval_of_mean(values, np.repeat(names(200), sizes), resamples=1_000)
        assert found is not None and found.groups == 200
        held += found.low <= 0.8 <= found.high
    assert 0.92 <= held / 500 <= 0.98


def test_groups_are_drawn_and_not_cases() -> None:
    """Ten groups of a hundred equal cases each: the interval is as wide as that of ten cases, to the last digit."""
    values = np.random.default_rng(0).random(10)
    few = interval_of_mean(values, names(10))
    many = interval_of_mean(np.repeat(values, 100), np.repeat(names(10), 100))
    assert few is not None and many is not None
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(0).random(60)
    found = interval_of_mean(values, names(60))
    theirs = stats.bootstrap((values,), np.mean, n_resamples=10_000, method="percentile", random_state=0).confidence_interval
    assert found is not None
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)


def test_undefined_values_are_left_out_and_one_group_has_no_interval() -> None:
    assert interval_of_mean([0.5, math.nan, 0.7], ["a", "b", "a"]) is None
    found = interval_of_mean([0.5, math.nan, 0.7], ["a", "b", "c"])
    assert found is not None and found.groups == 2


@given(differences)
def test_p_of_few_groups_is_scipys_permutation_test(values: list[float]) -> None:
    sums = stats.permutation_test(
        (np.array(values),), np.sum, permutation_type="samples", n_resamples=np.inf
    ).null_distribution
    found = compare_paired(values, [0.0] * len(values), names(len(values)))
    assert found.p == pytest.approx(np.mean(np.abs(sums) >= abs(sum(values))))


def test_the_signed_rank_test_is_scipys() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.random(30), draw.random(30)
    found = compare_paired(first, second, names(30), test="wilcoxon")
    assert found.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    interval = stats.ttest_rel(first, second).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_cases_of_a_group_count_once() -> None:
    """Two groups, of 1 and of 99 cases: the mean difference is that of the groups, (0.1 + 0.3) / 2."""
    found = compare_paired([0.1] + [0.3] * 99, [0.0] * 100, ["a"] + ["b"] * 99)
    assert (found.groups, found.cases) == (2, 100) and found.mean == pytest.approx(0.2)
    assert found.p == found.smallest_p == 0.5


def test_the_same_results_do_not_differ() -> None:
    found = compare_paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], names(3))
    assert (found.mean, found.p, found.effect, found.false_claim, found.groups_needed) == (0, 1, None, 0.5, None)


def test_the_probability_of_a_false_claim_is_what_a_simulation_finds() -> None:
    """True differences from a wide normal; of those that look alike (10 groups, t of .8 to 1.2), how many are below 0."""
    draw, number = np.random.default_rng(0), 10
    true = draw.normal(0, 3, 400_000)
    seen = true[:, None] + draw.normal(0, 1, (len(true), number))
    t = seen.mean(1) / (seen.std(1, ddof=1) / math.sqrt(number))
    alike = (t > 0.8) & (t < 1.2)
    expected = np.mean([false_claim(one, math.sqrt(number), number) for one in t[alike]])
    assert np.mean(true[alike] < 0) == pytest.approx(expected, abs=0.015)


def test_the_probability_of_a_false_claim_is_the_one_sided_p_of_the_t_test() -> None:
    values = np.random.default_rng(0).normal(0.02, 0.05, 20)
    found = compare_paired(values, np.zeros(20), names(20))
    side = "greater" if values.mean() > 0 else "less"
    assert found.false_claim == pytest.approx(stats.ttest_1samp(values, 0, alternative=side).pvalue)


def test_equivalence_is_two_one_sided_t_tests() -> None:
    values = np.random.default_rng(0).normal(0.001, 0.01, 40)
    low = stats.ttest_1samp(values, -0.01, alternative="greater").pvalue
    high = stats.ttest_1samp(values, 0.01, alternative="less").pvalue
    assert equivalence(values.mean(), values.std(ddof=1), 40, 0.01) == pytest.approx(max(low, high))


def test_correction_and_numbers_of_groups_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [groups_for(level) for level in (0.05, 0.05 / 3, 0.01)] == [6, 7, 8]
    assert needed(0.5) == math.ceil(((1.959964 + 0.841621) / 0.5) ** 2) == 32
