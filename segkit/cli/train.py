"""`segkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA, MODEL, TRAINING, RUN = "Data", "Model", "Training", "Run"


def train(
    dataset: Annotated[str | None, typer.Option(help="'segkit datasets' lists them.", rich_help_panel=DATA)] = None,
    data_dir: Annotated[str | None, typer.Option(help="Where the data lies.", rich_help_panel=DATA)] = None,
    split: Annotated[str | None, typer.Option(help="auto, group, case or official.", rich_help_panel=DATA)] = None,
    allow_leak: Annotated[
        bool | None,
        typer.Option("--allow-leak", help="Accept a patient in two subsets; recorded.", rich_help_panel=DATA),
    ] = None,
    augment: Annotated[str | None, typer.Option(help="none, light or standard.", rich_help_panel=DATA)] = None,
    model: Annotated[str | None, typer.Option(help="'segkit models' lists them.", rich_help_panel=MODEL)] = None,
    loss: Annotated[str | None, typer.Option(help="'segkit losses' lists them.", rich_help_panel=MODEL)] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="One more metric; may be repeated.", rich_help_panel=MODEL)
    ] = None,
    epochs: Annotated[str | None, typer.Option(help="Passes over the data. [100]", rich_help_panel=TRAINING)] = None,
    batch_size: Annotated[str | None, typer.Option(help="Cases per step. [8]", rich_help_panel=TRAINING)] = None,
    lr: Annotated[str | None, typer.Option(help="Learning rate. [0.001]", rich_help_panel=TRAINING)] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam or adamw. [adamw]", rich_help_panel=TRAINING)] = None,
    patience: Annotated[
        str | None,
        typer.Option(help="Epochs without improvement before it stops; 0: never. [30]", rich_help_panel=TRAINING),
    ] = None,
    seed: Annotated[
        str | None, typer.Option(help="Of split, weights, order, augmentation. [0]", rich_help_panel=TRAINING)
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1.", rich_help_panel=TRAINING)] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.", rich_help_panel=TRAINING)] = None,
    workers: Annotated[str | None, typer.Option(help="Processes that read data. [0]", rich_help_panel=TRAINING)] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder to make. [runs/DATASET-MODEL-N]", rich_help_panel=RUN)] = None,
    config: Annotated[
        Path | None, typer.Option(help="Start from this run.toml; what is typed wins.", rich_help_panel=RUN)
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Start from a recipe; 'segkit recipes' lists them.", rich_help_panel=RUN)
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="SECTION.KEY=VALUE", help="Any other setting.", rich_help_panel=RUN),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=RUN)] = False,
) -> None:
    """Train a model on a dataset.

    Sections for -o: dataset, model, loss, metrics, preprocess, augment, split, train. For instance
    -o model.width=32 -o preprocess.size=256,192 -o train.weight_decay=0.
    """
    flags = {key: value for key, value in locals().items() if key not in ("out", "config", "recipe", "option", "json")}
    start(flags, option or [], out, config, recipe, json)


def start(
    flags: dict[str, Any], assignments: list[str], out: Path | None, base: Path | None, recipe: str | None, json: bool
) -> None:
    from segkit import config as configs
    from segkit import plugins, terminal
    from segkit.cli.output import print_json

    catalogue = plugins.load()
    values = configs.gather(_base(base, recipe, catalogue), flags, assignments)
    config = configs.resolve(values, catalogue)
    for choice in (config.dataset, config.model):
        for hidden in catalogue.shadowed(choice.spec.group, choice.found):
            terminal.notice(f"{choice.name} is meant, not {hidden.full_name} ({hidden.plugin.distribution}).")
    dataset = config.dataset.spec.load()(config.root, config.dataset.options)
    config = configs.complete(config, dataset, catalogue)

    from segkit.engine.train import train as run_training

    terminal.say(configs.summary(config))
    outcome = run_training(config, dataset, out)
    shown = _shown(outcome.run)
    if json:
        print_json({**vars(outcome), "run": str(outcome.run)})
    best = ", ".join(f"{key} {value:.3f}" for key, value in outcome.best.items() if key in ("val_loss", "val_dice"))
    terminal.say(
        f"{'Interrupted' if outcome.interrupted else 'Done'} after {outcome.epochs} epochs, {outcome.seconds:.0f} s. "
        f"Weights of epoch {outcome.best_epoch}{f' ({best})' if best else ''}: {shown}/model.safetensors"
    )
    terminal.say(f"Next: segkit evaluate {shown}   or   segkit predict {shown} IMAGES --out DIR")
    if outcome.interrupted:
        raise typer.Exit(130)


def _base(base: Path | None, recipe: str | None, catalogue: Any) -> dict[str, Any]:
    import tomllib

    from segkit.errors import SegkitError, UsageError
    from segkit.run import read_toml

    if base is not None and recipe is not None:
        raise UsageError("--config and --recipe are both starting points.", "Give one of them.")
    if base is not None:
        return read_toml(base / "run.toml" if base.is_dir() else base)
    if recipe is None:
        return {}
    found = catalogue.find("recipes", recipe)
    try:
        return tomllib.loads(found.spec.read())
    except (OSError, ImportError, tomllib.TOMLDecodeError) as error:
        raise SegkitError(f"The recipe {found.full_name} cannot be read: {error}") from error


def _shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
