"""What `segkit train` does in the same way for one run and for several seeds: the record, and what may change later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEPT_APART = "epochs", "workers", "device", "patience", "max_time", "save_minutes", "skip_bad", "tracker"
CHANGEABLE = tuple(("train", key) for key in KEPT_APART)  # by --resume


def starting_point(config: Path | None, recipe: str | None, catalogue: Any) -> dict[str, Any]:
    """What --config or --recipe holds; nothing where neither was typed."""
    import tomllib

    from segkit.config.migrate import migrate_record
    from segkit.errors import SegkitError, UsageError
    from segkit.runs.folder import read_toml

    if config is not None and recipe is not None:
        raise UsageError("--config and --recipe are both starting points.", "Give one of them.")
    if config is not None:
        return migrate_record(read_toml(config / "run.toml" if config.is_dir() else config), catalogue)
    if recipe is None:
        return {}
    found = catalogue.find("recipes", recipe)
    try:
        values = tomllib.loads(found.spec.read())
    except (OSError, ImportError, tomllib.TOMLDecodeError) as error:
        raise SegkitError(f"The recipe {found.full_name} cannot be read: {error}") from error
    return {**migrate_record(values, catalogue), "recipe": {"name": found.full_name}}


def configure(values: Any, catalogue: Any) -> tuple[Any, Any]:
    """The complete record and the opened dataset, said in words."""
    from segkit import terminal
    from segkit.config.complete import complete_config, doubts_about, summarize
    from segkit.config.resolve import resolve_config

    requested = resolve_config(values, catalogue)
    for choice in (requested.dataset, requested.model):
        for hidden in catalogue.shadowed(choice.spec.group, choice.found):
            terminal.notice(f"{choice.name} is meant, not {hidden.full_name} ({hidden.plugin.distribution}).")
    from segkit.data.reading import open_dataset

    dataset = open_dataset(requested.dataset, requested.root)
    config = complete_config(requested, dataset, catalogue)
    terminal.say(summarize(config))
    for note in doubts_about(config):
        terminal.notice(note)
    return config, dataset


def refuse_changes(flags: Mapping[str, Any], assignments: Sequence[str], others: Mapping[str, Any]) -> None:
    """Raises UsageError where something was typed beside --resume that cannot change.

    Args:
        flags, assignments: settings, as typed.
        others: the command's other options, None where not typed.
    """
    from segkit.config.resolve import gather
    from segkit.errors import UsageError

    wrong = [f"--{name}" for name, value in others.items() if value is not None]
    typed = gather({}, flags, assignments)
    wrong += [f"{section}.{key}" for section, own in typed.items() for key in own if (section, key) not in CHANGEABLE]
    if wrong:
        allowed = ", ".join(
            f"--{key.replace('_', '-')}" if key in flags else f"-o {section}.{key}" for section, key in CHANGEABLE
        )
        raise UsageError(f"--resume keeps the settings of the run; {wrong[0]} cannot change.", f"These may: {allowed}.")


def changed(before: Mapping[str, Any], flags: Mapping[str, Any], assignments: Sequence[str], pretrained: bool) -> Any:
    """The values of a record with what was typed, as far as --resume changes it.

    Args:
        before: the record.
        flags, assignments: as typed.
        pretrained: whether pretrained weights are needed still; a state holds all weights.
    """
    from segkit.config.resolve import gather

    start = {} if pretrained else {"pretrained": "none"}
    return gather({**before, "train": {**before["train"], **start}}, flags, assignments)


def say_schedule(before: Mapping[str, Any], config: Any) -> None:
    """A schedule that depends on the number of epochs is another one when that changes."""
    from segkit import terminal
    from segkit.training.optim import BY_LENGTH

    if config.train.epochs != before["train"]["epochs"] and config.train.schedule in BY_LENGTH:
        terminal.notice(f"{config.train.epochs} epochs make another {config.train.schedule} schedule from here on.")


def shown(path: Path) -> str:
    """The path as short as it can be typed from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
