"""`--devices N`: the same command line in N processes on this machine, one for each GPU, or on the CPU.

Processes on several machines are `torchrun`'s: torchrun --nnodes 2 --nproc-per-node 4 ... -m segkit train ...
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

logger = logging.getLogger(__name__)

Devices = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes on this machine that share the work, one per GPU (or on the CPU, with --device cpu)."
    ),
]
CommandRunner = Callable[[Sequence[str]], int]
KEPT = (0, 3, 130, 143)  # codes with which one process ends as all of them do
PATIENCE = 10.0  # seconds that the others get once one has failed


def in_processes(context: typer.Context, devices: int | None) -> None:
    """Start that many processes and end with their exit code; return where this already is one of them, or the only one.

    Raises:
        UsageError: another number of processes was started by torchrun.
    """
    from segkit import distributed
    from segkit.errors import UsageError

    started = distributed.world_size()
    if devices is not None and started not in (1, devices):
        raise UsageError(f"--devices {devices} within {started} processes.", "Leave --devices to torchrun.")
    if devices not in (None, 1) and started == 1:
        run, words = context.find_root().obj
        raise typer.Exit(launch(run, words, devices))


def launch(run: CommandRunner, words: Sequence[str], devices: int) -> int:
    """Call `run(words)` in `devices` processes that form a group; returns the largest exit code of them.

    SIGINT and SIGTERM are passed on once. Where a process fails the others are ended.
    """
    import multiprocessing
    import signal
    import socket

    from torch.multiprocessing.spawn import ProcessExitedException, start_processes

    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # of those that it ends we speak ourselves
    codes: Any = multiprocessing.get_context("spawn").Array("i", devices)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = start_processes(_work, (devices, port, run, list(words), codes), devices, join=False)  # type: ignore[no-untyped-call]

    passed: list[int] = []

    def pass_on(number: int, frame: Any) -> None:
        passed.append(number)
        for process in context.processes:
            if process.is_alive():
                os.kill(process.pid, number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while not context.join(timeout=1.0, grace_period=1.0 if passed else PATIENCE):
            pass
    except ProcessExitedException as error:
        if error.exit_code < 0:
            return 128 + passed[0] if passed else _killed(error)
        return max(0, int(context.processes[0].exitcode)) or int(error.exit_code)  # the main process knows best
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return int(max(codes))


def _work(rank: int, count: int, port: int, run: CommandRunner, words: list[str], codes: Any) -> None:
    """One of the processes."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # a terminal's Ctrl-C reaches it through its parent alone; Windows knows no such groups
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    os.environ |= {name: str(value) for name, value in own.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    codes[rank] = run(words)
    if codes[rank] not in KEPT:
        raise SystemExit(codes[rank])


def _killed(error: Any) -> int:

    logger.error(f"process {error.error_index} was killed by {error.signal_name}. If memory ran out, use fewer --devices.")
    return 1
