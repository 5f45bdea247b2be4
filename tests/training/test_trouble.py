"""When a training goes wrong: memory that ends, workers that die, cases that cannot be read, packages that are missing."""

from __future__ import annotations

import json
import os
import signal
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import Command, history
from processes import start
from segkit.config import complete
from segkit.data.cache import Cached
from segkit.training.loader import TrainingItems

SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=24 -o dataset.size=16 "
    "-o preprocess.size=16 --epochs 1"
).split()
GREEDY = """
import torch
from dataclasses import dataclass
from segkit.api import ModelSpec, hookimpl

@dataclass(frozen=True)
class Options:
    pass

class Greedy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 1, 1)

    def forward(self, x):
        if self.training and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate much.")
        return self.conv(x)

def build(task, options):
    return Greedy()

@hookimpl
def segkit_models():
    return [ModelSpec("greedy", "needs memory", target="greedy_module:build", options=Options)]
"""


@pytest.fixture
def greedy(install: Callable[..., None]) -> list[str]:
    """The words of a training whose model has memory for four images, and no more."""
    install("greedy", GREEDY)
    return ["train", "--dataset", "phantom", "--model", "greedy", *SMALL[9:]]


def test_a_batch_that_does_not_fit_says_what_it_needs_and_what_helps(
    greedy: list[str], segkit: Command, tmp_path: Path
) -> None:
    done = segkit(*greedy, "--batch-size", 8, "--out", tmp_path / "run")
    assert done.code == 1 and "too small for a batch of 8 of shape (3, 16, 16)" in done.err
    for word in ("GB are free", "--batch-size auto", "the image size (now 16 x 16)", "train.accumulate"):
        assert word in done.err
    assert "bf16" not in done.err and "checkpointing" not in done.err  # this model supports neither
    assert "Traceback" not in done.err and not (tmp_path / "run").exists()


def test_the_batch_halves_until_it_fits_and_is_recorded(greedy: list[str], segkit: Command, tmp_path: Path) -> None:
    """Where so many steps are planned that trials are worth their time."""
    words = [*greedy, "-o", "train.epoch_steps=110", "--epochs", 1, "--batch-size", "auto"]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0 and "batch_size 4: halved until it fits in memory" in done.err, done.err
    assert tomllib.loads((tmp_path / "run" / "run.toml").read_text())["train"]["batch_size"] == 4
    again = segkit("train", "--config", tmp_path / "run", "--out", tmp_path / "again")
    assert again.code == 0
    assert history(tmp_path / "again")[0]["train_loss"] == history(tmp_path / "run")[0]["train_loss"]


def test_a_worker_that_is_killed_names_what_it_read(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Cached.load

    def killed(self: Cached) -> Any:
        if self.case.id == "phantom-0003" and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self)

    parent = os.getpid()
    monkeypatch.setattr(Cached, "load", killed)
    done = segkit(*SMALL, "--workers", 2, "-o", "split.val=0", "-o", "split.test=0", "--out", tmp_path / "run")
    assert done.code == 1 and "It was reading phantom-0003." in done.err and "--workers 0" in done.err
    assert "DataLoader worker" in done.err and "segkit itself failed" not in done.err


def test_a_signal_to_the_readers_too_stops_after_the_step(tmp_path: Path) -> None:
    """As `timeout`, SLURM and systemd send it: to every process of the group."""
    run = tmp_path / "run"
    words = [*SMALL, "--workers", "2", "--epochs", "100000", "--patience", "0", "--out", str(run)]
    started = start(*words)
    while not (run / "history.csv").exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.05)
    os.killpg(started.process.pid, signal.SIGTERM)
    told = started.end()
    assert told.code == 143 and f"segkit train --resume {run}" in told.err, told.err


@pytest.fixture
def folder(segkit: Command, tmp_path: Path) -> list[Any]:
    """The words of a training on a folder of eight images, one of which is cut."""
    assert segkit("data", "synth", "folder", "--cases", "8", "--out", tmp_path / "data").code == 0
    broken = tmp_path / "data" / "images" / "phantom-0003.png"
    broken.write_bytes(broken.read_bytes()[:100])
    options = ["-o", "model.width=1", "-o", "split.val=0", "-o", "split.test=0", "-o", "dataset.channels=3"]
    return ["train", "--dataset", "folder", "--data-dir", tmp_path / "data", "--model", "unet", *options, *SMALL[-4:]]


def test_an_unreadable_case_ends_the_run_or_is_left_out_and_written_down(
    folder: list[Any], segkit: Command, tmp_path: Path
) -> None:
    done = segkit(*folder, "--out", tmp_path / "run")
    assert done.code == 1 and "phantom-0003.png" in done.err and not (tmp_path / "run").exists()
    done = segkit(*folder, "--skip-bad", "--out", tmp_path / "run")
    assert done.code == 0 and done.err.count("phantom-0003.png") == 1, done.err
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert list(manifest["unreadable"]) == ["phantom-0003"]
    assert segkit("train", "--resume", tmp_path / "run", "--epochs", 2).code == 0
    assert len(history(tmp_path / "run")) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_a_case_that_becomes_unreadable_while_training_is_named(
    workers: int, segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Cached.load

    def damaged(self: Cached) -> Any:
        if self.case.id == "phantom-0005":
            self.image.write_bytes(self.image.read_bytes()[:200])
        return load(self)

    monkeypatch.setattr(Cached, "load", damaged)
    words = [*SMALL, "-o", "split.val=0", "-o", "split.test=0", "--workers", workers, "--epochs", 2]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 1 and "case 'phantom-0005': its cached form cannot be read" in done.err
    assert "--skip-bad" in done.err and "Traceback" not in done.err
    done = segkit(*words, "--skip-bad", "--out", tmp_path / "skipped")
    assert done.code == 0 and done.err.count("phantom-0005") == 1, done.err


@pytest.mark.parametrize("skipping", [[], ["--skip-bad"]])
def test_a_signal_during_a_read_stops_the_training_and_is_no_unreadable_case(
    skipping: list[str], segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, run = TrainingItems._read, tmp_path / "run"

    def interrupted(self: TrainingItems, *index: int) -> Any:
        if (run / "history.csv").exists():  # in the second epoch
            signal.raise_signal(signal.SIGINT)
        return read(self, *index)

    monkeypatch.setattr(TrainingItems, "_read", interrupted)
    done = segkit(*SMALL, "--epochs", 3, "--workers", 0, *skipping, "--out", run)
    assert done.code == 130 and "cannot be read" not in done.err, done.err
    assert f"segkit train --resume {run}" in done.err and len(history(run)) == 1


def test_a_missing_tracker_is_told_before_anything_runs(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(complete.importlib.util, "find_spec", lambda name: None)
    done = segkit(*SMALL, "--tracker", "wandb", "--out", tmp_path / "run")
    assert done.code == 2 and "pip install wandb" in done.err


def test_foreground_patches_of_damaged_places_are_unreadable_too(tmp_path: Path) -> None:
    """What patches are laid around is a file as well."""
    from segkit.data.preprocess import Geometry
    from segkit.task import Case

    np.save(tmp_path / "image.npy", np.zeros((1, 8, 8), np.float32))
    np.save(tmp_path / "mask.npy", np.ones((8, 8), np.int32))
    (tmp_path / "places.npy").write_bytes(b"cut")
    geometry = Geometry((8, 8), (8, 8), (8, 8), (0, 0))
    cached = Cached(Case("a", "a"), *(tmp_path / f"{name}.npy" for name in ("image", "mask", "places")), geometry)
    read, failures = TrainingItems([cached], (4, 4), 0, foreground=1.0)[0, 1, 0]
    assert read is None and failures[0][0] == "a"
