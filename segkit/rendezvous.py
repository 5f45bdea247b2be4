"""How processes that were started apart find each other: all meet at the address of rank 0, and say whom they wait for.

torch's own wait sits in C++ for half an hour, says nothing, and hears no signal that Python handles. Here it is done in
short steps, so that a stale WORLD_SIZE of another program is told soon and the wait can be stopped.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from segkit.errors import SegkitError

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

logger = logging.getLogger(__name__)

SECONDS = 300.0  # until the others are given up
TOLD = 3.0  # until it is said that one waits
STEP = 0.1
ALONE = "For one process alone: unset WORLD_SIZE RANK. Several on this machine: --devices N; on more: torchrun."


def meet(rank: int, world_size: int, seconds: float = SECONDS) -> Store:
    """The store in which processes find each other, once all of them have come.

    Args:
        rank, world_size: of this process; MASTER_ADDR and MASTER_PORT say where rank 0 listens.
        seconds: after which it is given up.

    Raises:
        SegkitError: not all of them came, or nobody can listen there.
    """
    from torch.distributed import DistNetworkError, TCPStore  # type: ignore[attr-defined]

    address, port, end = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), time.monotonic() + seconds
    waiting = _Waiting(rank, world_size, f"{address}:{port}", seconds)
    while rank and not _listens(address, port):
        waiting.step([0])
    try:
        left = timedelta(seconds=max(1.0, end - time.monotonic()))
        store = TCPStore(address, port, world_size, is_master=rank == 0, timeout=left, wait_for_workers=False)
    except DistNetworkError as error:
        raise SegkitError(
            f"Nobody can listen at MASTER_ADDR={address}, MASTER_PORT={port} (WORLD_SIZE={world_size}).", ALONE
        ) from error
    store.set(f"here/{rank}", "1")
    while absent := [other for other in range(world_size) if not store.check([f"here/{other}"])]:
        waiting.step(absent)
    return store


@contextmanager
def plain_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM end the process at once, wherever it is: nothing is there yet to be saved."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Waiting:
    """The wait for other processes: in short steps, said after a while, and given up in the end."""

    def __init__(self, rank: int, world_size: int, where: str, seconds: float) -> None:
        self.rank, self.world_size, self.where, self.seconds = rank, world_size, where, seconds
        self.began, self.told = time.monotonic(), False

    def step(self, absent: list[int]) -> None:
        """Wait a little for the processes of these ranks. Raises SegkitError when time is over."""
        names = f"rank {', '.join(map(str, absent[:8]))}{', ...' if len(absent) > 8 else ''}"
        waited = time.monotonic() - self.began
        own = f"(WORLD_SIZE={self.world_size}, RANK={self.rank})"
        if waited > self.seconds:
            raise SegkitError(
                f"{len(absent)} of {self.world_size} processes did not come to {self.where} within {self.seconds:.0f} s: "
                f"{names} {own}.",
                ALONE,
            )
        if waited > TOLD and not self.told:
            self.told = True
            logger.warning(
                f"waiting for {len(absent)} of {self.world_size} processes at {self.where}: {names} {own}; "
                f"given up after {self.seconds:.0f} s. {ALONE}"
            )
        time.sleep(STEP)


def _listens(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False
