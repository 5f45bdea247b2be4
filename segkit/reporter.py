"""Progress of long work, for whoever is watching: nobody, unless a reporter was put in place.

    with reporting(MyReporter()):
        segkit.train(...)

Words do not come here: they go to the logger `segkit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Bar:
    """One piece of work under way; this one draws nothing."""

    def advance(self, steps: float = 1) -> bool:
        """So many steps further; True where it is time to `show` more than the count."""
        return False

    def show(self, **fields: str) -> None:
        """Draw, with these words behind the bar."""


class Reporter:
    """Makes a bar for each piece of work; this one's bars draw nothing."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Bar]:
        yield Bar()


_current: ContextVar[Reporter] = ContextVar("segkit.reporter", default=Reporter())  # noqa: B039


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Let a reporter watch what is done within the block."""
    token = _current.set(reporter)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def progress(label: str, total: int) -> Iterator[Bar]:
    """A bar of the reporter in place, for `total` steps."""
    with _current.get().progress(label, total) as bar:
        yield bar
