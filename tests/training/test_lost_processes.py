"""One of two processes is killed or stopped: the other ends with words that name it, and what was saved stays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import Command, history
from processes import launch, start

TINY = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=24 -o dataset.size=16 "
    "-o preprocess.size=16 --batch-size 4 --epochs 100000 --patience 0 --device cpu --workers 0"
).split()


@contextmanager
def two_by_hand(*words: Any, until: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """The same command line as two processes that nobody watches, from the time when a file is there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segkit", *map(str, words)]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            command,
            env=os.environ | group | {"RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        while not until.exists():
            assert all(process.poll() is None for process in started)
            time.sleep(0.02)
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_a_process_that_is_killed_is_named_and_the_run_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    started = start(*TINY, "--devices", 2, "--out", run)
    while not (run / "history.csv").exists():
        assert started.process.is_alive(), started.end().err
        time.sleep(0.02)
    psutil.Process(started.process.pid).children()[1].kill()
    done = started.end()
    assert done.code == 1 and "process 1 was killed by SIGKILL" in done.err, done.err
    assert "Traceback" not in done.err and "segkit itself failed" not in done.err
    epochs = len(history(run))
    again = launch("train", "--resume", run, "--epochs", epochs + 3)
    assert again.code == 0 and len(history(run)) == epochs + 3, again.err


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_end_of_a_process_that_was_started_by_hand_is_told_by_the_other(rank: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with two_by_hand(*TINY, "--out", run, until=run / "history.csv") as processes:
        processes[rank].kill()
        _, errors = processes[1 - rank].communicate(timeout=30)
    assert processes[1 - rank].returncode == 1 and f"Process {rank} has ended" in errors
    assert "Traceback" not in errors and "segkit itself failed" not in errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_waits_for_a_stopped_process_hears_signals(number: signal.Signals, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with two_by_hand(*TINY, "--out", run, until=run / "history.csv") as processes:
        processes[1].send_signal(signal.SIGSTOP)
        time.sleep(1)
        processes[0].send_signal(number)
        _, errors = processes[0].communicate(timeout=12)
    assert processes[0].returncode == 128 + number and "process 1: it ends here" in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_predictions_that_wait_for_a_stopped_process_hear_signals(trained: Path, segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--cases", 40, "--out", tmp_path / "new").code == 0
    images, out = tmp_path / "new" / "images", tmp_path / "out"
    (tmp_path / "many").mkdir()
    for number in range(40):
        for image in images.iterdir():
            os.link(image, tmp_path / "many" / f"{number:02d}-{image.name}")
    first = out / min(path.name for path in (tmp_path / "many").iterdir())
    with two_by_hand("predict", trained, tmp_path / "many", "--device", "cpu", "--out", out, until=first) as processes:
        processes[1].send_signal(signal.SIGSTOP)
        time.sleep(4)  # the other does its share
        processes[0].send_signal(signal.SIGTERM)
        processes[0].communicate(timeout=12)
    assert processes[0].returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)
