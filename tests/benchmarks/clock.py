"""Wall time on devices that go on working while Python is further: whoever looks at the clock waits for them first."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

LEAST = 3  # calls that a median needs


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(step: Callable[[], object], device: torch.device, window: float, warm_up: int = 2) -> float:
    """Of single calls, repeated until `window` seconds are over."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < warm_up + LEAST or time.perf_counter() - began < window:
        synchronise(device)
        started = time.perf_counter()
        step()
        synchronise(device)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken[warm_up:])


class Clock:
    """Adds up the seconds of named parts; the device is waited for at the end of each.

    >>> clock = Clock(torch.device("cpu"))
    >>> with clock.part("forward"):
    ...     pass
    >>> list(clock.seconds)
    ['forward']
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        synchronise(self.device)
        self.seconds[name] += time.perf_counter() - started
