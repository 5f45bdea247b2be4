"""Reading and writing beside the network: one thread makes what comes next, one finishes what is done."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

WAITING = 256_000_000  # bytes that may be made ahead
ITEMS = 32  # and how many items
UNWRITTEN = 4  # results that may wait to be written


def prefetch(items: Iterable[Item], weight: Callable[[Item], int], limit: int = WAITING) -> Generator[Item]:
    """The same items, in order, made in a thread while earlier ones are used.

    Args:
        items: where they come from; what it raises is raised here, in its place.
        weight: bytes of an item.
        limit: once the items that are made and not yet done with weigh this much, no other one is begun.
    """
    waiting: deque[Item | BaseException | None] = deque()
    change = threading.Condition()
    held, closed = 0, False

    def has_room() -> bool:
        return closed or (held < limit and len(waiting) < ITEMS)

    def make() -> None:
        nonlocal held
        source = iter(items)
        while True:
            with change:
                change.wait_for(has_room)
                if closed:
                    return
            try:
                item: Item | BaseException | None = next(source, None)
            except BaseException as error:
                item = error
            with change:
                waiting.append(item)
                if item is not None and not isinstance(item, BaseException):
                    held += weight(item)
                change.notify_all()
                if item is None or isinstance(item, BaseException):
                    return

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            with change:
                change.wait_for(lambda: bool(waiting))
                item = waiting.popleft()
                change.notify_all()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
            yield item
            with change:
                held -= weight(item)
                change.notify_all()
    finally:
        with change:
            closed = True
            change.notify_all()
        thread.join()


class BackgroundWriter(Generic[Result]):
    """A thread that finishes things in the order in which they are handed over."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._pending: deque[Future[Result]] = deque()

    def submit(self, work: Callable[[], Result]) -> list[Result]:
        """Returns what is finished by now; waits if too much is pending."""
        self._pending.append(self._pool.submit(work))
        finished = []
        while self._pending and (len(self._pending) > UNWRITTEN or self._pending[0].done()):
            finished.append(self._pending.popleft().result())
        return finished

    def rest(self) -> list[Result]:
        """Wait for what is left."""
        finished = [future.result() for future in self._pending]
        self._pending.clear()
        return finished

    def close(self) -> None:
        self._pool.shutdown()
