"""A wait in C, in which Python handles no signal, is ended by one; whatever takes note of the signal itself goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from segkit.cpus import usable_cpus

BEGIN = """
import ctypes, logging, signal, sys, threading, time
from segkit import watchdog

logging.basicConfig(format="%(message)s")
watchdog.IDLE = 1.0
signal.signal(signal.SIGTERM, lambda *_: print("heard", flush=True))
end = watchdog.watch("process 1")
print("ready", flush=True)
"""
DEAF = """
lock = ctypes.create_string_buffer(64)  # like an exchange between processes, no signal interrupts the wait for it
ctypes.CDLL(None).pthread_mutex_lock(lock)
ctypes.CDLL(None).pthread_mutex_lock(lock)
"""
AT_WORK = """
began = time.monotonic()
while time.monotonic() - began < 2.5:
    sorted(str(number) for number in range(99))
end()
sys.exit(7)
"""
OVER = """
end()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
time.sleep(60)
"""


def ended(code: str, number: int, seconds: float = 0.3) -> tuple[int, str]:
    """The exit code and the words of a program that gets a signal."""
    program = subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(seconds)  # it goes on until then
    program.send_signal(number)
    _, errors = program.communicate(timeout=20)
    return program.returncode, errors


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the wait is made of Linux' own threads")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wait_that_hears_nothing_is_ended_with_words(number: signal.Signals) -> None:
    code, errors = ended(DEAF, number)
    assert code == 128 + number
    assert f"{number.name} came while this process waited" in errors and "process 1" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("code", [AT_WORK, OVER], ids=["at work", "not watched any more"])
def test_a_process_that_takes_note_of_a_signal_goes_its_own_way(code: str) -> None:
    assert ended(code, signal.SIGTERM) == (7, "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs can be taken away on Linux alone")
def test_cpus_that_a_process_may_not_use_do_not_count() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cpus() == len(before)
