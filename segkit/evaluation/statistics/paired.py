"""Two results on the same cases: is the difference more than chance, how large is it, and would it be found again?

Everything goes by the mean difference of each group, since the cases of one patient are not independent.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05
POWER = 0.8  # with which `groups_needed` would find the difference
EXACT = 14  # groups up to which all 2^n signs are tried
DRAWN = 20_000  # random signs, of more groups


@dataclass(frozen=True)
class Paired:
    """The first result minus the second.

    Args:
        mean: difference, over groups.
        std: of the groups' differences; None for a single group.
        groups, cases: that it is over.
        low, high: 95 % confidence interval of the mean by Student's t; None for a single group.
        p: of the test, two-sided; 1 where nothing differs.
        smallest_p: that the test can give with so many groups.
        effect: mean / std (Cohen's d of pairs); None where there is no spread.
        false_claim: probability that the better mean is not the better method (see `false_claim`); None for a single group.
        equivalence_p: of two one-sided t tests against the margin; None without a margin or for a single group.
        groups_needed: with such a difference and spread, to find it in four of five studies; None where it cannot be said.
    """

    mean: float
    std: float | None
    groups: int
    cases: int
    low: float | None
    high: float | None
    p: float
    smallest_p: float
    effect: float | None
    false_claim: float | None
    equivalence_p: float | None
    groups_needed: int | None


def compare_paired(
    first: Sequence[float],
    second: Sequence[float],
    groups: Sequence[str],
    test: str = "permutation",
    margin: float | None = None,
) -> Paired:
    """Compare two results of the same cases.

    Args:
        first, second: a value of each case; a case where one is NaN is left out.
        groups: of each case.
        test: "permutation" of the signs of the groups' differences, or "wilcoxon", their signed ranks.
        margin: differences smaller than this do not matter; None: equivalence is not tested.

    Raises:
        ValueError: no case has both values.
    """
    by_group: dict[str, list[float]] = {}
    for one, other, group in zip(first, second, groups, strict=True):
        if one == one and other == other:
            by_group.setdefault(group, []).append(one - other)
    if not by_group:
        raise ValueError("no case has both values")
    differences = np.array([math.fsum(own) / len(own) for own in by_group.values()])
    number, mean = len(differences), float(differences.mean())
    std = float(differences.std(ddof=1)) if number > 1 else None
    half = stats.t.ppf(1 - LEVEL / 2, number - 1) * std / math.sqrt(number) if std is not None else None
    effect = mean / std if std else None
    return Paired(
        mean=mean,
        std=std,
        groups=number,
        cases=sum(map(len, by_group.values())),
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        p=wilcoxon(differences) if test == "wilcoxon" else sign_permutation(differences),
        smallest_p=min(1.0, 2.0 ** (1 - number)),
        effect=effect,
        false_claim=None if std is None else false_claim(abs(mean), std, number),
        equivalence_p=None if margin is None or std is None else equivalence(mean, std, number, margin),
        groups_needed=needed(effect) if effect else None,
    )


def sign_permutation(differences: NDArray[np.float64]) -> float:
    """Two-sided p of the mean when each sign is as likely as the other: exact up to 14 groups, else by drawing."""
    number = len(differences)
    if number <= EXACT:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=number)))
    else:
        signs = np.random.default_rng(0).choice((1.0, -1.0), (DRAWN, number))
        signs[0] = 1.0  # what was found is one of the possible ones, so that p is never 0
    sums = np.abs(signs @ differences)
    return float(np.mean(sums >= abs(differences.sum()) - 1e-12 * np.abs(differences).sum()))


def wilcoxon(differences: NDArray[np.float64]) -> float:
    """Two-sided p of SciPy's signed-rank test; groups without a difference are left out; 1 where none has one."""
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0


def false_claim(mean: float, std: float, number: int) -> float:
    """The probability that the true mean difference is not above 0, after seeing this one.

    The posterior of the mean under a flat prior is Student's t around it with std / sqrt(n) and n - 1 degrees of freedom
    ("False Promises in Medical Imaging AI?", arXiv 2505.04720). 0.5 where nothing differs.
    """
    if not std:
        return 0.0 if mean > 0 else 0.5
    return float(stats.t.cdf(-mean / (std / math.sqrt(number)), number - 1))


def equivalence(mean: float, std: float, number: int, margin: float) -> float:
    """p of two one-sided t tests: small where the true difference lies within the margin (Schuirmann 1987)."""
    if not std:
        return 0.0 if abs(mean) < margin else 1.0
    error = std / math.sqrt(number)
    return float(max(stats.t.sf((mean + margin) / error, number - 1), stats.t.cdf((mean - margin) / error, number - 1)))


def needed(effect: float, level: float = LEVEL) -> int:
    """Groups with which such an effect is found with a power of 0.8, by the normal approximation (Lehr)."""
    quantiles = float(stats.norm.ppf(1 - level / 2) + stats.norm.ppf(POWER))
    return max(groups_for(level), math.ceil((quantiles / effect) ** 2))


def groups_for(level: float) -> int:
    """The fewest groups whose smallest two-sided p, 2 / 2^n, is not above a level.

    >>> groups_for(0.05), groups_for(0.01)
    (6, 8)
    """
    return math.ceil(1 - math.log2(level))


def holm(values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
