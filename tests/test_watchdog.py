"""A process that shares a training stays stoppable while it waits for another, and says so when the other is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segkit.cpus import usable_cpus
from segkit.runs.folder import RunFolder
from segkit.training.checkpoint import load

TRAIN = (
    "train --dataset phantom -o dataset.cases=32 -o dataset.size=64 --model unet -o model.width=8 -o model.depth=2 "
    "-o preprocess.size=64 --epochs 1000 --device cpu"
).split()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes 0 and 1 of a training, started by hand; both have ended an epoch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in ("0", "1"):
        own = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": rank, "LOCAL_RANK": rank}
        words = [sys.executable, "-m", "segkit", *TRAIN, "--out", str(tmp_path / "run")]
        environment = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
        started.append(
            subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        )
    history = tmp_path / "run" / "history.csv"
    deadline = time.monotonic() + 120
    while not history.exists() and time.monotonic() < deadline and started[0].poll() is None:
        time.sleep(0.1)
    assert history.exists()
    yield started
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_for_a_frozen_one_can_be_stopped(
    pair: list[subprocess.Popen[str]], number: signal.Signals
) -> None:
    pair[1].send_signal(signal.SIGSTOP)
    time.sleep(2)  # into the exchange that does not end
    pair[0].send_signal(number)
    _, told = pair[0].communicate(timeout=60)
    assert pair[0].returncode == 128 + number
    assert f"{number.name} came while this process waited" in told and "process 1" in told and "Traceback" not in told


@pytest.mark.slow
def test_the_end_of_another_process_is_told_in_words(pair: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    pair[1].kill()
    _, told = pair[0].communicate(timeout=120)
    assert pair[0].returncode == 1
    assert "Process 1 has ended" in told and f"are kept in {tmp_path / 'run'}" in told
    assert load(RunFolder(tmp_path / "run"))["progress"]["history"]
    assert "Traceback" not in told and "segkit itself failed" not in told


def test_no_more_cpus_are_counted_than_this_process_may_use() -> None:
    program = "import os; os.sched_setaffinity(0, {0}); from segkit.cpus import usable_cpus; print(usable_cpus())"
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system sets no affinity")
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "1\n"
    assert usable_cpus() >= 1
