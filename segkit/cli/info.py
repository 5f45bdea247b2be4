"""`segkit info FILE`: what a weights file says about itself, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from segkit.cli.output import print_json, print_table


def info(
    file: Annotated[Path, typer.Argument(help="A run folder, a model.safetensors or an exported model.onnx.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show the header of a weights file: model, options, classes, preprocessing, validation results."""
    from segkit.runs.folder import find_weights
    from segkit.runs.onnx_metadata import read_metadata
    from segkit.runs.weights import read_header

    path = find_weights(file)
    document = {"file": str(path), "bytes": path.stat().st_size, **read_header(path).to_dict()}
    if path.suffix == ".onnx":
        document["runtime"] = read_metadata(path).runtime
    if json:
        print_json(document)
        return
    print_table(("fact", "value"), _rows(document))


def _rows(document: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows = []
    for key, value in document.items():
        if isinstance(value, dict):
            rows += _rows(value, f"{prefix}{key}.")
        elif value not in (None, []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((f"{prefix}{key}", _number(value) if isinstance(value, float) else text))
    return rows


def _number(value: float) -> str:
    """Four decimals, or two digits of what would show none in them.

    >>> _number(0.5), _number(5.9e-07), _number(0.0)
    ('0.5000', '5.9e-07', '0.0000')
    """
    return f"{value:.4f}" if value == 0 or abs(value) >= 1e-3 else f"{value:.2g}"
