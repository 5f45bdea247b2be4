"""What `segkit recipes NAME` shows of a recipe: its models and settings, and what its paper printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from segkit.cli.output import print_json, print_table
from segkit.options import in_words

if TYPE_CHECKING:
    from segkit.plugins import RegisteredSpec

WHERE = ("model", "input", "subset", "class")  # columns that say what a printed value is of


def show_recipe(found: RegisteredSpec, json: bool) -> None:
    from segkit.config.recipe import with_floats
    from segkit.config.starting_point import read_recipe

    recipe = read_recipe(found)
    if json:
        print_json({"name": found.full_name, "summary": found.spec.summary, **with_floats(asdict(recipe))})
        return
    paper = recipe.paper
    typer.echo(f"{found.full_name}: {found.spec.summary}")
    if "title" in paper:
        typer.echo(f"paper: {paper['title']}, section {paper.get('section', '-')}")
    for section, values in recipe.settings.items():
        words = [f"{key} = {in_words(value)}" for key, value in values.items()] if isinstance(values, Mapping) else [values]
        typer.echo(f"{section}: {', '.join(map(str, words))}")
    if recipe.models:
        rows = [[one.name, one.label, _options(one.settings)] for one in recipe.models]
        print_table(["model", "in the paper", "with"], rows, wrap=False)
    for table, printed in paper.get("published", {}).items():
        _print_published(table, printed)
    for one in paper.get("assumed", ()):
        typer.echo(f"assumed: {one['setting']}: {one['why']}")
    for one in paper.get("discrepancies", ()):
        against = f", against {one['against']}" if "against" in one else ""
        typer.echo(f"discrepancy at {one['where']}: {one.get('says', '')}{against}; read as: {one.get('reading', '-')}")
    typer.echo(
        f"segkit train --recipe {found.full_name} --data-dir DIR" + (" --model NAME" if len(recipe.models) > 1 else "")
    )


def _options(settings: Mapping[str, Mapping[str, Any]]) -> str:
    own = [f"{key} = {in_words(value)}" for key, value in settings.get("model", {}).items() if key != "name"]
    others = [
        f"{section}.{key} = {in_words(value)}"
        for section, values in settings.items()
        if section != "model"
        for key, value in values.items()
    ]
    return ", ".join([*own, *others]) or "its defaults"


def _print_published(table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table of the paper; of several seeds mean and standard deviation."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    names = [*(name for name in WHERE if name in names), *(name for name in names if name not in WHERE)]
    cells = [[_cell(row[name]) if name in row else "-" for name in names] for row in rows]
    print_table(names, cells, title=f"published, {table}", wrap=False)


def _cell(value: Any) -> str:
    return " +- ".join(map(str, value)) if isinstance(value, list) else str(value)
