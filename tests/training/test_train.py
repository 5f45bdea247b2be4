"""Training leaves a run folder that repeats itself, and stops well when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from conftest import Command, history, same_weights
from processes import start
from segkit.runs.weights import read_header

SMALL = (
    "train --dataset phantom --model resunet -o dataset.cases=12 -o dataset.size=24 -o preprocess.size=24 "
    "-o model.width=2 -o model.depth=2 --batch-size 4"
).split()


def test_a_run_folder_holds_what_it_should(segkit: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = segkit(*SMALL, "--epochs", "3", "-o", "train.smoothing=0", "--out", run, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["run"] == str(run)
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert {
        "lr",
        "train_loss",
        "train_dice",
        "val_loss",
        "val_dice",
        "val_dice/target",
        "val_iou/target",
        "train_seconds",
    } <= set(rows[0])
    manifest = json.loads((run / "manifest.json").read_text())
    assert {"versions", "git", "hardware", "seed", "data", "notes", "command", "plugins"} <= set(manifest)
    split = json.loads((run / "split.json").read_text())
    assert [len(split[name]) for name in ("train", "val", "test")] == [8, 2, 2]
    assert sorted(id for ids in split.values() for id in ids) == [f"phantom-{n:04d}" for n in range(12)]
    best = max(rows, key=lambda row: float(row["val_dice"]))  # the first of equals
    assert read_header(run / "model.safetensors").metrics["val_loss"] == pytest.approx(float(best["val_loss"]))
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


def test_a_training_learns_to_find_the_targets(segkit: Command, tmp_path: Path) -> None:
    more = "-o dataset.cases=24 -o model.width=4 --batch-size 2 --lr 0.01 --epochs 12".split()
    assert segkit(*SMALL, *more, "--out", tmp_path / "run").code == 0
    rows = history(tmp_path / "run")
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    document = json.loads(segkit("evaluate", tmp_path / "run", "--json").out)  # of images that it has never seen
    assert document["figures"]["per_case"]["dice/target"]["mean"] > 0.8


def test_run_toml_repeats_the_run_bit_for_bit(segkit: Command, tmp_path: Path) -> None:
    first, again, other = tmp_path / "first", tmp_path / "again", tmp_path / "other"
    assert segkit(*SMALL, "--epochs", "2", "--out", first).code == 0
    assert segkit("train", "--config", first / "run.toml", "--out", again).code == 0
    assert segkit("train", "--config", first, "--seed", "1", "--out", other).code == 0
    assert same_weights(first, again)
    assert tomllib.loads((first / "run.toml").read_text()) == tomllib.loads((again / "run.toml").read_text())
    assert not same_weights(first, other)


def test_the_number_of_workers_changes_nothing(segkit: Command, tmp_path: Path) -> None:
    assert segkit(*SMALL, "--epochs", "2", "--workers", "0", "--out", tmp_path / "none").code == 0
    assert segkit(*SMALL, "--epochs", "2", "--workers", "2", "--out", tmp_path / "two").code == 0
    assert same_weights(tmp_path / "none", tmp_path / "two")


def test_a_run_is_never_overwritten_and_an_unusable_command_leaves_no_folder(segkit: Command, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    told = segkit(*SMALL, "--out", tmp_path / "run")
    assert told.code == 2 and "never overwritten" in told.err
    for wrong in (["--device", "cuda:77"], ["--split", "official"], ["--precision", "fp16"]):
        assert segkit(*SMALL, *wrong, "--out", tmp_path / "new").code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_failed_training_takes_away_its_own_files_alone(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segkit.training import train

    def spoil(*_: object, **__: object) -> None:
        (tmp_path / "run" / "notes.txt").write_text("mine")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(train, "assemble", spoil)
    told = segkit(*SMALL, "--out", tmp_path / "run")
    assert told.code == 1 and "No space left on device" in told.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_runs_without_a_name_are_numbered(segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert segkit(*SMALL, "--epochs", "1").code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["phantom-resunet-1", "phantom-resunet-2"]


def test_the_rate_falls_when_nothing_improves_and_patience_ends_it(segkit: Command, tmp_path: Path) -> None:
    words = "--lr 1e-7 -o train.schedule=plateau -o train.plateau_patience=0 -o train.plateau_factor=0.5".split()
    words += ["-o", "train.min_lr=0"]
    done = segkit(*SMALL, *words, "--epochs", "50", "--patience", "3", "--out", tmp_path / "run")
    rows = history(tmp_path / "run")
    assert done.code == 0 and "--patience" in done.err
    assert len(rows) < 50
    assert float(rows[-1]["lr"]) < float(rows[0]["lr"])


def test_without_validation_the_last_weights_are_kept_and_it_is_said(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "--epochs", "2", "-o", "split.val=0", "--out", tmp_path / "run")
    assert done.code == 0 and "no validation subset" in done.err
    assert "val_loss" not in history(tmp_path / "run")[0]
    assert "no validation subset" in json.loads((tmp_path / "run" / "manifest.json").read_text())["notes"][0]
    assert "epoch 2" in done.err


def test_a_leak_is_refused_and_where_it_is_meant_written_down(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "polyp", "--cases", "120", "--out", tmp_path / "data").code == 0
    words = [
        "train",
        "--dataset",
        "polyp",
        "--data-dir",
        tmp_path / "data",
        "--model",
        "unet",
        "--split",
        "case",
        "--epochs",
        "1",
    ]
    small = ["-o", "model.width=1", "-o", "model.depth=1", "-o", "preprocess.size=8", "--batch-size", "32"]
    told = segkit(*words, *small, "--out", tmp_path / "run")
    assert told.code == 2 and "sequence-" in told.err and "--allow-leak" in told.err
    assert segkit(*words, *small, "--allow-leak", "--out", tmp_path / "run").code == 0
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["split"]["allow_leak"] is True
    assert "scores will look too good" in (tmp_path / "run" / "manifest.json").read_text()


def test_multiclass_masks_train_too(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "-o", "dataset.classes=3", "--loss", "cross-entropy", "--epochs", "1", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    row = history(tmp_path / "run")[0]
    each = [float(row[f"val_dice/target-{number}"]) for number in (1, 2, 3)]
    assert float(row["val_dice"]) == pytest.approx(np.nanmean(each))
    assert read_header(tmp_path / "run" / "model.safetensors").task.outputs == 4


def test_a_size_that_the_depth_does_not_divide_trains_and_scores_every_pixel(segkit: Command, tmp_path: Path) -> None:
    assert segkit(*SMALL, "-o", "preprocess.size=23,17", "--epochs", "1", "--out", tmp_path / "run").code == 0
    assert read_header(tmp_path / "run" / "model.safetensors").preprocess.size == (23, 17)
    document = json.loads(segkit("evaluate", tmp_path / "run", "--json").out)
    assert np.sum(document["counts"]["dice"]["confusion"]) == 2 * 24 * 24  # on the images' own grid


def test_bf16_computes_in_another_precision_and_keeps_weights_in_float32(segkit: Command, tmp_path: Path) -> None:
    for name in ("fp32", "bf16"):
        done = segkit(*SMALL, "--precision", name, "--epochs", "2", "--lr", "0.01", "--out", tmp_path / name)
        assert done.code == 0, done.err
    whole, half = (float(history(tmp_path / name)[-1]["train_loss"]) for name in ("fp32", "bf16"))
    assert half != whole and half == pytest.approx(whole, rel=0.05)
    tensors = load_file(tmp_path / "bf16" / "model.safetensors").values()
    assert {tensor.dtype for tensor in tensors if tensor.is_floating_point()} == {torch.float32}


WATCHED = """
from segkit.api import ModelSpec, hookimpl

SEEN = []

@hookimpl
def segkit_models():
    return [ModelSpec("watched", "remembers how it was run", target="acme_module:build")]

def build(task, options):
    import torch

    class Watched(torch.nn.Conv2d):
        def forward(self, x):
            SEEN.append((torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark))
            return super().forward(x)

    return Watched(task.channels, task.outputs, 1)
"""


@pytest.mark.parametrize("deterministic", [False, True])
def test_deterministic_kernels_are_asked_of_torch_while_it_trains_and_no_longer(
    segkit: Command, install: Callable[..., None], tmp_path: Path, deterministic: bool
) -> None:
    install("acme", WATCHED)
    words = "train --dataset phantom --model watched -o dataset.cases=8 -o dataset.size=16 --epochs 1".split()
    assert segkit(*words, *["--deterministic"] * deterministic, "--out", tmp_path / "run").code == 0
    assert set(sys.modules["acme_module"].SEEN) == {(deterministic, not deterministic)}
    assert not torch.are_deterministic_algorithms_enabled()
    settings = tomllib.loads((tmp_path / "run" / "run.toml").read_text())["train"]
    assert settings["deterministic"] is deterministic


def test_a_case_that_cannot_be_read_is_named(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "folder", "--cases", "6", "--out", tmp_path / "data").code == 0
    broken = tmp_path / "data" / "images" / "phantom-0003.png"
    broken.write_bytes(broken.read_bytes()[:100])
    options = ["-o", "model.width=1", "-o", "split.val=0", "-o", "split.test=0", "-o", "dataset.channels=3"]
    words = ["train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--model", "unet", *options]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 1 and "phantom-0003.png" in done.err and "Traceback" not in done.err


def test_a_loss_that_is_not_finite_ends_with_the_cases_named(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "--lr", "1e30", "--epochs", "5", "-o", "split.val=0", "--out", tmp_path / "run")
    assert done.code == 1
    assert "The loss became" in done.err and "phantom-00" in done.err and "--lr" in done.err


@pytest.mark.parametrize("moment", [pytest.param("while training", marks=pytest.mark.slow), "before the first epoch ends"])
def test_ctrl_c_leaves_a_usable_run(segkit: Command, tmp_path: Path, moment: str) -> None:
    late = moment == "while training"
    run = tmp_path / "run"
    size = ["-o", "dataset.cases=12"] if late else ["-o", "dataset.cases=400"]
    started = start(*SMALL, *size, "--epochs", "100000", "--patience", "0", "--out", run)
    wanted = run / "history.csv" if late else run / "manifest.json"
    while not wanted.exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.05)
    time.sleep(0.3 if late else 1.0)
    os.kill(started.process.pid, signal.SIGINT)
    told = started.end(60)
    # a shell shows both as 130; the second is CPython's own way where the signal met an exec() of some import
    assert told.code in (130, -signal.SIGINT), told.err
    assert "Traceback" not in told.err
    if late:
        assert f"segkit train --resume {run}" in told.err
        assert segkit("evaluate", run).code == 0


def test_weights_that_diverged_are_never_saved(segkit: Command, tmp_path: Path) -> None:
    done = segkit(*SMALL, "--lr", "1e30", "--epochs", "3", "--out", tmp_path / "run")
    assert done.code == 1 and "The loss became" in done.err
    assert not (tmp_path / "run").exists()


def test_a_batch_too_small_for_batch_norm_is_told(segkit: Command, tmp_path: Path) -> None:
    words = "-o preprocess.size=4 -o model.depth=2 --batch-size 1 --epochs 1".split()
    done = segkit(*SMALL, *words, "--out", tmp_path / "run")
    assert done.code == 2 and "--batch-size 2" in done.err and not (tmp_path / "run").exists()


def test_a_quiet_training_says_nothing(segkit: Command, tmp_path: Path) -> None:
    done = segkit("-q", *SMALL, "--epochs", "1", "--out", tmp_path / "run")
    assert (done.code, done.out, done.err) == (0, "", "")
