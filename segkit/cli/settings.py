"""`segkit settings`: everything that `-o SECTION.KEY=VALUE` can set, beside the options of models, losses and datasets."""

from __future__ import annotations

from typing import Annotated

import typer

from segkit.cli.completion import words
from segkit.cli.output import print_json, print_table
from segkit.errors import UsageError, did_you_mean
from segkit.options import fields_of, in_words
from segkit.settings import SECTIONS


def settings(
    section: Annotated[
        str | None, typer.Argument(help="preprocess, augment, split or train.", autocompletion=words(*SECTIONS))
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the settings of a training: what -o can set, the allowed values, the defaults."""
    if section is not None and section not in SECTIONS:
        raise UsageError(f"There is no section {section!r}.", did_you_mean(section, SECTIONS))
    rows = [
        (f"{name}.{field.name}", field.type, in_words(field.default), field.help)
        for name, options in SECTIONS.items()
        for field in fields_of(options)
        if section in (None, name)
    ]
    if json:
        print_json([dict(zip(("key", "type", "default", "help"), row, strict=True)) for row in rows])
    else:
        print_table(("-o", "type", "default", "what"), rows)
