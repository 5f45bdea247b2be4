"""Splits that never put one group (patient, video sequence) into two subsets."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from segkit.errors import UsageError
from segkit.settings import Split
from segkit.task import Case
from segkit.words import counted

SUBSETS = ("train", "val", "test")


def split_cases(cases: Sequence[Case], settings: Split) -> dict[str, list[str]]:
    """Case ids by subset, stratified by the cases' labels where the dataset states them.

    Folds are made of the cases that are in no official test subset.
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
    if settings.folds and any(case.subset == "test" for case in cases):
        cases = [case for case in cases if case.subset != "test"]  # cross-validation leaves the official test set alone
    if settings.by == "official" and not official:
        raise UsageError("--split official: this dataset has no official subsets.", "Type --split group.")
    if settings.by == "official" or (settings.by == "auto" and official and not settings.folds):
        subsets = _official(cases, settings)
    else:
        subsets = _shuffled(cases, settings, by_case=settings.by == "case")
    if not subsets["train"]:
        raise UsageError("The split leaves nothing to train on.", "Lower split.val and split.test.")
    leaks = find_leaks(cases, subsets)
    if leaks and not settings.allow_leak:
        shown = ", ".join(f"{group} ({' and '.join(names)})" for group, names in list(leaks.items())[:5])
        raise UsageError(
            f"The split puts {counted(len(leaks), 'group')} into more than one subset: {shown}.",
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


def _official(cases: Sequence[Case], settings: Split) -> dict[str, list[str]]:
    """The dataset's own subsets; where it states no val, the training groups give val its share."""
    members = {name: [case for case in cases if case.subset == name] for name in SUBSETS}
    subsets = {name: [case.id for case in part] for name, part in members.items()}
    if members["train"] and not members["val"] and settings.val:
        parts = _shuffled(members["train"], replace(settings, test=0.0, folds=None), by_case=False)
        subsets |= {"train": parts["train"], "val": parts["val"]}
    return subsets


def _shuffled(cases: Sequence[Case], settings: Split, by_case: bool) -> dict[str, list[str]]:
    """Groups in random order, those of one label together, dealt so that each subset comes to its share of every label."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.id if by_case else case.group, []).append(case)
    order = sorted(groups)
    random.Random(settings.seed).shuffle(order)
    order.sort(key=lambda group: _label(groups[group]))
    sizes = {group: len(groups[group]) for group in order}
    members = _deal_folds(sizes, settings) if settings.folds else _deal_shares(sizes, settings)
    position = {case.id: index for index, case in enumerate(cases)}
    return {
        name: sorted((case.id for group in members[name] for case in groups[group]), key=position.__getitem__)
        for name in SUBSETS
    }


def _deal_shares(sizes: Mapping[str, int], settings: Split) -> dict[str, list[str]]:
    shares = {"train": 1 - settings.val - settings.test, "test": settings.test, "val": settings.val}
    members = _deal(sizes, shares)
    for subset in ("test", "val"):  # small data: an empty subset takes the last group of train, which keeps one
        if shares[subset] and not members[subset] and len(members["train"]) > 1:
            members[subset].append(members["train"].pop())
    return members


def _deal_folds(sizes: Mapping[str, int], settings: Split) -> dict[str, list[str]]:
    """One of `folds` equal parts is the test subset; of the rest, val takes its share."""
    assert settings.folds is not None
    if len(sizes) < settings.folds:
        raise UsageError(
            f"split.folds = {settings.folds}, but there are only {counted(len(sizes), 'group')}.", "Lower --folds."
        )
    parts = _deal(sizes, {str(fold): 1.0 for fold in range(settings.folds)})
    test = parts[str(settings.fold)]
    rest = {group: size for group, size in sizes.items() if group not in set(test)}
    return {**_deal_shares(rest, replace(settings, test=0.0)), "test": test}


def _deal(sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, list[str]]:
    """Give each group in turn to the part whose share is met least (Sainte-Lague's rule, so that a part of a small share
    gets no huge group); the first one to the first part."""
    members: dict[str, list[str]] = {name: [] for name in shares}
    filled = dict.fromkeys(shares, 0.0)
    first = next(iter(shares))
    for group, size in sizes.items():
        wanting = {name: share / (filled[name] + size / 2) for name, share in shares.items()}
        name = max(wanting, key=wanting.__getitem__) if members[first] else first
        members[name].append(group)
        filled[name] += size
    return members


def _label(cases: Sequence[Case]) -> str:
    """The commonest label of a group, empty where there is none."""
    labels = Counter(case.label or "" for case in cases)
    return max(sorted(labels), key=labels.__getitem__)
