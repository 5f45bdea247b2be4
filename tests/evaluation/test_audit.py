"""Distances under two definitions, and whether a ranking hangs on which; Dice by threshold, and which is chosen where."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from sklearn.metrics import f1_score

import segkit as library
from conftest import Command
from segkit.data.images import read_mask


def image(path: Path, *pixels: tuple[int, int]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    mask = np.zeros((40, 40), np.uint8)
    for row, column in pixels:
        mask[row, column] = 1
    cv2.imwrite(str(path), mask)


def rgb(path: Path) -> NDArray[np.uint8]:
    """(3, H, W)."""
    return np.ascontiguousarray(np.moveaxis(cv2.imread(str(path))[..., ::-1], -1, 0))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """a: one point 6 from the truth, and nine right ones. b: a point and the truth, 4 apart."""
    right = [(2 * number, 2) for number in range(9)]
    image(tmp_path / "gt" / "a.png", *right)
    image(tmp_path / "pred" / "a.png", *right, (0, 8))
    image(tmp_path / "gt" / "b.png", (10, 10))
    image(tmp_path / "pred" / "b.png", (10, 14))
    return tmp_path / "pred", tmp_path / "gt"


def test_a_ranking_that_hangs_on_the_definition_is_told(segkit: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = segkit("evaluate", "--folder", folders[0], "--truth", folders[1], "--audit", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())["audits"]
    with (tmp_path / "out" / "cases.csv").open(newline="") as lines:
        rows = {row["case"]: row for row in csv.DictReader(lines)}
    for name, (pred, truth) in {case: (folders[0] / f"{case}.png", folders[1] / f"{case}.png") for case in "ab"}.items():
        points = [np.argwhere(read_mask(path) > 0) for path in (pred, truth)]
        distances = cdist(*points)
        there, back = distances.min(1), distances.min(0)
        expected = {
            "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
            "hd95-pooled": np.percentile(np.concatenate([there, back]), 95),
            "assd": np.concatenate([there, back]).mean(),
            "assd-of-means": (there.mean() + back.mean()) / 2,
        }
        for metric, value in expected.items():
            assert float(rows[name][f"{metric}/foreground"]) == pytest.approx(value), metric
    # a: 3.3 by the larger direction, .6 pooled; b: 4 by both. The order of the two stays, and is said to
    assert found["hd95"]["changed"] == 0 and "is the same under both definitions" in done.out
    image(folders[1] / "b.png", (10, 10))
    image(folders[0] / "b.png", (10, 13))  # 3 by both: below 3.3, above .6
    told = segkit("evaluate", "--folder", folders[0], "--truth", folders[1], "--audit").out
    assert "hd95: the definitions put 1 of 1 pairs of cases in another order" in told
    assert "the worst case is a by the first, b by the second" in told


def test_results_are_compared_under_both_definitions(segkit: Command, folders: tuple[Path, Path], tmp_path: Path) -> None:
    pred, truth = folders
    image(tmp_path / "other" / "a.png", *[(2 * number, 2) for number in range(9)])
    image(tmp_path / "other" / "b.png", (10, 15))
    for name, masks in (("one", pred), ("two", tmp_path / "other")):
        assert segkit("evaluate", "--folder", masks, "--truth", truth, "--audit", "--out", tmp_path / name).code == 0
    # HD95: one (3.3 + 4) / 2 = 3.65, two 5 / 2; pooled: one (.6 + 4) / 2, two 2.5
    told = segkit("compare", tmp_path / "one", tmp_path / "two", "--metric", "hd95")
    assert told.code == 0 and "by hd95-pooled the order is another" in told.out, told.out


def test_a_threshold_is_chosen_on_validation_alone(segkit: Command, trained: Path, tmp_path: Path) -> None:
    words = ["--metric", "dice-by-threshold", "--out", tmp_path / "scores"]
    done = segkit("evaluate", trained, "--subset", "val,test", *words)
    assert done.code == 0 and "Best on val" in done.out
    document = json.loads((tmp_path / "scores" / "test" / "metrics.json").read_text())
    means = {
        key.rpartition("/")[2]: figure["mean"]
        for key, figure in document["figures"]["per_case"].items()
        if key.startswith("dice-by-threshold/target/")
    }
    assert len(means) == 19
    for threshold in ("0.30", "0.50", "0.85"):
        more = ["--threshold", threshold, "--json", "--out", tmp_path / threshold]
        own = json.loads(segkit("evaluate", trained, *more).out)["figures"]["per_case"]["dice"]["mean"]
        assert means[threshold] == pytest.approx(own)
    alone = segkit("evaluate", trained, *words[:2], "--out", tmp_path / "alone").out
    assert "would flatter" in alone and "Best" not in alone


def test_dice_by_threshold_is_scikit_learns(trained: Path, segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "2", "--out", tmp_path / "data").code == 0
    words = ["--dataset", "folder", "--data-dir", tmp_path / "data", "-o", "dataset.channels=3", "--subset", "all"]
    assert segkit("evaluate", trained, *words, "--metric", "dice-by-threshold", "--out", tmp_path / "scores").code == 0
    with (tmp_path / "scores" / "cases.csv").open(newline="") as lines:
        rows = {row["case"]: row for row in csv.DictReader(lines)}
    model = library.load(trained)
    label = json.loads((tmp_path / "scores" / "metrics.json").read_text())["foreground"][0]
    for path in sorted((tmp_path / "data" / "images").iterdir()):
        truth = read_mask(tmp_path / "data" / "masks" / path.name).ravel() > 0
        probabilities = model.probabilities(rgb(path))[0].ravel()
        for threshold in (0.05, 0.35, 0.95):
            value = float(rows[path.stem][f"dice-by-threshold/{label}/{threshold:.2f}"])
            assert value == pytest.approx(f1_score(truth, probabilities > np.float32(threshold)))
