"""Results side by side: means with their spread, paired differences, and what may be said about them."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segkit.errors import UsageError
from segkit.evaluation.audit import DEFINITIONS
from segkit.evaluation.statistics.bootstrap import FEW_GROUPS, Interval, interval_of_mean
from segkit.evaluation.statistics.paired import LEVEL, Paired, compare_paired, groups_for, holm
from segkit.experiments.contenders import Contender, read_contenders
from segkit.words import counted

TESTS = ("permutation", "wilcoxon")


@dataclass(frozen=True)
class Row:
    """One result, over the cases that all share.

    Args:
        name: of it.
        mean: over cases; of several seeds, of the cases' means over seeds.
        std: of the seeds' means (sample); None for a single seed.
        seeds: how many.
        interval: bootstrap over groups; None for fewer than two groups.
        facts: parameters, training_seconds, inference_ms, where they are known.
        values: of each shared case.
    """

    name: str
    mean: float
    std: float | None
    seeds: int
    interval: Interval | None
    facts: dict[str, float]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Pair:
    """Two results.

    Args:
        first, second: their names; the better mean first.
        paired: what was found.
        p: corrected for the number of pairs (Holm).
        verdict: what may be said, in words.
    """

    first: str
    second: str
    paired: Paired
    p: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All of it.

    Args:
        metric, higher_is_better: that is compared, and its direction.
        rows: in the order given.
        pairs: all of them.
        cases, groups: that all results share.
        left_out: cases that not all of them have, or where one is undefined.
        notes: what a reader must know.
    """

    metric: str
    higher_is_better: bool
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    cases: tuple[str, ...]
    groups: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows values."""
        return asdict(self)


def compare_contenders(
    contenders: Sequence[Contender],
    metric: str,
    test: str = "permutation",
    margin: float | None = None,
    anyway: bool = False,
) -> Comparison:
    """Compare two results or more.

    Args:
        contenders: read by `read_contenders`.
        metric: as it is shown.
        test: one of `TESTS`.
        margin: differences smaller than this do not matter.
        anyway: results whose runs were split differently are compared all the same.

    Raises:
        UsageError: fewer than two, no case that all share, or runs of different splits.
    """
    if len(contenders) < 2:
        raise UsageError(f"There is one result alone: {contenders[0].name}.", "Name two or more.")
    if not anyway:
        _check_splits(contenders)
    first, everywhere = contenders[0], dict.fromkeys(case for one in contenders for case in one.values)
    shared = [
        case for case in everywhere if all(one.values.get(case, math.nan) == one.values.get(case) for one in contenders)
    ]
    if not shared:
        raise UsageError("The results share no case.", "They must be of the same cases of the same dataset.")
    groups = [first.groups[case] for case in shared]
    rows = tuple(_row(one, shared, groups) for one in contenders)
    pairs = _pairs(contenders, shared, groups, test, margin)
    left_out = tuple(case for case in everywhere if case not in set(shared))
    number = len(set(groups))
    notes = (*_disagreements(rows, pairs, first.higher_is_better), *_notes(rows, number, left_out))
    return Comparison(metric, first.higher_is_better, rows, pairs, tuple(shared), number, left_out, notes)


def with_other_definitions(found: Comparison, places: Sequence[Path], subset: str) -> Comparison:
    """With a note where another definition of the same distance, that all results hold too, gives another order.

    Args:
        found: of the results.
        places, subset: that they were read from.
    """
    base, slash, label = found.metric.partition("/")
    others = next((names for names in DEFINITIONS.values() if base in names), {})
    notes = []
    for other in others:
        if other == base:
            continue
        try:
            contenders = read_contenders(places, f"{other}{slash}{label}", subset)
        except UsageError:  # it was not measured there
            continue
        means = {one.name: math.fsum(one.values[case] for case in found.cases) / len(found.cases) for one in contenders}
        orders = [sorted(own, key=own.__getitem__) for own in ({row.name: row.mean for row in found.rows}, means)]
        figures = ", ".join(f"{name} {means[name]:.4f}" for name in orders[1])
        change = "is another" if orders[0] != orders[1] else "stays the same"
        notes.append(f"by {other} the order {change}: {figures}.")
    return replace(found, notes=(*found.notes, *notes))


def _check_splits(contenders: Sequence[Contender]) -> None:
    splits = [(one.name, one.split) for one in contenders if one.split is not None]
    for name, split in splits[1:]:
        subsets = [{key: sorted(ids) for key, ids in own.items()} for own in (splits[0][1] or {}, split or {})]
        if subsets[0] != subsets[1]:
            raise UsageError(
                f"{splits[0][0]} and {name} were trained on different splits: one may have seen the other's test cases.",
                "--anyway compares the test cases that they share.",
            )


def _row(one: Contender, shared: Sequence[str], groups: Sequence[str]) -> Row:
    values = [one.values[case] for case in shared]
    std = statistics.stdev(one.seeds) if len(one.seeds) > 1 else None
    interval = interval_of_mean(values, groups)
    return Row(
        one.name, math.fsum(values) / len(values), std, max(1, len(one.seeds)), interval, dict(one.facts), tuple(values)
    )


def _pairs(
    contenders: Sequence[Contender], shared: Sequence[str], groups: Sequence[str], test: str, margin: float | None
) -> tuple[Pair, ...]:
    found = []
    for one, other in itertools.combinations(contenders, 2):
        ours, theirs = ([each.values[case] for case in shared] for each in (one, other))
        paired = compare_paired(ours, theirs, groups, test, margin)
        if paired.mean < 0 if one.higher_is_better else paired.mean > 0:
            one, other, paired = other, one, compare_paired(theirs, ours, groups, test, margin)
        found.append((one.name, other.name, paired))
    corrected = holm([paired.p for _, _, paired in found])
    level = LEVEL / len(found)
    return tuple(
        Pair(first, second, paired, p, verdict(first, second, paired, p, level, margin))
        for (first, second, paired), p in zip(found, corrected, strict=True)
    )


def verdict(first: str, second: str, paired: Paired, p: float, level: float, margin: float | None) -> str:
    """What may be said of a pair.

    Args:
        first, second: names, the better mean first.
        paired, p: what was found, and its p corrected for the number of pairs.
        level: that the smallest p must reach, for the number of pairs.
        margin: within which the two count as equal.
    """
    if not paired.mean and not paired.std:
        return f"{first} and {second} do not differ in any group"
    if margin is not None and paired.equivalence_p is not None and paired.equivalence_p < LEVEL:
        return f"{first} and {second} are equivalent within {margin:g}"
    if paired.smallest_p > level:
        return (
            f"{counted(paired.groups, 'group')} cannot tell: p is at least {paired.smallest_p:.2g}; "
            f"{groups_for(level)} groups could, if all of them agree"
        )
    if p < LEVEL:
        return f"{first} is significantly better than {second}"
    more = f"; about {counted(paired.groups_needed, 'group')} would show such a difference" if paired.groups_needed else ""
    return f"that {first} is better than {second} is not shown{more}"


def _disagreements(rows: Sequence[Row], pairs: Sequence[Pair], higher: bool) -> list[str]:
    """Pairs whose order by the mean over cases is not that by the mean over groups."""
    means = {row.name: row.mean if higher else -row.mean for row in rows}
    return [
        f"{pair.second} has the better mean over cases, {pair.first} that over groups, by which pairs are compared."
        for pair in pairs
        if pair.paired.mean and means[pair.first] < means[pair.second]
    ]


def _notes(rows: Sequence[Row], groups: int, left_out: Sequence[str]) -> tuple[str, ...]:
    notes = []
    single = [row.name for row in rows if row.seeds == 1]
    if single:
        notes.append(f"{', '.join(single)}: a single training; how much another seed would change is not known (--seeds 5).")
    if groups < FEW_GROUPS:
        notes.append(f"{counted(groups, 'group')}: below {FEW_GROUPS}, intervals of a mean are too narrow.")
    if left_out:
        shown = ", ".join(left_out[:3]) + (", ..." if len(left_out) > 3 else "")
        notes.append(f"{counted(len(left_out), 'case')} left out, undefined or not in all results: {shown}.")
    return tuple(notes)
