"""`segkit data ...`: working on datasets themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from segkit import plugins, terminal
from segkit.errors import UsageError

app = typer.Typer(help="Work on datasets themselves.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Keeps `synth` a subcommand while it is the only one."""


@app.command()
def synth(
    name: Annotated[str, typer.Argument(help="A dataset; 'segkit datasets' lists them.")],
    out: Annotated[Path, typer.Option(help="Folder to write; must not exist or be empty.")],
    cases: Annotated[int, typer.Option(min=1, help="How many cases.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawing.")] = 0,
) -> None:
    """Write made-up cases in a dataset's own on-disk layout: for tests, tutorials, and while waiting for access."""
    found = plugins.load().find("datasets", name)
    target = found.spec.synthesize
    if target is None:
        raise UsageError(f"The dataset {name!r} cannot be made up.", "'segkit data synth phantom' can.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} exists already.", "Choose another folder.")
    found.spec.load(target)(out, cases, seed)
    terminal.say(f"{cases} made-up cases are in {out}")
