"""Words and progress for a person: everything goes to stderr, so that stdout stays free for `--json` and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_REFRESH_SECONDS = 0.1


@dataclass
class Verbosity:
    """Set once by the command line."""

    quiet: bool = False
    debug: bool = False


VERBOSITY = Verbosity()


@lru_cache(maxsize=1)
def console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def say(text: str) -> None:
    """A line for the user; silent with -q. Text is printed as it is, never read as markup."""
    if not VERBOSITY.quiet:
        console().print(text, markup=False, soft_wrap=True)


def notice(text: str) -> None:
    """Something the user should know before trusting the result."""
    if not VERBOSITY.quiet:
        console().print(f"Note: {text}", style="yellow", markup=False, soft_wrap=True)


def problem(text: str) -> None:
    """An input that failed; shown also with -q."""
    console().print(f"Failed: {text}", style="red", markup=False, soft_wrap=True)


@contextmanager
def results_only() -> Iterator[None]:
    """What plugins print meanwhile goes to stderr: stdout is for results."""
    with redirect_stdout(sys.stderr):
        yield


class Bar:
    """A progress line with time left; drawing is throttled, so it may be advanced as often as one likes."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task
        self._pending, self._drawn = 0.0, 0.0

    def advance(self, steps: float = 1) -> bool:
        """So many steps further; True where it is time to `show` more than the count."""
        self._pending += steps
        if self._progress is None or time.monotonic() - self._drawn < _REFRESH_SECONDS:
            return False
        self.show()
        return True

    def show(self, **fields: str) -> None:
        """Draw, with these words behind the bar."""
        if self._progress is None or self._task is None:
            return
        text = {"text": "  ".join(f"{name} {value}" for name, value in fields.items())} if fields else {}
        self._progress.update(self._task, advance=self._pending, **text)  # type: ignore[arg-type]
        self._pending, self._drawn = 0.0, time.monotonic()


@contextmanager
def progress(label: str, total: int) -> Iterator[Bar]:
    """A bar on a terminal; nothing where stderr is a file or -q was typed."""
    if VERBOSITY.quiet or not console().is_terminal:
        yield Bar(None, None)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    ]
    with Progress(*columns, console=console(), transient=True) as drawn:
        bar = Bar(drawn, drawn.add_task(label, total=total, text=""))
        yield bar
        bar.show()
