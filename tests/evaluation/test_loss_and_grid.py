"""The loss of a run's cases, the network's grid in place of the data's own, means over batches, and saved masks."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score, log_loss

import segkit as library
from conftest import Command, history
from segkit.cli.app import run as run_segkit
from segkit.data.images import read_mask
from segkit.evaluation.aggregate import CaseScore, aggregate
from segkit.task import Metric, Task


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gray noise, in it a brighter square (1) and a darker one (2)."""
    folder, draw = tmp_path_factory.mktemp("data") / "squares", np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(16):
        image, mask = draw.integers(90, 150, (48, 48, 3), np.uint8), np.zeros((48, 48), np.uint8)
        for label, shade in ((1, 100), (2, -80)):
            row, column = draw.integers(0, 34), draw.integers(0, 10) + 24 * (label - 1)
            place = slice(row, row + 14), slice(column, column + 14)
            image[place], mask[place] = np.clip(image[place].astype(int) + shade, 0, 255), label
        cv2.imwrite(str(folder / "images" / f"case-{number}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"case-{number}.png"), mask)
    return folder


@pytest.fixture(scope="module")
def trained_at_32(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of 48 x 48, seen at 32 x 32."""
    run = tmp_path_factory.mktemp("run") / "run"
    words = f"train --dataset folder --data-dir {data} --model unet --loss cross-entropy -o model.width=4 -o model.depth=2"
    more = (
        f"-o preprocess.size=32 -o preprocess.fit=stretch --batch-size 3 --lr 0.01 --epochs 3 --monitor loss -q --out {run}"
    )
    assert run_segkit([*words.split(), *more.split()]) == 0
    return run


def rgb(path: Path) -> NDArray[np.uint8]:
    """(3, H, W)."""
    return np.ascontiguousarray(np.moveaxis(cv2.imread(str(path))[..., ::-1], -1, 0))


def document(segkit: Command, *words: Any) -> Any:
    done = segkit("evaluate", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_on_the_networks_grid_figures_are_those_of_the_validation(segkit: Command, trained_at_32: Path) -> None:
    found = document(segkit, trained_at_32, "--subset", "val", "--grid", "model")
    best = min(history(trained_at_32), key=lambda row: float(row["val_loss"]))
    assert found["figures"]["per_case"]["loss"]["mean"] == pytest.approx(float(best["val_loss"]), rel=1e-4)
    assert found["figures"]["per_case"]["dice"]["mean"] == pytest.approx(float(best["val_dice"]), rel=1e-6)
    assert np.sum(found["counts"]["dice"]["confusion"]) == found["cases"] * 32 * 32
    own = document(segkit, trained_at_32, "--subset", "val")
    assert np.sum(own["counts"]["dice"]["confusion"]) == own["cases"] * 48 * 48
    assert found["predicted"] == {"grid": "model"} and own["predicted"] == {}


def test_the_loss_is_scikit_learns_log_loss_of_the_probabilities(segkit: Command, trained_at_32: Path, data: Path) -> None:
    assert segkit("evaluate", trained_at_32).code == 0
    with (trained_at_32 / "test" / "cases.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    model = library.load(trained_at_32)
    for row in rows:
        image = next((data / "images").glob(f"{row['case']}.*"))
        truth = read_mask(next((data / "masks").glob(f"{row['case']}.*")))
        probabilities = model.probabilities(rgb(image))
        expected = log_loss(truth.ravel(), np.moveaxis(probabilities, 0, -1).reshape(-1, 3), labels=[0, 1, 2])
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-3)


def test_saved_masks_are_what_was_scored(segkit: Command, trained_at_32: Path, data: Path, tmp_path: Path) -> None:
    words = ["--out", tmp_path / "scores", "--save-predictions"]
    found = document(segkit, trained_at_32, *words)
    masks = sorted((tmp_path / "scores" / "predictions").glob("*.png"))
    assert len(masks) == found["cases"]
    name = found["foreground"][0]
    for mask in masks:
        labels, truth = read_mask(mask), read_mask(data / "masks" / mask.name)
        with (tmp_path / "scores" / "cases.csv").open(newline="") as lines:
            row = next(row for row in csv.DictReader(lines) if row["case"] == mask.stem)
        assert float(row[f"dice/{name}"]) == pytest.approx(f1_score(truth.ravel() == 1, labels.ravel() == 1))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--grid", "models"], "--grid models is not allowed"),
        (["--grid", "model", "--overlay", "--out", "x"], "Leave out --grid model"),
        (["--save-predictions", "--tta"], "Add --out DIR"),
        (["--aggregate", "per_bach"], "per_batch"),
    ],
)
def test_what_does_not_go_together_is_refused(
    segkit: Command, trained_at_32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], part: str
) -> None:
    monkeypatch.chdir(tmp_path)
    told = segkit("evaluate", trained_at_32, *words)
    assert told.code == 2 and part in told.err, told.err
    assert not list(tmp_path.rglob("*.json"))


def test_means_over_batches_are_of_the_cases_in_order() -> None:
    """Sums of 1 + 2 over 10 and 6 over 10: ratios .3 / 2 and .6, so batches of two come to (.15 + .6) / 2."""
    task = Task(1, ("background", "target"))
    ratio = Metric(lambda result: {}, lambda counts: {"target": counts["above"] / counts["below"]})
    numbers = [(1.0, 10.0), (2.0, 10.0), (6.0, 10.0)]
    scores = [
        CaseScore(str(n), "one", {"r": {"above": a, "below": b}}, {"r/target": a / b}) for n, (a, b) in enumerate(numbers)
    ]
    assert aggregate({"r": ratio}, scores, "per_batch", task, 2)["r"].mean == pytest.approx((0.15 + 0.6) / 2)
    assert aggregate({"r": ratio}, scores, "per_case", task)["r"].mean == pytest.approx((0.1 + 0.2 + 0.6) / 3)
    assert aggregate({"r": ratio}, scores, "pooled", task)["r"].mean == pytest.approx(0.3)


def test_batches_of_volumes_are_counted_in_slices() -> None:
    """Volumes of 3, 2 and 5 slices in batches of 5: the first two together, the last alone."""
    task = Task(1, ("background", "target"))
    ratio = Metric(lambda result: {}, lambda counts: {"target": counts["above"] / counts["below"]})
    numbers = [(1.0, 10.0, 3.0), (2.0, 10.0, 2.0), (6.0, 10.0, 5.0)]
    scores = [
        CaseScore(str(n), "one", {"r": {"above": a, "below": b}}, {"r/target": a / b}, {"slices": slices})
        for n, (a, b, slices) in enumerate(numbers)
    ]
    assert aggregate({"r": ratio}, scores, "per_batch", task, 5)["r"].mean == pytest.approx((0.15 + 0.6) / 2)


def test_batches_are_those_of_the_training_or_as_typed(segkit: Command, trained_at_32: Path, tmp_path: Path) -> None:
    found = document(segkit, trained_at_32, "--subset", "all", "--out", tmp_path / "a")
    assert found["batch"] == 3 and found["figures"]["per_batch"]["dice"]["n"] == 6  # of 16 cases
    assert document(segkit, trained_at_32, "--subset", "all", "--batch-size", "16", "--out", tmp_path / "b")["figures"][
        "per_batch"
    ]["dice"]["mean"] == pytest.approx(found["figures"]["pooled"]["dice"]["mean"])
    assert "(per_batch)" in segkit("evaluate", trained_at_32, "--aggregate", "per_batch").out
