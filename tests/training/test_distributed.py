"""Several processes do what one does: the same losses, the same figures, every case once, and one message when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from conftest import Command, history
from processes import launch, start
from segkit.training.order import Order

TINY = (
    "train --dataset phantom --model unet -o model.width=4 -o model.depth=1 -o model.norm=group -o model.head_norm=false "
    "-o dataset.size=16 -o preprocess.size=16 --augment standard -o split.test=0 --device cpu"
).split()
SGD = "--loss dice --optimizer sgd --lr 0.1 -o train.schedule=none".split()


def numbers(run: Path, prefix: str) -> list[list[float]]:
    return [
        [float(value) for key, value in row.items() if key.startswith(prefix) and "seconds" not in key]
        for row in history(run)
    ]


@pytest.mark.parametrize(
    ("count", "batch", "epochs"), [(11, 9, 10), (13, 6, 5)], ids=["one step an epoch", "an uneven last batch"]
)
def test_two_processes_have_the_losses_of_one_with_the_same_batch_over_ten_steps(
    count: int, batch: int, epochs: int, tmp_path: Path
) -> None:
    words = [*TINY, *SGD, "-o", f"dataset.cases={count}", "--batch-size", batch, "--epochs", epochs]
    for name, more in (("one", []), ("two", ["--devices", 2, "--tracker", "tensorboard"])):
        done = launch(*words, *more, "--out", tmp_path / name)
        assert done.code == 0, done.err
    assert (tmp_path / "two" / "curves.png").exists() and list((tmp_path / "two" / "tensorboard").iterdir())
    one, two = numbers(tmp_path / "one", "train_"), numbers(tmp_path / "two", "train_")
    assert len(one) == epochs
    assert two == [pytest.approx(row, abs=1e-5) for row in one]
    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-5) for name in theirs)


def test_identical_weights_have_identical_figures_on_an_odd_number_of_cases(tmp_path: Path) -> None:
    words = [*TINY, "--optimizer", "sgd", "--lr", 0, "--epochs", 1, "-o", "dataset.cases=11", "-o", "split.val=0.45"]
    for name, more in (("one", []), ("two", ["--devices", 2])):
        assert launch(*words, *more, "--out", tmp_path / name).code == 0
        done = launch("evaluate", tmp_path / "one", "--subset", "val", *more, "--out", tmp_path / f"scores-{name}")
        assert done.code == 0 and "val: 5 cases" in done.out and done.out.count("target") == 1, done.err
    one, two = numbers(tmp_path / "one", "val_"), numbers(tmp_path / "two", "val_")
    assert two == one
    assert (tmp_path / "scores-two/cases.csv").read_text() == (tmp_path / "scores-one/cases.csv").read_text()
    assert (tmp_path / "scores-one/cases.csv").read_text().count("\n") == 6


def test_predictions_are_shared_and_a_bad_file_is_named_once(trained: Path, segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--cases", 5, "--out", tmp_path / "new").code == 0
    images = tmp_path / "new" / "images"
    (images / "bad.png").write_bytes(b"no image")
    for name, more in (("one", []), ("two", ["--devices", 2])):
        done = segkit("predict", trained, images, "--out", tmp_path / name, "--table", *more)
        assert done.code == 3 and "5 predicted, 0 already done, 1 failed" in done.err
        assert done.err.count("bad.png cannot be read") == 1
    masks = sorted(path.name for path in (tmp_path / "one").glob("*.png"))
    assert len(masks) == 5
    for name in (*masks, "measures.csv"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    again = launch("predict", trained, images, "--out", tmp_path / "two", "--table", "--devices", 2)
    assert again.code == 3 and "0 predicted, 5 already done, 1 failed" in again.err


def test_a_signal_stops_all_processes_after_the_step_and_they_go_on(tmp_path: Path) -> None:
    words = [*TINY, *SGD, "-o", "dataset.cases=40", "--batch-size", "4", "--epochs", "12", "--patience", "0"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert launch(*words, "--devices", 2, "--out", whole).code == 0
    started = start(*words, "--devices", 2, "--out", run)
    while not (run / "history.csv").exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.05)
    os.kill(started.process.pid, signal.SIGTERM)
    told = started.end()
    assert told.code == 143, told.err
    assert told.err.count(f"segkit train --resume {run}") == 1
    assert 0 < len(history(run)) < 12
    done = launch("train", "--resume", run, "--devices", 2)
    assert done.code == 0, done.err
    ours, theirs = (torch.load(path / "resume" / "state.pt", weights_only=True) for path in (run, whole))
    assert numbers(run, "train_") == numbers(whole, "train_")
    assert all(torch.equal(ours["model"][name], tensor) for name, tensor in theirs["model"].items())


def test_what_goes_wrong_is_said_once(tmp_path: Path) -> None:
    done = launch(*TINY, "--devices", 2, "--batch-size", 1, "--out", tmp_path / "run")
    assert done.code == 2 and done.err.count("--batch-size 1 is less than one case for each of 2 processes") == 1
    assert done.err.count("Error") == 1 and "process 1" not in done.err
    nan = ["--lr", 1e38, "--optimizer", "sgd", "-o", "dataset.cases=40", "--batch-size", 2]
    done = launch(*TINY, "--devices", 2, *nan, "--out", tmp_path / "other")
    assert done.code == 1 and "The loss became" in done.err and "Traceback" not in done.err


@pytest.mark.slow
def test_torchrun_starts_it_as_well(tmp_path: Path) -> None:
    words = [*TINY, *SGD, "-o", "dataset.cases=8", "--epochs", "1", "--out", str(tmp_path / "run")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    done = subprocess.run(
        [*launcher, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "segkit", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Done after 1 epoch") == 1
    assert '"processes": 2' in (tmp_path / "run" / "manifest.json").read_text()


def test_shares_hold_every_case_once_and_weigh_them_alike() -> None:
    """By hand: 17 cases in batches of 6 are 6 + 6 + 5; of 5 cases two processes get 3 and 2, of weights 6/5 and 4/5."""
    whole = list(Order(17, 6, seed=1))
    shares = [Order(17, 6, seed=1, rank=rank, processes=2) for rank in range(2)]
    for step, (batch, first, second) in enumerate(zip(whole, *shares, strict=True)):
        assert sorted([*first, *second]) == sorted(batch)
        assert sum(order.weight(step) for order in shares) == pytest.approx(2)
    assert [order.weight(2) for order in shares] == pytest.approx([6 / 5, 4 / 5])
    assert [len(batch) for batch in Order(15, 6, seed=1, processes=2)] == [3, 5]  # three, less than two for each, join six


def test_a_process_without_a_case_takes_part_with_one_that_weighs_nothing() -> None:
    orders = [Order(2, 4, seed=0, rank=rank, processes=3) for rank in range(3)]
    assert [order.weight(0) for order in orders] == [1.5, 1.5, 0]
    assert [len(next(iter(order))) for order in orders] == [1, 1, 1]
