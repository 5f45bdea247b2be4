"""What may change when a run is resumed; everything else stays as run.toml says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit.config.resolve import Assignments, Values, gather
from segkit.errors import UsageError

RESUMABLE = "epochs", "workers", "device", "patience", "time", "save_minutes", "skip_bad", "tracker"
CHANGEABLE = tuple(("train", key) for key in RESUMABLE)


def refuse_resume_changes(flags: Mapping[str, Any], assignments: Assignments, others: Mapping[str, Any]) -> None:
    """Raise UsageError if a setting was given that a resumed run cannot change.

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


def apply_resume_changes(
    before: Mapping[str, Any], flags: Mapping[str, Any], assignments: Assignments, pretrained: bool
) -> Values:
    """The settings of a run, with the changes that resuming allows.

    Args:
        before: the settings of the run.
        flags, assignments: as `gather` takes them.
        pretrained: whether pretrained weights are needed still; a state holds all weights.
    """
    start = {} if pretrained else {"pretrained": "none"}
    return gather({**before, "train": {**before["train"], **start}}, flags, assignments)
