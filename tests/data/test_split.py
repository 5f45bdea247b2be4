"""A split never tears a group, uses every case once, and follows the seed."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.split import find_leaks, split_cases
from segkit.errors import UsageError
from segkit.settings import Split
from segkit.task import Case

SPLIT = Split(seed=0)


def cases_of(sizes: list[int]) -> list[Case]:
    return [Case(f"{group}-{number}", f"g{group}") for group, size in enumerate(sizes) for number in range(size)]


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.integers(0, 1000),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
)
def test_every_case_is_used_once_and_no_group_is_torn(sizes: list[int], seed: int, val: float, test: float) -> None:
    cases = cases_of(sizes)
    subsets = split_cases(cases, Split(val=val, test=test, seed=seed))
    assert sorted(id for ids in subsets.values() for id in ids) == sorted(case.id for case in cases)
    assert find_leaks(cases, subsets) == {}
    assert subsets["train"]


@given(st.integers(10, 200), st.integers(0, 100))
def test_the_shares_are_met_where_groups_are_single_cases(count: int, seed: int) -> None:
    subsets = split_cases(cases_of([1] * count), dataclasses.replace(SPLIT, seed=seed))
    for name, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert abs(len(subsets[name]) - share * count) <= 1.5


@pytest.mark.parametrize(("groups", "filled"), [(1, ["train"]), (2, ["train", "test"]), (3, ["train", "val", "test"])])
def test_few_groups_fill_train_then_test_then_val(groups: int, filled: list[str]) -> None:
    subsets = split_cases(cases_of([4] * groups), SPLIT)
    assert [name for name, ids in subsets.items() if ids] == filled


def test_the_seed_decides_and_the_order_of_the_cases_does_not() -> None:
    cases = cases_of([2] * 20)
    first = split_cases(cases, SPLIT)
    assert {name: set(ids) for name, ids in split_cases(cases[::-1], SPLIT).items()} == {
        name: set(ids) for name, ids in first.items()
    }
    assert split_cases(cases, dataclasses.replace(SPLIT, seed=1)) != first


def test_splitting_by_case_tears_groups_and_is_refused_unless_meant() -> None:
    cases = cases_of([10, 10])
    with pytest.raises(UsageError, match=r"2 group\(s\) into more than one subset: g0|g1") as error:
        split_cases(cases, dataclasses.replace(SPLIT, by="case"))
    assert "--allow-leak" in error.value.hint
    assert split_cases(cases, dataclasses.replace(SPLIT, by="case", allow_leak=True))["test"]


def test_official_subsets_are_kept_and_a_leak_in_them_is_found() -> None:
    names = ["train", "train", "val", "test"]
    cases = [Case(str(index), f"patient-{index}", subset) for index, subset in enumerate(names)]
    assert split_cases(cases, SPLIT) == {"train": ["0", "1"], "val": ["2"], "test": ["3"]}
    torn = [*cases, Case("4", "patient-0", "test")]
    with pytest.raises(UsageError, match=r"patient-0 \(test and train\)"):
        split_cases(torn, SPLIT)


def test_an_official_split_that_is_not_there_is_told() -> None:
    with pytest.raises(UsageError, match="has no official subsets"):
        split_cases(cases_of([1, 1]), dataclasses.replace(SPLIT, by="official"))


def test_no_cases_and_no_training_cases_are_told() -> None:
    with pytest.raises(UsageError, match="no cases"):
        split_cases([], SPLIT)
    with pytest.raises(UsageError, match="nothing to train on"):
        split_cases([Case("1", "1", "test")], SPLIT)


@given(st.lists(st.integers(1, 5), min_size=5, max_size=30), st.integers(2, 5), st.integers(0, 50))
def test_folds_test_every_case_once_and_tear_no_group(sizes: list[int], folds: int, seed: int) -> None:
    cases = cases_of(sizes)
    tested = []
    for fold in range(folds):
        subsets = split_cases(cases, Split(seed=seed, folds=folds, fold=fold))
        assert find_leaks(cases, subsets) == {}
        assert sorted(id for ids in subsets.values() for id in ids) == sorted(case.id for case in cases)
        tested += subsets["test"]
    assert sorted(tested) == sorted(case.id for case in cases)


@given(st.integers(10, 60), st.integers(10, 60), st.integers(0, 50))
def test_a_label_has_its_share_in_every_subset(common: int, rare: int, seed: int) -> None:
    cases = [Case(f"c{n}", f"c{n}", label="common") for n in range(common)]
    cases += [Case(f"r{n}", f"r{n}", label="rare") for n in range(rare)]
    for settings in (Split(seed=seed), Split(seed=seed, folds=5, fold=seed % 5)):
        test = split_cases(cases, settings)["test"]
        share = 0.2 if settings.folds else 0.15
        assert abs(sum(id.startswith("r") for id in test) - share * rare) <= 1.5


def test_a_small_subset_gets_no_huge_group() -> None:
    for seed in range(20):
        subsets = split_cases(cases_of([50, 2, 2, 2, 2, 2, 2, 2]), dataclasses.replace(SPLIT, seed=seed))
        assert len(subsets["train"]) >= 50


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--folds", "3", "--fold", "3"], "fold 3 of 3 folds"),
        (["--fold", "1"], "no folds"),
        (["--folds", "99"], "only 64 groups"),
    ],
)
def test_wrong_folds_are_told(segkit, words: list[str], told: str) -> None:  # type: ignore[no-untyped-def]
    done = segkit("train", "--dataset", "phantom", "--model", "unet", *words)
    assert done.code == 2 and told in done.err


def test_an_official_split_without_val_takes_it_from_the_training_groups() -> None:
    cases = [Case(f"{g}-{n}", f"p{g}", "test" if g > 15 else "train") for g in range(20) for n in range(2)]
    subsets = split_cases(cases, SPLIT)
    assert subsets["test"] == [case.id for case in cases if case.subset == "test"]
    assert 4 <= len(subsets["val"]) <= 6 and find_leaks(cases, subsets) == {}
    assert split_cases(cases, dataclasses.replace(SPLIT, val=0.0))["val"] == []


def test_folds_leave_the_official_test_subset_alone() -> None:
    cases = [Case(f"{g}", f"p{g}", "test" if g >= 20 else "train") for g in range(30)]
    tested = []
    for fold in range(5):
        subsets = split_cases(cases, Split(seed=0, folds=5, fold=fold))
        everything = {id for ids in subsets.values() for id in ids}
        assert everything == {str(g) for g in range(20)}
        tested += subsets["test"]
    assert sorted(tested, key=int) == [str(g) for g in range(20)]
