"""Results on stdout: a table for a person, or one JSON document."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from segkit.cli.terminal import is_terminal
from segkit.files import to_json


def print_json(document: Any) -> None:
    typer.echo(to_json(document, sys.stdout.encoding or "utf-8"))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None, wrap: bool = True) -> None:
    """A plain table; only its last column wraps, and only on a terminal. Text is never read as markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=None, pad_edge=False, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=index < len(columns) - 1 or not wrap)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False, emoji=False)
    if not wrap or not is_terminal(sys.stdout):
        console.width = max(console.width, 1000)
    console.print(table)


def shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
