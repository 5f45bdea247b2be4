"""A hint leads somewhere: what it says can be typed, and does what was meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import Command, save_weights
from segkit.config.complete import complete_config
from segkit.config.resolve import gather, resolve_config
from segkit.plugins import load
from segkit.settings import Preprocess
from segkit.task import Task

PHANTOM = ["train", "--dataset", "phantom", "--model", "unet"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train --gpu 0", "--device cuda:0"),
        ("train --gpu=1", "--device cuda:1"),
        ("evaluate RUN --gpu 2", "--device cuda:2"),
        ("predict RUN x --gpu 0", "--device cuda:0"),
        ("train --gpus 2", "--devices 2"),
        ("train --cpu", "--device cpu"),
        ("train --learning-rate 0.1", "--lr 0.1"),
        ("train --bs 4", "--batch-size 4"),
        ("predict RUN x --output-dir y", "--out y"),
        ("train --image-size 64", "-o preprocess.size=N"),
        ("train --weight-decay 0", "-o train.weight_decay"),
        ("val RUN", "segkit evaluate"),
        ("test RUN", "segkit evaluate"),
        ("infer RUN", "segkit predict"),
        ("fit", "segkit train"),
        ("convert RUN", "segkit export"),
        ("check phantom", "segkit data check"),
        ("version", "segkit --version"),
    ],
)
def test_what_other_tools_call_it_is_answered_with_what_it_is_called_here(segkit: Command, words: str, hint: str) -> None:
    told = segkit(*words.split())
    assert told.code == 2 and hint in told.err and "Did you mean" in told.err


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("width=8", "-o model.width"),
        ("width", "-o model.width"),
        ("train.width=8", "-o model.width"),
        ("model.lr=1", "-o train.lr"),
        ("unet.width=8", "-o model.width"),
        ("lr=1", "-o train.lr"),
        ("wdith=8", "-o model.width"),
        ("cases=8", "-o dataset.cases"),
        ("gamma=3", "-o loss.gamma"),
        ("model.widht=8", "'width'"),
    ],
)
def test_a_key_without_its_section_or_in_a_wrong_one_is_proposed_in_its_own(segkit: Command, option: str, hint: str) -> None:
    told = segkit(*PHANTOM, "-o", option)
    assert told.code == 2 and hint in told.err


def test_a_model_of_volumes_names_the_option_that_makes_them_and_models_that_take_images(segkit: Command) -> None:
    told = segkit("train", "--dataset", "phantom", "--model", "unet3d")
    assert told.code == 2 and "-o dataset.dims=3" in told.err and "resunet" in told.err
    catalogue = load()
    requested = resolve_config(gather({}, {"dataset": "phantom", "model": "unet3d"}, ["dataset.dims=3"]), catalogue)
    dataset = requested.dataset.spec.load()(None, requested.dataset.options)
    assert complete_config(requested, dataset, catalogue).dims == 3
    table = segkit("models").out.splitlines()
    assert "dims" in table[0] and next(line for line in table if line.startswith("unet3d")).split()[4] == "3D"


def folder(path: Path, channels: int = 3) -> Path:
    for name in ("images", "masks"):
        (path / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(6):
        shape = (24, 24, 3) if channels == 3 else (24, 24)
        cv2.imwrite(str(path / f"images/{number}.png"), draw.integers(0, 255, shape, np.uint8))
        cv2.imwrite(str(path / f"masks/{number}.png"), (draw.random((24, 24)) > 0.5).astype(np.uint8) * 255)
    return path


def test_an_image_that_cannot_be_read_names_data_check_and_skip_bad(segkit: Command, tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    (data / "images/3.png").write_bytes(b"no image")
    words = [
        "train",
        "--dataset",
        "folder",
        "--data-dir",
        data,
        "--model",
        "unet",
        "--epochs",
        "1",
        "--out",
        tmp_path / "run",
    ]
    told = segkit(*words, "-o", "model.width=1", "-o", "model.depth=1", "-o", "preprocess.size=16")
    assert told.code != 0 and "3.png" in told.err
    assert "--skip-bad" in told.err and f"segkit data check folder --data-dir {data}" in told.err


def test_data_of_other_channels_names_a_file(segkit: Command, tmp_path: Path) -> None:
    gray = Task(1, ("background", "lesion"))
    weights = save_weights(tmp_path / "m.safetensors", "unet", gray, Preprocess("stretch", (16, 16)), width=1, depth=1)
    data = folder(tmp_path / "data")
    told = segkit("evaluate", weights, "--dataset", "folder", "--data-dir", data, "--subset", "all")
    assert told.code == 2 and "channels = 1" in told.err and str(data / "images/0.png") in told.err
    told = segkit("predict", weights, data, "--dataset", "folder", "--out", tmp_path / "masks")
    assert told.code == 2 and "channels = 1" in told.err and str(data / "images/0.png") in told.err


def test_gray_data_for_a_model_of_colours_is_given_the_way_to_score_it(segkit: Command, tmp_path: Path) -> None:
    colours = Task(3, ("background", "lesion"))
    weights = save_weights(tmp_path / "m.safetensors", "unet", colours, Preprocess("stretch", (16, 16)), width=1, depth=1)
    data = folder(tmp_path / "data", channels=1)
    words = ["evaluate", weights, "--dataset", "folder", "--data-dir", data, "--subset", "all", "--device", "cpu"]
    told = segkit(*words)
    assert told.code == 2 and "channels = 1" in told.err and "-o dataset.channels=3" in told.err
    assert segkit(*words, "-o", "dataset.channels=3", "--out", tmp_path / "scores").code == 0


def test_a_plugin_that_is_missing_is_named_by_evaluate_with_how_to_get_it(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    text = (run / "run.toml").read_text().replace("datasets/phantom", "ours/phantom")
    (run / "run.toml").write_text(text + '\n[plugins.ours]\ndistribution = "hospital-data"\nversion = "2.1"\n')
    told = segkit("evaluate", run)
    assert told.code == 1 and "ours/phantom comes with hospital-data 2.1" in told.err
    assert "pip install hospital-data" in told.err


def test_too_little_memory_names_what_there_is_to_make_smaller() -> None:
    from types import SimpleNamespace

    from segkit.training.memory import remedies

    catalogue = load()
    words = ["preprocess.fit=patch", "preprocess.size=64,32", "model.width=8"]
    requested = resolve_config(gather({}, {"dataset": "phantom", "model": "unet"}, words), catalogue)
    dataset = requested.dataset.spec.load()(None, requested.dataset.options)
    config = complete_config(requested, dataset, catalogue)
    components = SimpleNamespace(config=config, accelerator=SimpleNamespace(mixed_precision="no"))
    said = ", ".join(remedies(components, 4))  # type: ignore[arg-type]
    assert "the patch size (now 64 x 32)" in said and "-o model.width=N (now 8)" in said and "less than 4" in said
    assert "--batch-size" not in ", ".join(remedies(components, 1))  # type: ignore[arg-type]
