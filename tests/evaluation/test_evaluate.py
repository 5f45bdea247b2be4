"""Evaluation scores the right cases on the truth's own grid, and says what it could not do."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
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
        told = segkit("evaluate", trained, "-o", option, "--subset", "all")
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


def folder_run(segkit: Command, tmp_path: Path) -> tuple[Path, Path]:
    """A small run on a folder of phantoms; returns run and data."""
    assert segkit("data", "synth", "folder", "--cases", "10", "--out", tmp_path / "data").code == 0
    small = "-o model.width=1 -o model.depth=1 -o preprocess.size=16 --epochs 1".split()
    words = ["train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--model", "unet", *small]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    return tmp_path / "run", tmp_path / "data"


def test_cases_that_are_gone_are_told(segkit: Command, tmp_path: Path) -> None:
    run, data = folder_run(segkit, tmp_path)
    gone = json.loads((run / "split.json").read_text())["test"][0]
    (data / "images" / f"{gone}.png").unlink()
    told = segkit("evaluate", run)
    assert told.code == 1 and gone in told.err and "not in the data any more" in told.err


def test_data_that_changed_since_the_training_is_told(segkit: Command, tmp_path: Path) -> None:
    run, data = folder_run(segkit, tmp_path)
    first = next((data / "images").iterdir())
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(first)
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(data / "masks" / first.name)
    done = segkit("evaluate", run)
    assert done.code == 0 and "has changed since the training" in done.err


def test_moved_data_is_known_by_its_fingerprint(segkit: Command, tmp_path: Path) -> None:
    run, data = folder_run(segkit, tmp_path)
    before = json.loads(segkit("evaluate", run, "--json").out)
    data.rename(tmp_path / "moved")
    assert segkit("evaluate", run).code == 2
    after = json.loads(segkit("evaluate", run, "--data-dir", tmp_path / "moved", "--json").out)
    assert after["figures"] == before["figures"] and after["holds_training_data"] is False


def test_other_data_takes_nothing_from_the_run_and_overwrites_nothing_in_it(segkit: Command, tmp_path: Path) -> None:
    run, data = folder_run(segkit, tmp_path)
    assert segkit("evaluate", run).code == 0
    before = (run / "test" / "metrics.json").read_bytes()
    other = tmp_path / "other"
    shutil.copytree(data, other)
    for mask in (other / "masks").iterdir():  # the same names, other values
        with Image.open(mask) as file:
            values = np.asarray(file) // 255
        Image.fromarray(values).save(mask)
    told = segkit("evaluate", run, "--data-dir", other)
    assert told.code == 2 and "--subset all" in told.err
    done = segkit("evaluate", run, "--data-dir", other, "--subset", "all", "--json")
    document = json.loads(done.out)
    assert document["options"]["values"] == ["0", "1"] and document["root"] == str(other)
    assert document["holds_training_data"] is None and "Nothing was written" in done.err
    whole = json.loads(segkit("evaluate", run, "--subset", "all", "--out", tmp_path / "all", "--json").out)
    assert document["figures"] == whole["figures"]
    assert (run / "test" / "metrics.json").read_bytes() == before


def test_another_seed_of_generated_data_is_other_data(segkit: Command, trained: Path) -> None:
    told = segkit("evaluate", trained, "-o", "dataset.seed=9", "--subset", "train")
    assert told.code == 2 and "not the data that the run was trained on" in told.err


def test_settings_that_evaluate_does_not_look_at_are_refused(segkit: Command, trained: Path) -> None:
    told = segkit("evaluate", trained, "-o", "train.lr=foo")
    assert told.code == 2 and "train cannot be set here" in told.err and "dataset, metrics" in told.err


def test_a_class_called_mean_keeps_its_own_figures(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "6", "--out", tmp_path / "data").code == 0
    small = "-o model.width=1 -o model.depth=1 -o preprocess.size=16 --epochs 1 -o dataset.classes=background,mean".split()
    words = ["train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--model", "unet", *small]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    table = segkit("evaluate", tmp_path / "run").out
    assert [line.split()[0] for line in table.splitlines()[1:3]] == ["class", "mean"] and "(foreground)" not in table


@pytest.mark.parametrize("how", ["per_case", "per_group", "pooled"])
def test_the_aggregation_is_chosen_by_name(segkit: Command, trained: Path, how: str) -> None:
    assert how in segkit("evaluate", trained, "--aggregate", how).out
    told = segkit("evaluate", trained, "--aggregate", "per_cse")
    assert told.code == 2 and "'per_case'" in told.err


def test_a_metric_of_the_run_may_be_named_again(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for words in (["evaluate", trained, "--metric", "dice"], ["evaluate", trained, "--metric", "metrics/dice"]):
        done = segkit(*words, "--out", tmp_path / "scores")
        assert done.code == 0, done.err
    again = segkit("train", "--config", trained, "--metric", "dice", "--epochs", "1", "--out", tmp_path / "run")
    assert again.code == 0, again.err


def test_an_ensemble_and_cleaned_up_labels_are_scored_as_they_are_predicted(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert segkit("data", "synth", "phantom", "--cases", "5", "--seed", "3", "--out", data).code == 0
    cleaned = ["--threshold", "0.3", "--keep-largest", "--min-size", "20", "--tta"]
    members = [trained, trained / "model.safetensors"]
    words = ["--dataset", "folder", "--data-dir", data, "--subset", "all", "--out", tmp_path / "scores", *cleaned]
    document = json.loads(segkit("evaluate", *members, *words, "--json").out)
    assert segkit("predict", *members, data / "images", "--out", tmp_path / "masks", *cleaned).code == 0
    by_hand = json.loads(segkit("evaluate", "--folder", tmp_path / "masks", "--truth", data / "masks", "--json").out)
    ours = document["figures"]["per_case"]["dice"]["mean"]
    assert ours == pytest.approx(by_hand["figures"]["per_case"]["dice"]["mean"])
    assert document["predicted"] == {"tta": True, "thresholds": ["0.3"], "keep_largest": True, "min_size": 20}


def test_figures_of_other_labels_are_not_the_runs(segkit: Command, trained: Path) -> None:
    before = (trained / "test" / "metrics.json").read_bytes() if (trained / "test").exists() else None
    done = segkit("evaluate", trained, "--threshold", "0.3")
    assert done.code == 0 and "Nothing was written" in done.err
    assert before == ((trained / "test" / "metrics.json").read_bytes() if (trained / "test").exists() else None)


def test_an_ensemble_is_not_scored_on_what_a_member_was_trained_on(segkit: Command, trained: Path, tmp_path: Path) -> None:
    other = shutil.copytree(trained, tmp_path / "other")
    split = json.loads((other / "split.json").read_text())
    (other / "split.json").write_text(json.dumps({**split, "train": split["test"], "test": split["train"]}))
    done = segkit("evaluate", trained, other)
    assert done.code == 2 and "in its training or validation" in done.err and "split alike" in done.err


def test_how_sure_the_mean_is_and_which_cases_are_worst(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--subset", "all", "--out", tmp_path)
    document = json.loads((tmp_path / "metrics.json").read_text())
    own, (worst, value) = document["spread"]["dice"], document["spread"]["dice"]["worst"][0]
    with (tmp_path / "cases.csv").open() as file:
        values = {row["case"]: float(row["dice/target"]) for row in csv.DictReader(file)}
    assert value == min(values.values()) == values[worst] and f"worst: {worst} {value:.4f}" in done.out
    assert own["median"] == pytest.approx(np.median(list(values.values())))
    assert own["std"] == pytest.approx(np.std(list(values.values()), ddof=1))
    assert own["interval"]["low"] < np.mean(list(values.values())) < own["interval"]["high"]
    assert "95 % interval of the mean" in done.out and "fewer than 50 groups" in done.out
    table = np.array(json.loads((tmp_path / "confusion.json").read_text())["truth by prediction"])
    pooled = document["figures"]["pooled"]["dice/target"]["mean"]
    assert 2 * table[1, 1] / (table[1].sum() + table[:, 1].sum()) == pytest.approx(pooled)


def test_several_subsets_stand_in_one_table(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--subset", "train,val,test", "--out", tmp_path)
    assert done.code == 0, done.err
    split, lines = json.loads((trained / "split.json").read_text()), done.out.splitlines()
    for subset, ids in split.items():
        mean = json.loads((tmp_path / subset / "metrics.json").read_text())["figures"]["per_case"]["dice"]["mean"]
        (line,) = [line for line in lines if line.startswith(f"{subset} ({len(ids)} case")]
        assert f"{mean:.4f}" in line
    documents = json.loads(segkit("evaluate", trained, "--subset", "val,test", "--json").out)
    assert list(documents) == ["val", "test"] and documents["val"]["cases"] == len(split["val"])


def test_figures_of_parts_of_the_cases(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--subset", "all", "--by", "size", "--out", tmp_path)
    assert done.code == 0 and "all by size" in done.out, done.err
    parts = json.loads((tmp_path / "metrics.json").read_text())["by"]["size"]
    with (tmp_path / "cases.csv").open() as file:
        rows = [(float(row["case.size"]), float(row["dice/target"])) for row in csv.DictReader(file)]
    limits = np.quantile([size for size, _ in rows], [0, 0.25, 0.5, 0.75, 1])
    quarters = [[dice for size, dice in rows if low < size <= high] for low, high in itertools.pairwise(limits)]
    quarters[0] += [dice for size, dice in rows if size == limits[0]]
    assert [figures["dice/target"]["mean"] for figures in parts.values()] == pytest.approx(
        [np.mean(own) for own in quarters]
    )
    told = segkit("evaluate", trained, "--by", "sise")
    assert told.code == 2 and "nothing of this name is known" in told.err and "size" in told.err
