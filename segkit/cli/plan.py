"""`segkit plan`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from segkit.cli.train import (
    MODEL,
    RUN,
    TRAINING,
    DataDir,
    DatasetName,
    ModelName,
    OtherSettings,
    RecipeName,
    StartingPoint,
    setting,
)

logger = logging.getLogger(__name__)


def plan(
    dataset: DatasetName = None,
    data_dir: DataDir = None,
    model: ModelName = None,
    pretrained: Annotated[str | None, setting("train.pretrained", MODEL)] = None,
    time: Annotated[str | None, setting("train.time", TRAINING)] = None,
    device: Annotated[str | None, setting("train.device", TRAINING)] = None,
    seed: Annotated[str | None, setting("train.seed", TRAINING)] = None,
    config: StartingPoint = None,
    recipe: RecipeName = None,
    option: OtherSettings = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=RUN)] = False,
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
