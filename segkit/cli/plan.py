"""`segkit plan`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from segkit.cli import completion
from segkit.cli.train import setting
from segkit.settings import SECTIONS

logger = logging.getLogger(__name__)


def plan(
    dataset: Annotated[
        str | None, typer.Option(help="'segkit datasets' lists them.", autocompletion=completion.names("datasets"))
    ] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder that holds the data.")] = None,
    model: Annotated[
        str | None, typer.Option(help="'segkit models' lists them.", autocompletion=completion.names("models"))
    ] = None,
    pretrained: Annotated[str | None, setting("train.pretrained")] = None,
    time: Annotated[str | None, setting("train.time")] = None,
    device: Annotated[str | None, setting("train.device")] = None,
    seed: Annotated[str | None, setting("train.seed")] = None,
    config: Annotated[Path | None, typer.Option(help="Start from this run.toml; what is typed wins.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Start from a recipe.", autocompletion=completion.names("recipes"))
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            metavar="SECTION.KEY=VALUE",
            help="Any other setting; what is typed is not planned.",
            autocompletion=completion.keys("model", "dataset", "loss", *SECTIONS),
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Say what a training would decide for every setting that is left open, and why, from the data and this machine.

    segkit plan --dataset polyp --data-dir data/polyp --time 10m
    """
    from segkit import workflows
    from segkit.cli import terminal
    from segkit.cli.output import print_json, print_table
    from segkit.durations import duration_words
    from segkit.options import in_words

    flags = {"dataset": dataset, "data_dir": data_dir, "model": model, "pretrained": pretrained, "time": time}
    with terminal.results_only():
        found = workflows.plan(config=config, recipe=recipe, options=option or [], **flags, device=device, seed=seed)
    if json:
        print_json(found.to_dict())
        return
    print_table(("setting", "value", "why"), ((one.key, in_words(one.value), one.reason) for one in found.decisions))
    if found.seconds is not None:
        logger.info(f"The training would take about {duration_words(found.seconds)}.")
