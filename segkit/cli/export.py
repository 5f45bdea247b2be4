"""`segkit export`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from segkit.cli import completion
from segkit.words import command

logger = logging.getLogger(__name__)


def export(
    what: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors file.")],
    format: Annotated[
        str, typer.Option(help="onnx, or torch-export (.pt2).", autocompletion=completion.words("onnx", "torch-export"))
    ] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File to write (default: named after the run, in this folder).")] = None,
    half: Annotated[bool, typer.Option("--half", help="Compute in 16-bit floats: half the size, less exact.")] = False,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Fix the size of what the network sees (default: any size).")
    ] = None,
    runner: Annotated[
        bool, typer.Option("--runner", help="Also write an example program (numpy, onnxruntime, opencv) and a model card.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="model.KEY=VALUE",
            help="An option that may change after training (model.backend).",
            autocompletion=completion.keys("model"),
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a model for another runtime, and check that it gives the same logits and masks."""
    from segkit import workflows
    from segkit.cli import terminal
    from segkit.cli.output import print_json

    with terminal.results_only():
        exported = workflows.export(
            what,
            format=format,
            out=out,
            half=half,
            size=size,
            runner=runner,
            overwrite=overwrite,
            options=option or [],
        )
    parity = exported.header.export["parity"]
    logger.info(
        f"compared    largest difference {parity['difference']:.1e} of the largest logit, Dice of masks {parity['dice']:.5f}"
    )
    for file in exported.files:
        logger.info(f"written     {file}  ({file.stat().st_size:,} bytes)")
    if format == "onnx":
        logger.info(f"Next: {command('predict', exported.files[0])} IMAGES --out DIR")
    if json:
        print_json({"files": [str(file.absolute()) for file in exported.files], **exported.header.to_dict()})
