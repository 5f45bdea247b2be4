"""Words and progress for a person: everything goes to stderr, so that stdout stays free for `--json` and tables.

On a terminal long lines break at words and bars move; anywhere else, in log files above all, there are plain lines alone.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import lru_cache
from typing import TYPE_CHECKING, TextIO

from segkit.durations import clock_in
from segkit.reporter import Bar, Reporter, reporting

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

REFRESH_SECONDS = 0.1
LINE_SECONDS = 60.0  # between two lines about one piece of work, where no bar can be drawn
NARROW = 100  # columns, below which the bar is shorter and the time so far is left out
LABEL = re.compile(
    r"[\w-]+( [\w-]+)?  +(?=\S)"
)  # "train       adamw, ...": what is broken off stands below the second column
LOGGER = logging.getLogger("segkit")
LOOKS = {logging.WARNING: ("Note: ", "yellow"), logging.ERROR: ("Failed: ", "red")}  # what a line begins with, its colour


@lru_cache(maxsize=1)
def console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False)


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches this stream on something that can move its cursor, whatever colours are asked for."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")


def say(text: str, style: str = "") -> None:
    """Print words as they are, never read as markup; on a terminal long lines break between words."""
    shown = wrapped(text, console().width) if is_terminal(sys.stderr) else text
    console().print(shown, style=style or None, markup=False, soft_wrap=True)


def wrapped(text: str, width: int) -> str:
    """The text with its long lines broken between words; what has no blank in it, such as a path, stays whole.

    >>> print(wrapped("train       adamw, lr 0.001, batch 8, up to 100 epochs", 40))
    train       adamw, lr 0.001, batch 8, up
                to 100 epochs
    """
    lines = []
    for line in text.split("\n"):
        label = LABEL.match(line)
        below = len(label.group()) if label else len(line) - len(line.lstrip())
        parts = textwrap.wrap(
            line, width, subsequent_indent=" " * below, break_long_words=False, break_on_hyphens=False, tabsize=4
        )
        lines += parts if len(line) > width else [line]
    return "\n".join(lines)


@contextmanager
def encodable() -> Iterator[None]:
    """Within the block no character that a terminal's encoding lacks ends a command: it is written as its escape."""
    with ExitStack() as stack:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stack.callback(stream.reconfigure, errors=stream.errors)
                stream.reconfigure(errors="backslashreplace")
        yield


class TerminalHandler(logging.Handler):
    """Prints what segkit logs: words, notes that the user should know before trusting a result, inputs that failed."""

    def emit(self, record: logging.LogRecord) -> None:
        start, style = LOOKS.get(record.levelno, ("", ""))
        say(start + self.format(record), style)


class TerminalReporter(Reporter):
    """Draws a bar with the time left; where stderr is a file or a simple terminal, prints a line now and then."""

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Bar]:
        if LOGGER.level > logging.INFO:
            yield Bar()
            return
        if not is_terminal(sys.stderr):
            yield _LineBar(label, total)
            return
        with _columns() as drawn:
            bar = _RichBar(drawn, drawn.add_task(label, total=total, fields={}))
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


class _LineBar(Bar):
    """A line about the work once a minute, for logs."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0.0
        self._began = self._said = time.monotonic()

    def advance(self, steps: float = 1) -> bool:
        self._done += steps
        now = time.monotonic()
        if now - self._said >= LINE_SECONDS and self._done < self._total:
            self._said = now
            left = (now - self._began) * (self._total - self._done) / self._done
            until = f"about {left / 60:.0f} min left, ends about {clock_in(left)}"
            say(f"{self._label}  {self._done:.0f} of {self._total}, {until}")
        return False


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
        shown = {"fields": fields} if fields else {}
        self._progress.update(self._task, advance=self._pending, **shown)  # type: ignore[arg-type]
        self._pending, self._drawn = 0.0, time.monotonic()


def fitting(fields: Mapping[str, str], width: int) -> str:
    """As many of the fields as fit into a width; the last ones are left out.

    >>> fitting({"epoch": "3/20", "loss": "0.1234", "lr": "1.0e-03"}, 24)
    'epoch 3/20  loss 0.1234'
    """
    shown = ""
    for name, value in fields.items():
        longer = f"{shown}{'  ' if shown else ''}{name} {value}"
        if len(longer) > width:
            break
        shown = longer
    return shown


def _columns() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    wide = console().width >= NARROW
    bar = 24 if wide else 12

    class Fields(ProgressColumn):
        """What is known besides, in the room that is left: never at the cost of the bar or the time left."""

        def render(self, task: Task) -> Text:
            count = 2 * len(str(int(task.total or 0))) + 1
            others = len(task.description) + bar + count + (9 if wide else 0) + len("left") + 9 + 6
            return Text(fitting(task.fields["fields"], console().width - others))

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=bar), MofNCompleteColumn()]
    columns += [TimeElapsedColumn()] if wide else []
    columns += [TextColumn("left"), TimeRemainingColumn(), Fields()]
    return Progress(*columns, console=console(), transient=True)
