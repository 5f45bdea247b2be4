"""`segkit train --folds`: every fold an ordinary run, every case held out once, and the figures of all of them together."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import Command
from segkit.cli.app import run as run_segkit

SMALL = (
    "train --dataset phantom --model unet -o model.width=4 -o model.depth=1 -o dataset.cases=14 -o dataset.size=16 "
    "-o dataset.classes=2 -o preprocess.size=16 --batch-size 4 --lr 0.01 --epochs 2"
).split()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "test" / "cases.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def figures(folder: Path) -> Any:
    return json.loads((folder / "test" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "three"
    assert run_segkit([*SMALL, "--folds", "3", "--out", str(folder), "-q"]) == 0
    return folder


def test_every_case_is_held_out_once_and_never_beside_its_own_training(three: Path) -> None:
    splits = [json.loads((three / f"fold-{number}" / "split.json").read_text()) for number in range(3)]
    held_out = [case for split in splits for case in split["test"]]
    assert len(held_out) == len(set(held_out)) == 14
    for number, split in enumerate(splits):
        assert not set(split["test"]) & {*split["train"], *split["val"]}
        assert [row["case"] for row in rows(three / f"fold-{number}")] == split["test"]
    assert [row["case"] for row in rows(three)] == held_out


def test_figures_are_those_of_all_held_out_cases(three: Path) -> None:
    document, parts = figures(three), [figures(three / f"fold-{number}") for number in range(3)]
    found, name = document["figures"], document["foreground"][0]
    values = [float(row[f"dice/{name}"]) for row in rows(three)]
    assert found["per_case"][f"dice/{name}"] == {"mean": pytest.approx(statistics.mean(values)), "n": 14, "undefined": 0}
    assert found["per_group"][f"dice/{name}"]["mean"] == pytest.approx(statistics.mean(values))  # a case is a group here
    confusion = np.sum([part["counts"]["dice"]["confusion"] for part in parts], axis=0)
    own = document["classes"].index(name)
    hit, said, true = confusion[own, own], confusion[:, own].sum(), confusion[own].sum()
    assert found["pooled"][f"dice/{name}"]["mean"] == pytest.approx(2 * hit / (said + true))
    batches = [part["figures"]["per_batch"][f"dice/{name}"] for part in parts]
    mean = sum(own["mean"] * own["n"] for own in batches) / sum(own["n"] for own in batches)
    assert found["per_batch"][f"dice/{name}"]["mean"] == pytest.approx(mean)
    assert document["cases"] == document["groups"] == 14 and document["folds"] == 3
    low, high = document["spread"]["dice"]["interval"]["low"], document["spread"]["dice"]["interval"]["high"]
    assert low < found["per_case"]["dice"]["mean"] < high


def test_what_is_done_is_not_done_again_and_what_is_missing_is(segkit: Command, three: Path) -> None:
    before = figures(three)["figures"]
    shutil.rmtree(three / "fold-1" / "test")
    shutil.rmtree(three / "test")
    done = segkit("train", "--resume", three)
    assert done.code == 0 and done.err.count("done already") == 2 and done.err.count("trained already") == 1
    assert "14 cases" in done.out and figures(three)["figures"] == before
    batches = segkit("train", "--resume", three, "--aggregate", "per_batch")
    assert batches.code == 0 and "14 cases (per_batch)" in batches.out, batches.err


def test_a_dry_run_says_that_there_is_a_run_for_each_fold(segkit: Command) -> None:
    told = segkit(*SMALL, "--folds", "3", "--dry-run")
    assert told.code == 0 and "a run for each" in told.err
    assert "a run for each" not in segkit(*SMALL, "--folds", "3", "--fold", "1", "--dry-run").err


def test_one_fold_is_an_ordinary_run(segkit: Command, three: Path, tmp_path: Path) -> None:
    assert segkit(*SMALL, "--folds", "3", "--fold", "1", "--out", tmp_path / "one").code == 0
    held_out = [(folder / "split.json").read_text() for folder in (tmp_path / "one", three / "fold-1")]
    assert held_out[0] == held_out[1] and not (tmp_path / "one" / "folds.json").exists()
    again = segkit("train", "--config", three / "fold-1" / "run.toml", "--dry-run")
    assert again.code == 0 and "test 5" in again.err  # a recorded fold stays that fold


def test_the_folder_predicts_as_an_ensemble_and_is_not_scored_on_what_a_fold_has_seen(
    segkit: Command, three: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8))
    runs = [three / f"fold-{number}" for number in range(3)]
    for models, out in (([three], "folder"), (runs, "typed")):
        assert segkit("predict", *models, image, "--out", tmp_path / out, "--probabilities").code == 0
    masks = [sorted((tmp_path / out).rglob("*.png")) for out in ("folder", "typed")]
    assert masks[0] and [path.read_bytes() for path in masks[0]] == [path.read_bytes() for path in masks[1]]
    told = segkit("evaluate", three)
    assert told.code == 2 and "has seen" in told.err


def test_two_cross_validations_are_compared_where_their_folds_are_the_same(
    segkit: Command, three: Path, tmp_path: Path
) -> None:
    assert segkit(*SMALL, "--folds", "3", "--lr", "0.001", "--out", tmp_path / "slow").code == 0
    done = segkit("compare", three, tmp_path / "slow", "--json")
    assert done.code == 0 and len(json.loads(done.out)["cases"]) == 14
    assert segkit(*SMALL, "--folds", "3", "-o", "split.seed=5", "--out", tmp_path / "other").code == 0
    told = segkit("compare", three, tmp_path / "other")
    assert told.code == 2 and "different splits" in told.err
