"""`segkit evaluate --folder`: masks from anywhere against their truths, and what is wrong with a pair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import Command


def images(folder: Path, masks: dict[str, NDArray[Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in masks.items():
        cv2.imwrite(str(folder / name), mask.astype(np.uint8))
    return folder


def volume(path: Path, mask: NDArray[Any], spacing: tuple[float, ...] = (1, 1, 2), shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([*spacing, 1.0])
    affine[0, 3] = shift
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), path)
    return path


def scored(segkit: Command, *words: Any, code: int = 0) -> dict[str, Any]:
    done = segkit("evaluate", "--folder", *words, "--json")
    assert done.code == code, done.err
    return json.loads(done.out)  # type: ignore[no-any-return]


def halves(shape: tuple[int, int] = (8, 8)) -> tuple[NDArray[Any], NDArray[Any]]:
    """A truth of the left half, and a prediction of the upper half: 16 of 32 and 32 pixels in common, Dice 1/2."""
    truth, found = np.zeros((2, *shape), np.uint8)
    truth[:, :4], found[:4] = 1, 1
    return truth, found


def test_images_are_scored_whatever_stands_for_one(segkit: Command, tmp_path: Path) -> None:
    truth, found = halves()
    masks = images(tmp_path / "pred", {"a.png": 255 * found, "b.png": found, "c.png": 0 * found})
    truths = images(tmp_path / "gt", {"a_mask.png": truth, "b.png": truth, "c.png": truth})
    document = scored(segkit, masks, "--truth", truths, "--out", tmp_path / "out")
    assert document["figures"]["per_case"]["dice/foreground"] == {"mean": pytest.approx(1 / 3), "n": 3, "undefined": 0}
    assert (tmp_path / "out" / "cases.csv").read_text().count("\n") == 4
    assert json.loads((tmp_path / "out" / "confusion.json").read_text())["truth by prediction"][1] == [64, 32]


def test_volumes_of_several_classes_are_scored_in_mm(segkit: Command, tmp_path: Path) -> None:
    truth = np.zeros((6, 6, 4), np.uint8)
    truth[0, 0, 0], truth[2, 2, 2], truth[5, 5, 3] = 1, 2, 4
    found = truth.copy()
    found[2, 2, 2], found[2, 2, 3] = 0, 2  # one slice of 2 mm further up
    volume(tmp_path / "pred" / "case.nii.gz", found)
    volume(tmp_path / "gt" / "case.nii.gz", truth)
    words = (tmp_path / "pred", "--truth", tmp_path / "gt", "--metric", "hd95")
    figures = scored(segkit, *words)["figures"]["per_case"]
    assert [figures[f"hd95/{name}"]["mean"] for name in ("1", "2", "4")] == [0, 2, 0]
    assert figures["dice/2"]["mean"] == 0 and figures["dice/4"]["mean"] == 1


def test_classes_may_be_named(segkit: Command, tmp_path: Path) -> None:
    truth, found = halves()
    masks, truths = images(tmp_path / "pred", {"a.png": 2 * found}), images(tmp_path / "gt", {"a.png": 2 * truth})
    words = (masks, "--truth", truths, "--classes", "background,liver,spleen")
    figures = scored(segkit, *words)["figures"]["per_case"]
    assert figures["dice/spleen"]["mean"] == 0.5 and figures["dice/liver"]["mean"] == 1  # in neither mask


def test_what_is_wrong_with_a_pair_is_named_and_the_rest_is_scored(segkit: Command, tmp_path: Path) -> None:
    truth, found = halves()
    names = ("good", "size", "label", "lost")
    truths = images(tmp_path / "gt", {f"{name}.png": truth for name in names})
    masks = images(
        tmp_path / "pred", {"good.png": found, "size.png": found[:6], "label.png": 3 * found + truth, "x.png": found}
    )
    document = scored(segkit, masks, "--truth", truths, code=3)
    assert document["cases"] == 1 and set(document["failed"]) == {"size", "label", "lost.png"}
    assert "6 x 8 pixels, the truth 8 x 8" in document["failed"]["size"]
    assert "label 3, which is no class of the truths (0, 1)" in document["failed"]["label"]
    assert "nothing was predicted" in document["failed"]["lost.png"]


def test_a_prediction_on_another_grid_is_not_scored(segkit: Command, tmp_path: Path) -> None:
    mask = np.zeros((6, 6, 4), np.uint8)
    mask[2:4, 2:4, 1:3] = 1
    for name, shift in {"same": 0.0, "moved": 3.0}.items():
        volume(tmp_path / "pred" / f"{name}.nii.gz", mask, shift=shift)
        volume(tmp_path / "gt" / f"{name}.nii.gz", mask)
    document = scored(segkit, tmp_path / "pred", "--truth", tmp_path / "gt", code=3)
    assert document["cases"] == 1 and "another grid, 3 mm" in document["failed"]["moved"]


def test_metrics_of_probabilities_are_undefined_here(segkit: Command, tmp_path: Path) -> None:
    truth, found = halves()
    masks, truths = images(tmp_path / "pred", {"a.png": found}), images(tmp_path / "gt", {"a.png": truth})
    figures = scored(segkit, masks, "--truth", truths, "--metric", "soft-iou", "--metric", "brier")["figures"]["per_case"]
    assert figures["soft-iou/foreground"]["undefined"] == 1 and figures["brier/foreground"]["undefined"] == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--folder", "pred"), "--folder needs --truth"),
        (("--truth", "gt"), "--truth needs --folder"),
        (("--folder", "pred", "--truth", "pred"), "against itself"),
        (("--folder", "pred", "--truth", "other"), "is called like one in"),
        (("--folder", "pred", "--truth", "nowhere"), "is no folder"),
        (("--folder", "pred", "--truth", "gt", "--subset", "val"), "--subset is not used with it"),
        (("--folder", "pred", "--truth", "gt", "--metric", "dcie"), "dcie"),
        (("--folder", "pred", "--truth", "empty"), "background alone"),
        (("--folder", "pred", "--truth", "gt3", "--classes", "background,liver"), "hold the label 2"),
        ((), "Nothing was named to score"),
    ],
)
def test_what_cannot_be_scored_is_said(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    truth, found = halves()
    folders = {"pred": ("a.png", found), "gt": ("a.png", truth), "other": ("z.png", truth), "empty": ("a.png", 0 * truth)}
    for name, (file, mask) in folders.items():
        images(tmp_path / name, {file: mask})
    images(tmp_path / "gt3", {"a.png": truth + found})
    done = segkit("evaluate", *words)
    assert done.code == 2 and told in done.err, done.err


def test_any_union_of_classes_is_scored(segkit: Command, tmp_path: Path) -> None:
    """Rows of labels 1, 2, 2, 3, found as 2, 1, 2, 0: of 1 and 2 together all three are found and nothing else."""
    truth, found = (np.array([row] * 2, np.uint8) for row in ([0, 1, 2, 2, 3], [0, 2, 1, 2, 0]))
    masks, truths = images(tmp_path / "pred", {"a.png": found}), images(tmp_path / "gt", {"a.png": truth})
    words = [masks, "--truth", truths, "--classes", "background,core,edema,rim"]
    document = scored(segkit, *words, "--region", "tumour=core,edema", "--region", "all=core,edema,rim", "--metric", "hd95")
    figures = document["figures"]["per_case"]
    assert figures["dice/tumour"]["mean"] == 1 and figures["hd95/tumour"]["mean"] == 0
    assert figures["dice/all"]["mean"] == pytest.approx(2 * 3 / (3 + 4))
    without = scored(segkit, *words)["figures"]["per_case"]
    assert figures["dice"] == without["dice"]  # the mean stays that of the classes
    for wrong, part in (("tumour", "NAME=CLASS"), ("a=core,edma", "'edema'"), ("core=edema", "there already")):
        told = segkit("evaluate", "--folder", *words, "--region", wrong)
        assert told.code == 2 and part in told.err
