"""Pages that mkdocs writes from the code at each build: the reference of commands and of settings."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from segkit.cli.app import app
from segkit.options import fields_of, in_words
from segkit.settings import SECTIONS

Row = tuple[str, str]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Called by mkdocs once it has listed the pages of docs/."""
    pages = {"reference/commands.md": _commands(), "reference/settings.md": _settings()}
    for name, lines in pages.items():
        files.append(File.generated(config, name, content="\n\n".join(lines)))
    return files


def _commands() -> Iterator[str]:
    root = typer.main.get_command(app)
    yield "# Commands"
    yield "What `segkit COMMAND --help` says, all in one place. Every option of `segkit` itself works after a command too."
    yield from _command(root, "segkit", None)


def _command(command: Any, name: str, parent: typer.Context | None) -> Iterator[str]:
    """The page of a command, then those of its own commands."""
    context = typer.Context(command, info_name=name.split()[-1], parent=parent)
    yield f"## {name}"
    yield command.help or ""
    yield f"```text\n{name} {' '.join(command.collect_usage_pieces(context))}\n```"
    panels: dict[str, list[Row]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            panels.setdefault(getattr(parameter, "rich_help_panel", None) or "Option", []).append(record)
    yield from (_table(panel, rows) for panel, rows in panels.items())
    for own in getattr(command, "commands", {}).values():
        yield from _command(own, f"{name} {own.name}", context)


def _settings() -> Iterator[str]:
    yield "# Settings"
    yield (
        "What `-o SECTION.KEY=VALUE` sets, and what a run's `run.toml` holds. `segkit settings` shows the same. The options "
        "of a model, a dataset, a loss or a metric are sections too: `segkit models NAME` and so on list them."
    )
    for section, settings in SECTIONS.items():
        yield f"## {section}"
        yield settings.__doc__ or ""
        fields = fields_of(settings)
        yield _table("Key", ((one.name, f"{one.help} ({one.type}; default: {in_words(one.default)})") for one in fields))


def _table(title: str, rows: Iterable[Row]) -> str:
    lines = [f"| {title} | |", "| --- | --- |"]
    lines += [f"| <code>{_cell(left)}</code> | {_cell(right)} |" for left, right in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that neither HTML nor Markdown takes for more than text."""
    escaped = html.escape(text, quote=False).replace("\n", " ")
    return "".join(f"&#{ord(letter)};" if letter in "|*_`[]\\" else letter for letter in escaped)
