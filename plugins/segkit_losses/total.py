"""Any weighted sum of losses, as it is typed: dice+0.5*boundary."""

from __future__ import annotations

import re

from torch import nn

from segkit.api import Task, UsageError, build_loss
from segkit_losses.dice import WeightedSum
from segkit_losses.plugin import SumOptions

PART = re.compile(r"\s*(?:(?P<factor>\d*\.?\d+(?:e-?\d+)?)\s*\*\s*)?(?P<name>[\w/-]+)\s*(?:\((?P<options>[^()]*)\))?\s*")


def build_sum(task: Task, options: SumOptions) -> nn.Module:
    """Raises UsageError where the text is no sum of losses that suit the task."""
    parts = []
    for part in re.split(r"\+(?![^()]*\))", options.of):
        found = PART.fullmatch(part)
        if found is None:
            raise UsageError(f"loss.of={options.of}: {part.strip() or 'nothing'!r} is no loss.", HINT)
        if found["name"].rpartition("/")[2] == "sum":
            raise UsageError(f"loss.of={options.of}: a sum of sums.", HINT)
        pairs = [one.partition("=") for one in (found["options"] or "").split(";") if one.strip()]
        if wrong := [key for key, equals, _ in pairs if not equals]:
            raise UsageError(f"loss.of={options.of}: {wrong[0]!r} has no value.", HINT)
        typed = {key.strip(): value.strip() for key, _, value in pairs}
        parts.append((float(found["factor"] or 1), build_loss(found["name"], task, typed)))
    return WeightedSum(*parts)


HINT = "Such as: -o 'loss.of=dice+0.5*focal(gamma=3;alpha=0.25)'"
