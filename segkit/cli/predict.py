"""`segkit predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def predict(
    what: Annotated[Path, typer.Argument(help="A run folder or a model.safetensors file.")],
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image or NIfTI volume, or a folder tree of them.")],
    out: Annotated[Path, typer.Option(help="Folder for the masks; mirrors the input's tree.")],
    overlay: Annotated[bool, typer.Option("--overlay", help="Also draw each mask over its image.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do again what is done already.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="model.KEY=VALUE", help="An option that may change after training (model.backend)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Write a mask for each image or volume, on its own grid; of a classification, a table.

    A second call does what is left.
    """
    import hashlib

    from segkit import terminal, weights
    from segkit.cli.output import print_json
    from segkit.config import gather
    from segkit.engine.jobs import plan
    from segkit.engine.predict import TABLE
    from segkit.engine.predict import predict as run_prediction
    from segkit.run import weights_of

    path = weights_of(what)
    changes = gather({}, {}, option or [], ("model",)).get("model", {})
    header = weights.read_header(path)
    jobs = plan(source, out, header.task, overlay)

    from segkit.engine import backends

    with terminal.results_only():
        network = backends.load_network(path, device, batch_size, changes)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        with terminal.results_only():
            result = run_prediction(network, jobs, out, digest, overwrite, changes)
    except KeyboardInterrupt:
        terminal.notice("interrupted; the same command does the rest.")
        raise typer.Exit(130) from None
    if json:
        counts = {"done": result.done, "skipped": result.skipped, "failed": result.failed}
        files = {job.key: result.entries[job.key] for job in jobs}
        print_json({"out": str(out.absolute()), **counts, "files": files})
    parts = [f"{result.done} predicted", f"{result.skipped} already done", f"{result.failed} failed"]
    where = f"masks are in {out}" if header.task.kind == "segmentation" else f"classes are in {out / TABLE}"
    terminal.say(f"{', '.join(parts)}; {where}, details in {out / 'predictions.json'}")
    if result.failed:
        raise typer.Exit(3 if result.done or result.skipped else 1)
