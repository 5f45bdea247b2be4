"""An exported file finds the held-out cases of its training, and training data is never scored under another name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from conftest import Command
from segkit import plugins
from segkit.api import Case, Dataset, Sample, Task
from segkit.config.resolve import Choice
from segkit.errors import UsageError
from segkit.evaluation.subset import EvaluationData, select
from segkit.runs.weights import read_header
from segkit.workflows import evaluate

pytest.importorskip("onnxruntime")


@pytest.fixture
def place(exported_run: Path, tmp_path: Path) -> Path:
    """A folder of its own with "run" and "m.onnx" in it."""
    shutil.copytree(exported_run, tmp_path / "place")
    return tmp_path / "place"


def scored(segkit: Command, *words: object) -> dict:  # type: ignore[type-arg]
    done = segkit("evaluate", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)  # type: ignore[no-any-return]


def test_an_exported_file_is_scored_on_the_held_out_cases_of_its_run_and_leaves_the_runs_figures(
    segkit: Command, place: Path
) -> None:
    before = (place / "run/test/metrics.json").read_bytes()
    document = scored(segkit, place / "m.onnx")
    assert document["holds_training_data"] is False and document["cases"] == len(
        json.loads((place / "run/split.json").read_text())["test"]
    )
    assert document["figures"]["per_case"]["dice"]["mean"] == pytest.approx(
        json.loads(before)["figures"]["per_case"]["dice"]["mean"], abs=1e-4
    )
    shutil.move(place / "m.onnx", place / "run" / "inside.onnx")  # also where it lies in the run
    assert "Nothing was written" in segkit("evaluate", place / "run/inside.onnx", "--run", place / "run").err
    assert (place / "run/test/metrics.json").read_bytes() == before


def test_the_reference_names_no_path_of_the_machine(place: Path) -> None:
    reference = read_header(place / "m.onnx").export["run"]
    assert reference["folder"] == "run" and set(reference) == {"folder", "data", "split"}


def test_a_file_that_was_moved_asks_for_its_run_and_says_what_subset_all_holds(
    segkit: Command, place: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "far" / "m.onnx"
    moved.parent.mkdir()
    shutil.move(place / "m.onnx", moved)
    told = segkit("evaluate", moved)
    assert told.code == 2 and "--run RUN" in told.err and "training data" in told.err
    assert scored(segkit, moved, "--run", place / "run")["holds_training_data"] is False
    data = ["--dataset", "phantom", "-o", "dataset.cases=16", "-o", "dataset.size=32"]  # what it was trained on
    told = segkit("evaluate", moved, *data)
    assert told.code == 2 and "--run RUN" in told.err and "training data" in told.err
    assert scored(segkit, moved, *data, "--subset", "all")["holds_training_data"] is True
    other = scored(segkit, moved, *data, "-o", "dataset.seed=9", "--subset", "all")
    assert other["holds_training_data"] is None


def test_another_run_is_refused_and_so_is_what_is_none(segkit: Command, place: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(place / "run", other)
    split = json.loads((other / "split.json").read_text())
    (other / "split.json").write_text(json.dumps({**split, "train": split["test"], "test": split["train"]}))
    told = segkit("evaluate", place / "m.onnx", "--run", other)
    assert told.code == 2 and "was not made in the run" in told.err
    assert "not a run folder" in segkit("evaluate", place / "m.onnx", "--run", tmp_path).err
    with pytest.raises(UsageError, match="was not made in the run"):
        evaluate(place / "run", run=other)


def test_weights_that_were_copied_out_of_a_run_are_scored_with_it(segkit: Command, place: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.safetensors"
    shutil.copy(place / "run/model.safetensors", alone)
    assert "--run RUN" in segkit("evaluate", alone).err
    assert scored(segkit, alone, "--run", place / "run")["holds_training_data"] is False


@pytest.mark.parametrize(("known", "holds"), [("same", None), ("another", False), (None, None)])
def test_subsets_of_the_dataset_itself_are_doubted_where_the_split_of_the_training_is_not_known(
    known: str | None, holds: bool | None
) -> None:
    cases = tuple(Case(str(number), str(number), subset="test") for number in range(3))
    dataset = Dataset(Task(1, ("background", "lesion")), cases, lambda case: Sample(np.zeros((1, 4, 4))))
    found = plugins.load().find("datasets", "phantom")
    choice = Choice(found, found.spec.options())
    data = EvaluationData(None, False, choice, None, dataset, {"sha256": "same"}, (), known)
    chosen, about = select(data, "test")
    assert len(chosen) == 3 and about["holds_training_data"] is holds
    with pytest.raises(UsageError, match="--run RUN"):
        select(data, "val")
