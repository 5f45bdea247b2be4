"""What a training starts from: a run.toml, a recipe, or the record of a run that goes on and of which little may change."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit.config.migrate import migrate_record
from segkit.config.resolve import Assignments, Values, gather
from segkit.errors import SegkitError, UsageError
from segkit.files import read_toml
from segkit.plugins import Catalogue

RESUMABLE = "epochs", "workers", "device", "patience", "max_time", "save_minutes", "skip_bad", "tracker"
CHANGEABLE = tuple(("train", key) for key in RESUMABLE)  # by --resume


def read_starting_point(config: Path | None, recipe: str | None, catalogue: Catalogue) -> dict[str, Any]:
    """What a configuration file or a recipe holds; nothing where neither is given.

    Raises:
        UsageError: both are given, or the file cannot be read.
    """
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


def refuse_changes(flags: Mapping[str, Any], assignments: Assignments, others: Mapping[str, Any]) -> None:
    """Raises UsageError where something was asked for that a run which goes on cannot change.

    Args:
        flags, assignments: settings, as `gather` takes them.
        others: the command's other options, None where not typed.
    """
    wrong = [f"--{name}" for name, value in others.items() if value is not None]
    typed = gather({}, flags, assignments)
    wrong += [f"{section}.{key}" for section, own in typed.items() for key in own if (section, key) not in CHANGEABLE]
    if wrong:
        allowed = ", ".join(f"--{key.replace('_', '-')}" for key in RESUMABLE)
        raise UsageError(f"A resumed run keeps its settings; {wrong[0]} cannot change.", f"These may: {allowed}.")


def changed(before: Mapping[str, Any], flags: Mapping[str, Any], assignments: Assignments, pretrained: bool) -> Values:
    """The values of a run's record, as far as resuming changes it.

    Args:
        before: the record.
        flags, assignments: as `gather` takes them.
        pretrained: whether pretrained weights are needed still; a state holds all weights.
    """
    start = {} if pretrained else {"pretrained": "none"}
    return gather({**before, "train": {**before["train"], **start}}, flags, assignments)
