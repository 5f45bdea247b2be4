"""Words and progress for a person: everything goes to stderr, so that stdout stays free for `--json` and tables."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from typing import TYPE_CHECKING

from segkit.reporter import Bar, Reporter, reporting

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

REFRESH_SECONDS = 0.1
LOGGER = logging.getLogger("segkit")
LOOKS = {logging.WARNING: ("Note: ", "yellow"), logging.ERROR: ("Failed: ", "red")}  # what a line begins with, its colour


@lru_cache(maxsize=1)
def console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


class TerminalHandler(logging.Handler):
    """Prints what segkit logs: words, notes that the user should know before trusting a result, inputs that failed.

    Text is printed as it is, never read as markup.
    """

    def emit(self, record: logging.LogRecord) -> None:
        start, style = LOOKS.get(record.levelno, ("", ""))
        console().print(start + self.format(record), style=style or None, markup=False, soft_wrap=True)


class TerminalReporter(Reporter):
    """Draws a bar with the time left; nothing where stderr is a file."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Bar]:
        if LOGGER.level > logging.INFO or not console().is_terminal:
            yield Bar()
            return
        with _columns() as drawn:
            bar = _RichBar(drawn, drawn.add_task(label, total=total, text=""))
            yield bar
            bar.show()


@contextmanager
def attached() -> Iterator[None]:
    """Within the block this process' words and progress are drawn on the terminal."""
    handler, level = TerminalHandler(), LOGGER.level
    LOGGER.addHandler(handler)
    set_verbosity(quiet=False, debug=False)
    try:
        with reporting(TerminalReporter()):
            yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def set_verbosity(quiet: bool, debug: bool) -> None:
    """Quiet: only failed inputs are reported; debug: also what helps to find a fault."""
    LOGGER.setLevel(logging.ERROR if quiet else logging.DEBUG if debug else logging.INFO)


@contextmanager
def results_only() -> Iterator[None]:
    """What plugins print meanwhile goes to stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        yield


class _RichBar(Bar):
    """Drawing is throttled, so it may be advanced as often as one likes."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._pending, self._drawn = 0.0, 0.0

    def advance(self, steps: float = 1) -> bool:
        self._pending += steps
        if time.monotonic() - self._drawn < REFRESH_SECONDS:
            return False
        self.show()
        return True

    def show(self, **fields: str) -> None:
        text = {"text": "  ".join(f"{name} {value}" for name, value in fields.items())} if fields else {}
        self._progress.update(self._task, advance=self._pending, **text)  # type: ignore[arg-type]
        self._pending, self._drawn = 0.0, time.monotonic()


def _columns() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    return Progress(*columns, console=console(), transient=True)
