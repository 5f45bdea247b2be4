"""Variables of launchers: stray ones mean nothing, contradictory ones are named, and nobody waits in silence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command
from segkit import distributed
from segkit.errors import SegkitError
from segkit.rendezvous import meet

GROUP = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*GROUP, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("more", [{"WORLD_SIZE": ""}, {"WORLD_SIZE": "many"}, GROUP | {"RANK": "1", "LOCAL_RANK": "1"}])
def test_a_command_that_shares_no_work_looks_at_none_of_them(
    more: dict[str, str], segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    assert "unet3d" in segkit("models").out
    done = segkit("data", "check", "folder", "--data-dir", "nowhere")
    assert done.code == 2 and "nowhere" in done.err


@pytest.mark.parametrize(
    "stray",
    [
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"LOCAL_RANK": "3"},
        {"RANK": "1"},
        {"RANK": "", "LOCAL_RANK": ""},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        {"PMI_SIZE": "4", "PMI_RANK": "3"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "1"},
    ],
    ids=lambda stray: " ".join(stray),
)
def test_a_stray_variable_is_one_process(stray: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.state import PartialState

    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    distributed.init_process_group()
    assert (distributed.world_size(), distributed.rank(), distributed.is_main()) == (1, 0, True)
    shared = dict(PartialState._shared_state)
    PartialState._reset_state()
    with distributed.own_environment():
        assert PartialState(cpu=True).num_processes == 1
    assert {name: os.environ.get(name) for name in stray} == stray
    PartialState._shared_state.clear()
    PartialState._shared_state.update(shared)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE=-2"),
        ({"RANK": ""}, "RANK is not set"),
        ({"RANK": "2"}, "RANK is '2'.*0 to 1"),
        ({"LOCAL_RANK": "x"}, "LOCAL_RANK is 'x'"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http'"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT is '99999'"),
    ],
)
def test_variables_that_contradict_each_other_are_named(
    change: dict[str, str], named: str, segkit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (GROUP | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SegkitError, match=named):
        distributed.check_environment()
    done = segkit("train", "--dataset", "phantom", "--model", "unet", "--device", "cpu", "--epochs", 1)
    assert done.code == 2 and "WORLD_SIZE" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("rank", [0, 1])
def test_who_does_not_come_is_named_and_given_up(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    for name, value in (GROUP | {"MASTER_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    words = rf"1 of 2 processes did not come to 127.0.0.1:{port} within 1 s: rank {1 - rank} \(WORLD_SIZE=2, RANK={rank}\)"
    with pytest.raises(SegkitError, match=words):
        meet(rank, 2, seconds=1.0)


def test_an_address_where_nobody_can_listen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        for name, value in (GROUP | {"MASTER_PORT": str(taken.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SegkitError, match="MASTER_PORT"):
            meet(0, 2, seconds=1.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_wait_is_said_and_hears_signals(number: int) -> None:
    words = "train --dataset phantom -o dataset.cases=4 --model unet --device cpu --epochs 1".split()
    environment = {**os.environ, **GROUP, "MASTER_PORT": str(free_port())}
    started = subprocess.Popen([sys.executable, "-m", "segkit", *words], stderr=subprocess.PIPE, text=True, env=environment)
    assert started.stderr is not None
    said = next(line for line in started.stderr if "waiting for" in line)
    assert f"127.0.0.1:{environment['MASTER_PORT']}: rank 1 (WORLD_SIZE=2, RANK=0)" in said
    started.send_signal(number)
    started.communicate(timeout=10)
    assert started.returncode == -number


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_what_shares_a_trained_model_goes_by_the_same_variables(
    command: str, trained: Path, segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert segkit("data", "synth", "phantom", "--cases", 1, "--out", tmp_path / "new").code == 0
    what = ["--subset", "val"] if command == "evaluate" else [tmp_path / "new" / "images"]
    words = [command, trained, *what, "--device", "cpu", "--out", tmp_path / "out"]
    monkeypatch.setenv("WORLD_SIZE", "2")  # and no RANK
    done = segkit(*words)
    assert done.code == 2 and "RANK is not set" in done.err and not (tmp_path / "out").exists()
    stray = {"WORLD_SIZE": "", "LOCAL_RANK": "3", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    done = segkit(*words)
    assert done.code == 0 and done.err.count("OMPI_COMM_WORLD_SIZE=2 is not looked at") == 1, done.err
