"""Classification of any segmentation data: is there any foreground in this image, or in this slice?"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sklearn import metrics as oracle
from test_datasets import opened, synth

from conftest import Command, history
from segkit.inference.probabilities import presence_of
from segkit.task import Task

MODEL = "--model resnet-classifier -o model.encoder=test_resnet -o model.dropout=0".split()
PHANTOM = "--dataset phantom -o dataset.cases=48 -o dataset.empty=0.5 -o dataset.size=32 -o preprocess.size=32".split()


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segkit.cli.app import run

    out = tmp_path_factory.mktemp("runs") / "classifier"
    words = ["train", *PHANTOM, *MODEL, "--epochs", "15", "--augment", "none", "--lr", "2e-3", "--out", str(out), "-q"]
    assert run(words) == 0
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_it_learns_whether_there_is_a_target(segkit: Command, classifier: Path) -> None:
    document = json.loads(segkit("evaluate", classifier, "--json").out)
    figures = {name: figure["mean"] for name, figure in document["figures"]["pooled"].items()}
    assert figures["f1"] >= 0.8 and figures["auroc"] >= 0.8
    assert {"accuracy", "precision", "recall", "f1", "specificity", "auroc"} <= figures.keys()
    assert "dice" not in figures
    last = history(classifier)[-1]
    assert {"train_f1", "val_f1", "val_auroc", "val_accuracy"} <= last.keys() and "train_dice" not in last
    shown = segkit("evaluate", classifier).out
    assert "(pooled)" in shown and "auroc" in shown


def test_figures_are_those_of_scikit_learn_on_what_predict_writes(segkit: Command, classifier: Path, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--out", tmp_path / "data", "--cases", "6", "--seed", "3").code == 0
    done = segkit("predict", classifier, tmp_path / "data" / "images", "--out", tmp_path / "out")
    assert done.code == 0 and "classes are in" in done.err
    table = {row["file"]: row for row in rows(tmp_path / "out" / "predictions.csv")}
    assert sorted(table) == sorted(path.name for path in (tmp_path / "data" / "images").iterdir())
    dataset = opened("folder", tmp_path / "data")
    truth = [int(np.any(dataset.read(case).mask)) for case in dataset.cases]
    scored = segkit(
        "evaluate", classifier, "--dataset", "folder", "--data-dir", tmp_path / "data", "--subset", "all", "--json"
    )
    pooled = json.loads(scored.out)["figures"]["pooled"]
    mine = [table[case.files["image"].name] for case in dataset.cases]
    found = [row["class"] == "present" for row in mine]
    assert [float(row["probability_present"]) > 0.5 for row in mine] == found
    assert pooled["accuracy"]["mean"] == pytest.approx(oracle.accuracy_score(truth, found))


def test_a_bad_file_is_a_row_with_its_reason_and_a_second_call_does_the_rest(
    segkit: Command, classifier: Path, tmp_path: Path
) -> None:
    assert segkit("data", "synth", "phantom", "--out", tmp_path / "data", "--cases", "2").code == 0
    images = tmp_path / "data" / "images"
    (images / "bad.png").write_bytes(b"no image")
    assert segkit("predict", classifier, images, "--out", tmp_path / "out").code == 3
    table = rows(tmp_path / "out" / "predictions.csv")
    assert table[0]["file"] == "bad.png" and "cannot be read" in table[0]["error"]
    (images / "bad.png").unlink()
    again = segkit("predict", classifier, images, "--out", tmp_path / "out")
    assert again.code == 0 and "2 already done" in again.err
    assert len(rows(tmp_path / "out" / "predictions.csv")) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.csv").write_text("another program's")
    told = segkit("predict", classifier, images, "--out", tmp_path / "mine")
    assert told.code == 2 and (tmp_path / "mine" / "predictions.csv").read_text() == "another program's"
    told = segkit("predict", classifier, images, "--out", tmp_path / "other", "--overlay")
    assert told.code == 2 and "gives classes" in told.err


def test_volumes_are_classified_slice_by_slice(segkit: Command, tmp_path: Path) -> None:
    root = synth("acdc", tmp_path / "data", cases=12)
    words = ["train", "--dataset", "acdc", "--data-dir", root, *MODEL, "-o", "preprocess.size=24", "--epochs", "2"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    document = json.loads(segkit("evaluate", tmp_path / "run", "--subset", "all", "--json").out)
    dataset = opened("acdc", root)
    presence = [presence_of(np.asarray(dataset.read(case).mask), dataset.task, 2) for case in dataset.cases]
    table = np.array(document["counts"]["f1"]["confusion"])
    assert table.sum() == 8 * len(dataset.cases)  # slices
    assert table[1].sum() == np.concatenate(presence).sum()
    file = dataset.cases[0].files["image"]
    assert segkit("predict", tmp_path / "run", file, "--out", tmp_path / "out").code == 0
    table = rows(tmp_path / "out" / "predictions.csv")  # type: ignore[assignment]
    assert [row["slice"] for row in table] == [str(number) for number in range(nib.load(file).shape[2])]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("mask", "task", "axis", "expected"),
    [
        ([[0, 0], [0, 0]], Task(1, ("a", "b")), None, 0),
        ([[0, 0], [0, 1]], Task(1, ("a", "b")), None, 1),
        ([[0, 255], [0, 0]], Task(1, ("a", "b"), ignore_index=255), None, 0),
        ([[[0, 0]], [[1, 0]]], Task(1, ("a", "b", "c"), mode="multilabel"), None, 1),
        ([[[0, 3], [0, 0]]], Task(1, ("a", "b"), dims=3), 2, [0, 1]),
        ([[[0, 3], [0, 0]]], Task(1, ("a", "b"), dims=3), 1, [1, 0]),
        ([[[[0, 0]]], [[[0, 1]]]], Task(1, ("a", "b", "c"), dims=3, mode="multilabel"), 2, [0, 1]),
    ],
)
def test_what_presence_is(mask: list[object], task: Task, axis: int | None, expected: int | list[int]) -> None:
    assert presence_of(np.array(mask), task, axis).tolist() == expected


def test_what_makes_no_sense_for_classes_is_refused(segkit: Command, tmp_path: Path) -> None:
    words = ["train", *PHANTOM, *MODEL, "--epochs", "1", "--out", tmp_path / "run"]
    for extra, part in {
        ("--loss", "dice"): "does not take classes",
        ("--metric", "iou"): "does not take classes",
        ("-o", "preprocess.fit=patch"): "whole images",
    }.items():
        done = segkit(*words, *extra)
        assert done.code == 2 and part in done.err, done.err
    done = segkit("train", *PHANTOM, *MODEL, "--epochs", "1", "--monitor", "dice", "--out", tmp_path / "run")
    assert done.code == 2 and "'dice' does not suit" in done.err and "f1" in done.err
    done = segkit("train", *PHANTOM, *MODEL, "--epochs", "1", "--monitor", "auroc/present", "--out", tmp_path / "run")
    assert done.code == 0, done.err


@pytest.mark.parametrize("empty", [0, 1])
def test_training_images_of_one_kind_are_noted(segkit: Command, tmp_path: Path, empty: int) -> None:
    words = ["train", *PHANTOM, *MODEL, "-o", f"dataset.empty={empty}", "-o", "dataset.cases=8", "--epochs", "1"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0 and "nothing to tell apart" in done.err
    assert "(foreground)" not in segkit("evaluate", tmp_path / "run", "--subset", "all").out
