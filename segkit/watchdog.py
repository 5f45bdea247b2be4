"""A process that waits for others stays stoppable: where a signal finds it in a wait that does not end, it ends itself.

An exchange between processes waits in C++, for half an hour if another process is stopped or at work elsewhere. Python
handles a signal between two of its own instructions only, and none comes there. What Python does at once is to write the
signal's number to a descriptor (`signal.set_wakeup_fd`); a thread reads it and looks where the main thread stands.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

logger = logging.getLogger(__name__)

IDLE = 4.0  # seconds in which a process that only waits must take note of a signal
BUSY = 30.0  # the same of one that computes meanwhile, or waits for a GPU in a busy loop
STEP = 0.5
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXCHANGE = ("all_gather", "segkit.distributed")


def watch(whom: str) -> Callable[[], None]:
    """Watch the main thread until the function that is returned is called; does nothing in another thread.

    Args:
        whom: this process waits for.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    heard, woken = socket.socketpair()
    woken.setblocking(False)
    before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    main = threading.get_ident()
    threading.Thread(target=_listen, args=(heard, main, whom), name="watchdog", daemon=True).start()

    def end() -> None:
        signal.set_wakeup_fd(before)
        woken.close()  # the thread reads the end of it

    return end


def _listen(heard: socket.socket, main: int, whom: str) -> None:
    with heard:
        while numbers := heard.recv(64):
            code = next((number for number in numbers if number in SIGNALS), None)
            if code is not None:
                _end_if_stuck(heard, main, code, whom)


def _end_if_stuck(heard: socket.socket, main: int, code: int, whom: str) -> None:
    """End the process once its main thread has stood at one place for too long; return when there is no need any more."""
    heard.setblocking(False)
    place, since, used = None, time.monotonic(), time.process_time()
    while not _closed(heard):
        frame = sys._current_frames().get(main)
        now = (id(frame), frame.f_lasti) if frame else None
        seconds = time.monotonic() - since
        if now != place:
            place, since, used = now, time.monotonic(), time.process_time()
        elif seconds > BUSY or (seconds > IDLE and (_exchanges(frame) or time.process_time() - used < seconds / 10)):
            logger.error(
                f"{signal.Signals(code).name} came while this process waited {_for_what(frame, whom)}: it ends here."
            )
            os._exit(128 + code)
        time.sleep(STEP)
    heard.setblocking(True)


def _closed(heard: socket.socket) -> bool:
    try:
        return heard.recv(64, socket.MSG_PEEK) == b"" or not heard.recv(64)
    except BlockingIOError:
        return False


def _exchanges(frame: FrameType | None) -> bool:
    return any((one.f_code.co_name, one.f_globals.get("__name__")) == EXCHANGE for one in _frames(frame))


def _for_what(frame: FrameType | None, whom: str) -> str:
    if _exchanges(frame):
        return f"for {whom}"
    names = [name for one in _frames(frame) if (name := str(one.f_globals.get("__name__"))).startswith("segkit.")]
    return f"in {names[0]}, perhaps for {whom}" if names else f"perhaps for {whom}"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """From the innermost to the outermost."""
    while frame is not None:
        yield frame
        frame = frame.f_back
