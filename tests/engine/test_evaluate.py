"""Evaluation scores the right cases on the truth's own grid, and says what it could not do."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from conftest import Command
from segkit.data.images import read_mask


def test_the_table_the_files_and_the_json_agree(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--json", "--out", tmp_path)
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document == json.loads((tmp_path / "metrics.json").read_text())
    with (tmp_path / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    split = json.loads((trained / "split.json").read_text())
    assert [row["case"] for row in rows] == split["test"]
    figure = document["figures"]["per_case"]["dice/target"]
    assert figure["mean"] == pytest.approx(np.mean([float(row["dice/target"]) for row in rows]))
    assert (figure["n"], document["subset"], document["holds_training_data"]) == (len(rows), "test", False)
    table = segkit("evaluate", trained, "--out", tmp_path).out
    assert f"{figure['mean']:.4f}" in table and "target" in table


def test_results_go_into_the_run_folder(segkit: Command, trained: Path) -> None:
    assert segkit("evaluate", trained, "--subset", "val").code == 0
    assert (trained / "val" / "metrics.json").exists() and (trained / "val" / "cases.csv").exists()


def test_evaluating_and_predicting_agree_on_the_truths_own_grid(segkit: Command, trained: Path, tmp_path: Path) -> None:
    # the model sees 32 x 32; the data is 128 x 128
    assert segkit("data", "synth", "phantom", "--cases", "5", "--seed", "3", "--out", tmp_path / "data").code == 0
    words = [
        "--dataset",
        "folder",
        "--data-dir",
        tmp_path / "data",
        "--subset",
        "all",
        "--out",
        tmp_path / "scores",
        "--json",
    ]
    document = json.loads(segkit("evaluate", trained, *words).out)
    assert segkit("predict", trained, tmp_path / "data" / "images", "--out", tmp_path / "masks").code == 0
    expected = []
    for truth in sorted((tmp_path / "data" / "masks").iterdir()):
        found = read_mask(tmp_path / "masks" / truth.name)
        assert found.shape == (128, 128)
        expected.append(f1_score(read_mask(truth).ravel() > 0, found.ravel() > 0))
    assert document["figures"]["per_case"]["dice"]["mean"] == pytest.approx(np.mean(expected), abs=1e-9)
    assert document["holds_training_data"] is None


def test_all_is_marked_as_holding_training_data(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--subset", "all", "--json", "--out", tmp_path)
    assert json.loads(done.out)["holds_training_data"] is True
    assert "training data" in done.err


def test_a_case_that_cannot_be_read_is_named_and_the_rest_scored(segkit: Command, trained: Path, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "4", "--out", tmp_path / "data").code == 0
    broken = tmp_path / "data" / "images" / "phantom-0002.png"
    broken.write_bytes(broken.read_bytes()[:200])
    words = ["--dataset", "folder", "--data-dir", tmp_path / "data", "-o", "dataset.channels=3", "--subset", "all"]
    done = segkit("evaluate", trained, *words, "--json", "--out", tmp_path / "scores")
    document = json.loads(done.out)
    assert done.code == 3
    assert (document["cases"], list(document["failed"])) == (3, ["phantom-0002"])
    assert "phantom-0002.png" in document["failed"]["phantom-0002"]
    assert "phantom-0002.png" in (tmp_path / "scores" / "cases.csv").read_text()


def test_the_wrong_data_is_refused(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for option, words in (("dataset.colour=false", "channels"), ("dataset.classes=2", "mode")):
        told = segkit("evaluate", trained, "-o", option)
        assert told.code == 2 and words in told.err


def test_weights_that_stand_alone_ask_for_a_dataset(segkit: Command, trained: Path, tmp_path: Path) -> None:
    weights = shutil.copy(trained / "model.safetensors", tmp_path / "mine.safetensors")
    told = segkit("evaluate", weights)
    assert told.code == 2 and "--dataset" in told.err
    done = segkit("evaluate", weights, "--dataset", "phantom", "-o", "dataset.cases=3", "--subset", "all", "--json")
    assert done.code == 0 and json.loads(done.out)["cases"] == 3


def test_an_empty_subset_ends_with_1(segkit: Command, trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    split = json.loads((run / "split.json").read_text())
    (run / "split.json").write_text(json.dumps({**split, "test": []}))
    told = segkit("evaluate", run)
    assert told.code == 1 and "'test' of this run is empty" in told.err and "--subset all" in told.err


def test_cases_that_are_gone_are_told(segkit: Command, trained: Path) -> None:
    told = segkit("evaluate", trained, "-o", "dataset.cases=1")
    assert told.code == 1 and "not in the data any more" in told.err


@pytest.mark.parametrize("how", ["per_case", "per_group", "pooled"])
def test_the_aggregation_is_chosen_by_name(segkit: Command, trained: Path, how: str) -> None:
    assert how in segkit("evaluate", trained, "--aggregate", how).out
    told = segkit("evaluate", trained, "--aggregate", "per_cse")
    assert told.code == 2 and "'per_case'" in told.err
