"""Splits that never put one group (patient, video sequence) into two subsets."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from segkit.errors import UsageError
from segkit.settings import Split
from segkit.task import Case

SUBSETS = ("train", "val", "test")


def split_cases(cases: Sequence[Case], settings: Split) -> dict[str, list[str]]:
    """Case ids by subset.

    With fewer groups than subsets, train is filled first, then test, then val.

    Args:
        cases: all cases of the dataset.
        settings: complete (the seed filled in).

    Raises:
        UsageError: no cases, an official split that is not there, or a leak without `split.allow_leak`.
    """
    if not cases:
        raise UsageError("The dataset holds no cases.", "'segkit datasets NAME' shows the tree it expects.")
    official = all(case.subset for case in cases)
    if settings.by == "official" and not official:
        raise UsageError("--split official: this dataset states no subsets.", "Type --split group.")
    if settings.by == "official" or (settings.by == "auto" and official):
        subsets = {name: [case.id for case in cases if case.subset == name] for name in SUBSETS}
    else:
        subsets = _shuffled(cases, settings, by_case=settings.by == "case")
    if not subsets["train"]:
        raise UsageError("The split leaves nothing to train on.", "Lower split.val and split.test.")
    leaks = find_leaks(cases, subsets)
    if leaks and not settings.allow_leak:
        shown = ", ".join(f"{group} ({' and '.join(names)})" for group, names in list(leaks.items())[:5])
        raise UsageError(
            f"The split puts {len(leaks)} group(s) into more than one subset: {shown}.",
            "Type --split group, or --allow-leak if you mean it.",
        )
    return subsets


def find_leaks(cases: Sequence[Case], subsets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Groups that are in more than one subset -> those subsets."""
    subset_of = {id: name for name, ids in subsets.items() for id in ids}
    groups: dict[str, set[str]] = {}
    for case in cases:
        if case.id in subset_of:
            groups.setdefault(case.group, set()).add(subset_of[case.id])
    return {group: sorted(names) for group, names in groups.items() if len(names) > 1}


def _shuffled(cases: Sequence[Case], settings: Split, by_case: bool) -> dict[str, list[str]]:
    """Groups in random order: the first to train, then each to the subset that lacks most cases of its share."""
    groups: dict[str, list[str]] = {}
    for case in cases:
        groups.setdefault(case.id if by_case else case.group, []).append(case.id)
    order = sorted(groups)
    random.Random(settings.seed).shuffle(order)
    shares = {"train": 1 - settings.val - settings.test, "test": settings.test, "val": settings.val}
    lacking = {name: share * len(cases) for name, share in shares.items() if share > 0}
    members: dict[str, list[str]] = {name: [] for name in shares}
    for group in order:
        subset = max(lacking, key=lambda name: lacking[name]) if members["train"] else "train"
        members[subset].append(group)
        lacking[subset] -= len(groups[group])
    for subset in ("test", "val"):  # small data: an empty subset takes the last group of train, which keeps one
        if subset in lacking and not members[subset] and len(members["train"]) > 1:
            members[subset].append(members["train"].pop())
    position = {case.id: index for index, case in enumerate(cases)}
    return {
        name: sorted((id for group in members[name] for id in groups[group]), key=position.__getitem__) for name in SUBSETS
    }
