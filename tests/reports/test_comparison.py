"""Truth and prediction in one picture: a line around what is true, a tint over what was found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import Command, save_weights
from segkit.data.images import read_image
from segkit.reports.comparison import compare, write_comparison
from segkit.reports.overlay import COLORS
from segkit.settings import Preprocess
from segkit.task import CaseResult, Sample, Task

GRAY = 100
SETTINGS = Preprocess("stretch", (32, 32), intensity="scale255")


def drawn(truth: np.ndarray, found: np.ndarray, task: Task, **sample: object) -> np.ndarray:  # type: ignore[type-arg]
    image = np.full((1, *truth.shape[-task.dims :]), GRAY, np.uint8)
    result = CaseResult(np.zeros(1, np.float32), found, truth, task)
    return compare(Sample(image, truth, **sample), result, SETTINGS, "case-7")  # type: ignore[arg-type]


def test_a_miss_is_a_line_without_a_tint_and_a_false_alarm_a_tint_without_a_line() -> None:
    truth, found = np.zeros((2, 64, 64), np.int32)
    truth[8:24, 8:24], found[40:56, 40:56] = 1, 1
    picture = drawn(truth, found, Task(1, ("background", "target")))
    body = picture[-512:]  # eight pixels each; the legend is above
    assert picture.shape[1] == 512 and len(picture) > 512 and (picture[: len(picture) - 512] == 255).any()
    assert body[16 * 8, 16 * 8].tolist() == [GRAY] * 3  # inside of what was missed
    edge = body[8 * 8 - 4 : 8 * 8 + 5, 16 * 8]  # across its upper edge
    assert (edge == COLORS[0]).all(axis=1).any()
    tint = [round(0.6 * GRAY + 0.4 * value) for value in COLORS[0]]
    assert np.abs(body[48 * 8, 48 * 8].astype(int) - tint).max() <= 1
    assert not (body[40 * 8 - 8 :, 40 * 8 - 8 :] == COLORS[0]).all(axis=2).any()


@pytest.mark.parametrize("mode", ["multiclass", "multilabel"])
def test_every_class_has_its_own_colour(mode: str) -> None:
    task = Task(1, ("background", "one", "two"), mode=mode)  # type: ignore[arg-type]
    truth = np.zeros((64, 64), np.int32)
    truth[4:20, 4:20], truth[40:60, 40:60] = 1, 2
    layers = np.stack([truth == 1, truth == 2]).astype(np.int32) if mode == "multilabel" else truth
    body = drawn(layers, np.zeros_like(layers), task)[-512:]
    for color, box in zip(COLORS, (np.s_[:200, :200], np.s_[300:, 300:]), strict=False):
        assert (body[box] == color).all(axis=2).any()


def test_of_a_volume_the_slices_of_truth_and_prediction_are_shown() -> None:
    truth, found = np.zeros((2, 16, 16, 12), np.int32)
    truth[4:8, 4:8, 3:5], found[4:8, 4:8, 4:7] = 1, 1  # together in slices 3 to 6
    picture = drawn(truth, found, Task(1, ("background", "target"), dims=3))
    assert picture.shape[1] == 512 and 512 < len(picture) < 640  # two by two of 256


def test_ids_become_files_in_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    task, mask = Task(1, ("background", "target")), np.zeros((8, 8), np.int32)
    sample, result = (
        Sample(np.zeros((1, 8, 8), np.uint8), mask),
        CaseResult(np.zeros((1, 8, 8), np.float32), mask, mask, task),
    )
    for id in ("patient/1", "../../up", "/root"):
        write_comparison(tmp_path / "in", id, sample, result, SETTINGS)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")} == {
        "in/patient/1.png",
        "in/up.png",
        "in/root.png",
    }


def test_evaluate_draws_every_case(segkit: Command, trained: Path, tmp_path: Path) -> None:
    done = segkit("evaluate", trained, "--overlay", "--out", tmp_path / "scores")
    assert done.code == 0 and "overlays" in done.err
    cases = (tmp_path / "scores" / "cases.csv").read_text().splitlines()[1:]
    pictures = sorted(path.stem for path in (tmp_path / "scores" / "overlays").iterdir())
    assert pictures == sorted(row.split(",")[0] for row in cases)
    assert len(np.unique(read_image(tmp_path / "scores" / "overlays" / f"{pictures[0]}.png"))) > 50


def test_there_is_no_picture_where_there_is_no_place_or_no_mask(segkit: Command, trained: Path, tmp_path: Path) -> None:
    told = segkit("evaluate", trained, "--overlay", "-o", "dataset.seed=3", "--subset", "all")
    assert told.code == 2 and "--out DIR" in told.err
    classifier = save_weights(
        tmp_path / "model.safetensors", "resnet-classifier", Task(3, ("background", "target")), SETTINGS,
        encoder="test_resnet", hidden=4,
    )  # fmt: skip
    words = ["--dataset", "phantom", "--subset", "all", "--out", tmp_path / "scores"]
    told = segkit("evaluate", classifier, *words, "--overlay")
    assert told.code == 2 and "gives classes" in told.err and not (tmp_path / "scores").exists()


def test_a_picture_that_cannot_be_written_stops_nothing(
    segkit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("segkit.reports.comparison.write_comparison", full)
    done = segkit("evaluate", trained, "--overlay", "--out", tmp_path / "scores")
    assert (
        done.code == 0 and "could not be written: no space left" in done.err and (tmp_path / "scores" / "cases.csv").exists()
    )
