"""curves.png shows what history.csv says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from conftest import Command, history
from segkit.data.images import read_image
from segkit.reports.curves import draw_curves

pytestmark = pytest.mark.usefixtures("pictures_drawn")


def test_every_run_leaves_its_curves(segkit: Command, trained: Path, tmp_path: Path) -> None:
    assert segkit("train", "--config", trained, "--out", tmp_path / "run").code == 0
    picture = read_image(tmp_path / "run" / "curves.png")
    assert picture.shape[0] == 3 and picture.shape[2] > picture.shape[1] and len(np.unique(picture)) > 10


def test_curves_are_the_rows_and_mark_the_kept_epoch(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), Path(path).touch()))
    rows = [{key: float(value or "nan") for key, value in row.items()} for row in history(trained)]
    draw_curves([{**row, "epoch": int(row["epoch"])} for row in rows], 2, tmp_path / "curves.png")
    panels = {axis.get_title(): axis for axis in drawn[0].axes}
    assert set(panels) == {"loss", "dice", "iou", "precision", "recall", "specificity", "pixel-accuracy", "learning rate"}
    lines = {line.get_label(): line for line in panels["loss"].lines}
    assert lines["training"].get_ydata().tolist() == [row["train_loss"] for row in rows]
    assert lines["validation"].get_ydata().tolist() == [row["val_loss"] for row in rows]
    assert list(lines["kept: epoch 2"].get_xdata()) == [2, 2]
    assert (tmp_path / "curves.png").exists()
    assert "means over cases, on both sides" in drawn[0].get_supxlabel() and "augmented" in drawn[0].get_supxlabel()
    draw_curves([{"epoch": 1, "lr": 0.1, "train_loss": 1.0}], 0, tmp_path / "curves.png", "pooled")
    assert "pooled over all cases" in drawn[1].get_supxlabel()


def test_a_rate_of_zero_and_a_single_epoch_without_validation_are_drawn(tmp_path: Path) -> None:
    draw_curves([{"epoch": 1, "lr": 0.0, "train_loss": 1.0, "train_dice": float("nan")}], 0, tmp_path / "curves.png")
    assert read_image(tmp_path / "curves.png").shape[0] == 3
