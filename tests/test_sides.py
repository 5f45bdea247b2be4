"""Left and right classes are known by their names in the ways that people write them; flips that exchange them are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import Command
from segkit import plugins
from segkit.config.complete import complete_config, doubts_about
from segkit.config.resolve import gather, resolve_config
from segkit.data.reading import open_dataset
from segkit.inference.network import Network, flipped
from segkit.settings import Preprocess
from segkit.sides import mirrored_pairs
from segkit.task import Task


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left-kidney", "right-kidney"),
        ("kidney_l", "kidney_r"),
        ("L kidney", "R kidney"),
        ("Left Kidney", "Right Kidney"),
        ("lung_upper_lobe_left", "lung_upper_lobe_right"),
        ("LeftLung", "RightLung"),
        ("lungL", "lungR"),
        ("LKidney", "RKidney"),
        ("leftkidney", "rightkidney"),
        ("lkidney", "rkidney"),
        ("ctx-lh-cuneus", "ctx-rh-cuneus"),
        ("Hippocampus (L)", "Hippocampus (R)"),
        ("kidney.left", "kidney.right"),
        ("femur_lt", "femur_rt"),
        ("Niere links", "Niere rechts"),
        ("左肾", "右肾"),
    ],
)
def test_a_pair_of_sides_is_known_in_any_order(left: str, right: str) -> None:
    assert mirrored_pairs(["background", right, "spleen", left]) == [(left, right)]


@pytest.mark.parametrize(
    "names", [("kidney", "spleen"), ("LV", "RV"), ("left-kidney", "right-lung"), ("lesion", "rim"), ("class-1", "class-2")]
)
def test_other_names_are_no_pair(names: tuple[str, ...]) -> None:
    assert mirrored_pairs(("background", *names)) == []


@pytest.mark.parametrize(("data", "dims", "axis"), [(2, 2, 1), (3, 3, 0), (3, 2, 0)])
def test_test_time_flips_leave_out_the_axis_from_left_to_right(data: int, dims: int, axis: int) -> None:
    seen: list[np.ndarray] = []  # type: ignore[type-arg]

    def forward(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(batch[0, 0])
        return np.repeat(batch, 3, axis=1)

    task = Task(1, ("background", "kidney left", "kidney right"), data, "multiclass")
    image = np.arange(3**dims, dtype=np.float32).reshape(1, 1, *(3,) * dims)
    flipped(Network(forward, dims, task, Preprocess("native"))).forward(image)
    assert len(seen) == 2 ** (dims - 1)
    assert all(
        np.array_equal(np.sort(one.take(0, axis).ravel()), np.sort(image[0, 0].take(0, axis).ravel())) for one in seen
    )


def test_data_check_names_the_pair(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "3", "--out", tmp_path).code == 0
    words = ["-o", "dataset.classes=left lung,right lung", "-o", "dataset.values=0,255"]
    assert "augment.flip" not in segkit("data", "check", "folder", "--data-dir", tmp_path, *words).out  # one is background
    words = ["-o", "dataset.classes=background,left lung,right lung", "-o", "dataset.values=0,255,9"]
    found = segkit("data", "check", "folder", "--data-dir", tmp_path, *words)
    assert "left lung and right lung" in found.out and "-o augment.flip=0" in found.out


@pytest.mark.parametrize(
    ("dims", "flip", "noted"),
    [
        (2, "0.5", True),
        (2, "0", False),
        (2, "0.5,0", False),
        (2, "0,0.5", True),
        (3, "0,0.5,0.5", False),
        (3, "0.5,0,0", True),
    ],
)
def test_flips_are_noted_where_they_go_along_the_axis_from_left_to_right(dims: int, flip: str, noted: bool) -> None:
    catalogue, model = plugins.load(), {2: "unet", 3: "unet3d"}[dims]
    flags = {"dataset": "phantom", "model": model}
    requested = resolve_config(gather({}, flags, [f"dataset.dims={dims}", f"augment.flip={flip}"]), catalogue)
    config = complete_config(requested, open_dataset(requested.dataset, None), catalogue)
    task = Task(1, ("background", "left lung", "right lung"), dims, "multiclass")
    assert any("left lung and right lung" in doubt for doubt in doubts_about(config, task)) == noted
