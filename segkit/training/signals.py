"""Ctrl-C and SIGTERM end a training after the step at hand; a second Ctrl-C ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class InterruptedWaitError(KeyboardInterrupt):
    """A signal came during a wait that it may end; no `except Exception` on the way takes it for a failure of its own."""


class Stop:
    """A context in which these signals set `code` to the exit code that they call for, and do nothing else but end a wait.

    Elsewhere than in the main thread, where Python lets nobody handle signals, they do what they always do.
    """

    def __init__(self) -> None:
        self.code = 0
        self._before: dict[int, Any] = {}
        self._waiting = False

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within the block a signal raises InterruptedWaitError, so that a wait without end can be stopped."""
        self._waiting = True
        try:
            if self.code:
                raise InterruptedWaitError
            yield
        finally:
            self._waiting = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.code and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.code = 128 + number
        if self._waiting:
            self._waiting = False
            raise InterruptedWaitError


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is raised as Ctrl-C is."""


@contextmanager
def terminable() -> Iterator[None]:
    """Outside a training, too, SIGTERM raises an exception, so that the user can be told how to continue."""

    def hear(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
