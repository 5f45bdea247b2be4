"""`segkit export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    what: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors file.")],
    format: Annotated[str, typer.Option(help="onnx, or torch-export (.pt2).")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File to write (default: named after the run, in this folder).")] = None,
    half: Annotated[bool, typer.Option("--half", help="Calculate in 16 bits: half the size, less exact.")] = False,
    size: Annotated[
        str | None, typer.Option(metavar="H,W", help="Fix the size of what the network sees (default: any size).")
    ] = None,
    runner: Annotated[
        bool, typer.Option("--runner", help="Also write an example program (numpy, onnxruntime, opencv) and a model card.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="model.KEY=VALUE", help="An option that may change after training (model.backend)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a model for another runtime, and check that it gives the same logits and masks."""
    from segkit import terminal
    from segkit.cli.output import print_json
    from segkit.config.resolve import gather
    from segkit.exporting import artefacts
    from segkit.runs.folder import find_weights
    from segkit.runs.weights import read_header

    path = find_weights(what)
    changes = gather({}, {}, option or [], ("model",)).get("model", {})
    header = artefacts.planned(read_header(path), format, size, half)
    files = artefacts.place(path, format, out, runner, overwrite)
    with terminal.results_only():
        cases, where_from = artefacts.cases_of(path, header)

        from segkit.exporting import export as engine
        from segkit.models.build import load_model

        _, spec, model = load_model(path, changes)
        engine.check_format(spec, format)
        terminal.say(f"exporting   {header.model} as {format}, compared on {where_from}")
        header = engine.export(model, header, format, files[0], cases, half)
    if runner:
        artefacts.write_runner(files[1])
        artefacts.write_card(files[2], path, files[0], header)
    parity = header.export["parity"]
    terminal.say(
        f"compared    largest difference {parity['difference']:.1e} of the largest logit, Dice of masks {parity['dice']:.5f}"
    )
    for file in files:
        terminal.say(f"written     {file}  ({file.stat().st_size:,} bytes)")
    if format == "onnx":
        terminal.say(f"Next: segkit predict {files[0]} IMAGES --out DIR")
    if json:
        print_json({"files": [str(file.absolute()) for file in files], **header.to_dict()})
