"""Images that do not use the range of their type are noticed: before a training, in the check of the data, in prediction."""

from __future__ import annotations

import json
import logging
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from conftest import Command, save_weights
from segkit import load
from segkit.data.images import write_image
from segkit.data.value_range import range_of
from segkit.inference.load import load_networks
from segkit.runs.weights import read_header
from segkit.settings import Preprocess
from segkit.task import Task

BLOB = np.zeros((32, 32))
BLOB[8:24, 8:24] = 1


@pytest.mark.parametrize(
    ("dtype", "low", "high", "fits"),
    [
        (np.uint8, 56, 164, True),
        (np.uint8, 0, 15, False),  # 4 bits
        (np.uint8, 7, 7, True),  # blank
        (np.uint16, 0, 65535, True),
        (np.uint16, 0, 4095, False),  # 12 bits
        (np.uint16, 0, 16383, False),  # 14 bits
        (np.int16, -1024, 3071, False),  # Hounsfield units
        (np.int16, 0, 1500, False),  # MR
        (np.float32, 0, 255, True),
        (np.float32, 0.2, 0.7, False),
        (np.float32, -1, 1, False),
        (np.float32, 0, 4095, False),
        (np.int32, 0, 4095, False),
    ],
)
def test_what_a_type_can_hold_is_compared_with_what_it_holds(dtype: type, low: float, high: float, fits: bool) -> None:
    assert range_of(np.array([[[low, high]]], dtype)).fits() == fits


def folder(root: Path, scale: float, dtype: type, suffix: str = ".png") -> Path:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for number in range(6):
        image = ((0.3 + 0.4 * np.roll(BLOB, number, 0)) * scale).astype(dtype)
        write = tifffile.imwrite if suffix == ".tif" else write_image
        write(root / "images" / f"{number}{suffix}", image)  # type: ignore[operator]
        Image.fromarray((np.roll(BLOB, number, 0) * 255).astype(np.uint8)).save(root / "masks" / f"{number}.png")
    return root


SMALL = "--model unet -o model.width=2 -o model.depth=1 -o preprocess.size=16 --epochs 1 --device cpu".split()


@pytest.mark.parametrize(("scale", "dtype", "suffix"), [(4095, np.uint16, ".png"), (1, np.float32, ".tif")])
def test_an_intensity_that_suits_the_values_is_chosen_said_and_recorded(
    segkit: Command, tmp_path: Path, scale: float, dtype: type, suffix: str
) -> None:
    root = folder(tmp_path / "data", scale, dtype, suffix)
    done = segkit("train", "--dataset", "folder", "--data-dir", root, *SMALL, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "intensity=zscore is used, not scale255" in done.err and "% of their range" in done.err
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["preprocess"]["intensity"] == "zscore"
    check = json.loads(segkit("data", "check", "folder", "--data-dir", root, "--json").out)
    assert any("intensity=zscore" in warning for warning in check["warnings"]) and not check["problems"]


def test_an_intensity_that_was_asked_for_stays_and_is_doubted(segkit: Command, tmp_path: Path) -> None:
    root = folder(tmp_path / "data", 4095, np.uint16)
    words = ["-o", "preprocess.intensity=scale255", "--out", tmp_path / "run"]
    done = segkit("train", "--dataset", "folder", "--data-dir", root, *SMALL, *words)
    assert done.code == 0 and "-o preprocess.intensity=zscore" in done.err
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["preprocess"]["intensity"] == "scale255"
    header = read_header(tmp_path / "run" / "model.safetensors")
    assert header.seen == pytest.approx((0.3 * 4095 / 65535, 0.7 * 4095 / 65535), rel=1e-2)
    again = segkit("predict", tmp_path / "run", root / "images", "--out", tmp_path / "out", "--device", "cpu")
    assert again.code == 0 and "its values go" not in again.err  # they are what it was trained on


def test_inputs_of_another_range_are_named_and_counted(segkit: Command, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "model.safetensors", "unet", Task(1, ("background", "x")), _whole(), width=2, depth=1)
    for number in range(7):
        write_image(tmp_path / "in" / f"dark-{number}.png", (BLOB * 4080).astype(np.uint16))
    write_image(tmp_path / "in" / "plain.png", (BLOB * 200).astype(np.uint8))
    write_image(tmp_path / "in" / "blank.png", np.zeros((32, 32), np.uint8))
    done = segkit("predict", weights, tmp_path / "in", "--out", tmp_path / "out", "--device", "cpu")
    assert done.code == 0
    assert "dark-0.png: its values go up to 4080, where white is 65535 (6.23 % of their range)" in done.err
    assert "plain.png:" not in done.err and "blank.png:" not in done.err and "2 more hold values" in done.err


def test_an_array_of_another_range_is_told_as_well(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = save_weights(tmp_path / "model.safetensors", "unet", Task(1, ("background", "x")), _whole(), width=2, depth=1)
    model = load(weights, device="cpu")
    with caplog.at_level(logging.WARNING, "segkit"):
        model.predict((BLOB * 255).astype(np.float32))
        assert not caplog.records
        model.predict(BLOB.astype(np.float32))
    assert "unlike those of the training" in caplog.text


def test_the_range_of_the_training_travels_with_the_weights(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "model.safetensors", "unet", Task(1, ("background", "x")), _whole(), width=2, depth=1)
    assert load_networks([weights], "cpu", None)[0].seen is None


def _whole() -> Preprocess:
    return Preprocess("stretch", (32, 32), intensity="scale255")


def test_a_few_images_of_another_range_are_named_by_data_check(segkit: Command, tmp_path: Path) -> None:
    root = folder(tmp_path, 255, np.uint8)
    write_image(root / "images" / "3.png", (BLOB * 4095).astype(np.uint16))
    check = json.loads(segkit("data", "check", "folder", "--data-dir", root, "--json").out)
    assert "1 image of another range of values than the rest: 3" in check["warnings"]
