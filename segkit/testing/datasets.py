"""What every dataset must do, shown on cases that it makes up itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from segkit.config.resolve import Choice
from segkit.data.reading import open_dataset, read_case, read_sample
from segkit.data.split import find_leaks, split_cases
from segkit.errors import UsageError
from segkit.options import build, plain
from segkit.settings import Split
from segkit.task import Dataset, Sample
from segkit.testing.contract import Contract


class DatasetContract(Contract):
    """Subclass it, set `name`, and pytest runs it.

    Attributes:
        name: the dataset's spec name, bare or full.
        options: options it is opened with.
        cases: how many cases are made up.
    """

    group = "datasets"
    cases: ClassVar[int] = 6

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, choice: Choice, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A folder of synthetic cases in the dataset's own layout."""
        out = tmp_path_factory.mktemp("made-up") / "data"
        cls.synthesize(choice, out, seed=0)
        return out

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls, choice: Choice, root: Path) -> Dataset:
        return cls.open(choice, root)

    @classmethod
    def synthesize(cls, choice: Choice, out: Path, seed: int) -> None:
        assert choice.spec.synthesize, f"{choice.name} has no synthesize target"
        choice.spec.load(choice.spec.synthesize)(out, cls.cases, seed)

    @classmethod
    def open(cls, choice: Choice, root: Path, labelled: bool = True) -> Dataset:
        return open_dataset(choice, root if choice.spec.needs_root else None, labelled)

    def test_it_says_how_it_may_be_used_and_how_its_files_lie(self, choice: Choice) -> None:
        assert choice.spec.licence
        assert not choice.spec.needs_root or choice.spec.layout

    def test_cases_have_unique_ids_groups_and_files_that_exist(self, dataset: Dataset) -> None:
        assert dataset.cases
        assert len({case.id for case in dataset.cases}) == len(dataset.cases)
        assert all(case.id and case.group for case in dataset.cases)
        assert all(path.is_file() for case in dataset.cases for path in case.files.values())
        assert all(case.subset in (None, "train", "val", "test") for case in dataset.cases)

    def test_every_case_agrees_with_the_task(self, dataset: Dataset) -> None:
        for case in dataset.cases:
            sample = read_case(dataset, case)
            assert sample.spacing is None or len(sample.spacing) == dataset.task.dims

    def test_some_case_has_a_target(self, dataset: Dataset) -> None:
        assert any(np.any(read_sample(dataset, case).mask) for case in dataset.cases)

    def test_reading_twice_gives_the_same(self, dataset: Dataset) -> None:
        case = dataset.cases[0]
        assert _same(read_sample(dataset, case), read_sample(dataset, case))

    def test_opening_twice_gives_the_same_cases_in_the_same_order(
        self, choice: Choice, root: Path, dataset: Dataset
    ) -> None:
        assert self.open(choice, root).cases == dataset.cases

    def test_unlabelled_it_lists_and_reads_images_alone(self, choice: Choice, root: Path, dataset: Dataset) -> None:
        unlabelled = self.open(choice, root, labelled=False)
        missing = {case.id for case in dataset.cases} - {case.id for case in unlabelled.cases}
        assert not missing, f"labelled=False lists every image, also those with a mask; missing: {sorted(missing)[:5]}"
        assert unlabelled.task.channels == dataset.task.channels
        masked = [case.id for case in unlabelled.cases if read_sample(unlabelled, case).mask is not None]
        assert not masked, f"with labelled=False no mask is read: Sample.mask is None; it is not of {masked[:5]}"

    def test_a_split_tears_no_group(self, dataset: Dataset) -> None:
        subsets = split_cases(dataset.cases, Split(seed=0))
        assert find_leaks(dataset.cases, subsets) == {}

    def test_options_with_everything_filled_in_can_be_written_down(self, choice: Choice, dataset: Dataset) -> None:
        options = dataset.options or choice.options
        assert build(choice.spec.options, plain(options), "dataset") == options

    def test_the_seed_decides_what_is_made_up(self, choice: Choice, root: Path, tmp_path: Path) -> None:
        for name, seed in (("again", 0), ("other", 1)):
            self.synthesize(choice, tmp_path / name, seed)
        assert _files(tmp_path / "again") == _files(root)
        assert _files(tmp_path / "other") != _files(root)

    def test_an_empty_folder_is_told_with_the_expected_tree(self, choice: Choice, tmp_path: Path) -> None:
        if not choice.spec.needs_root:
            pytest.skip("generated data needs no folder")
        with pytest.raises(UsageError) as error:
            self.open(choice, tmp_path)
        assert str(tmp_path) in error.value.message
        assert choice.spec.layout.strip() in error.value.hint


def _same(one: Sample, other: Sample) -> bool:
    return np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)  # type: ignore[arg-type]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
