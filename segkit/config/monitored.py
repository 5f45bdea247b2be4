"""What a training is measured by: the validation value that decides best weights, plateau and early stopping (--monitor).

`auto` is the first default metric that suits the task; `loss`, a metric or METRIC/CLASS may be named instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segkit.config.resolve import Choice
from segkit.errors import UsageError, did_you_mean
from segkit.plugins import Catalogue
from segkit.specs import MetricSpec
from segkit.task import Task

LOSS = "loss"


@dataclass(frozen=True)
class MonitoredValue:
    """A value of validation.

    Args:
        name: "loss", "metric" or "metric/class", as history.csv has it behind "val_".
        higher_is_better: its direction.
    """

    name: str
    higher_is_better: bool

    def cost(self, row: Mapping[str, Any]) -> float:
        """The value in a row of the history, turned so that smaller is better; infinite where it is undefined.

        >>> MonitoredValue("dice", True).cost({"val_dice": 0.9})
        -0.9
        """
        value = float(row[f"val_{self.name}"])
        return math.inf if math.isnan(value) else -value if self.higher_is_better else value


def choose_monitored(
    text: str, metrics: Sequence[Choice], task: Task, catalogue: Catalogue
) -> tuple[MonitoredValue, Choice | None]:
    """What `train.monitor` means for a task.

    Args:
        text: as typed: auto, loss, a metric's name, bare or full, or METRIC/CLASS.
        metrics: of the run.
        task: that is learned.
        catalogue: of the plugins.

    Returns:
        The value, and its metric where that is not among those of the run.

    Raises:
        UsageError: an unknown metric or class, or a metric without a direction or for other tasks.
    """
    if text == "auto":
        first = next((metric.spec for metric in metrics if metric.spec.higher_is_better is not None), None)
        text = first.name if first else LOSS
    if text == LOSS:
        return MonitoredValue(LOSS, False), None
    whole, (before, _, last) = _named(text, metrics, catalogue), text.rpartition("/")
    metric, label = (whole, "") if whole else (_named(before, metrics, catalogue), last)
    allowed = [item.spec for item in catalogue.all("metrics") if item.spec.suits(task)]
    names = [LOSS, *dict.fromkeys(spec.name for spec in allowed if spec.higher_is_better is not None)]
    if metric is None:
        raise UsageError(f"train.monitor = {text!r}: there is no such metric.", _remedy(text, names))
    spec: MetricSpec = metric.spec
    if spec.higher_is_better is None or not spec.suits(task):
        reason = "does not suit this task" if spec.higher_is_better is not None else "has no direction, so none is best"
        raise UsageError(f"train.monitor = {text!r}: the metric {spec.name!r} {reason}.", _remedy(text, names))
    classes = [*(task.classes if task.mode == "multiclass" else task.foreground), *task.regions]
    if label and label not in classes:
        allowed_here = ", ".join(f"{spec.name}/{name}" for name in classes)
        raise UsageError(f"train.monitor = {text!r}: there is no class {label!r}.", f"Allowed: {spec.name}, {allowed_here}.")
    name = f"{spec.name}/{label}" if label else spec.name
    return MonitoredValue(name, spec.higher_is_better), None if metric in metrics else metric


def _named(name: str, metrics: Sequence[Choice], catalogue: Catalogue) -> Choice | None:
    """The metric of this name, bare or full: of the run's, else of all."""
    own = [metric for metric in metrics if name in (metric.name, metric.spec.name)]
    if own:
        return own[0]
    if not any(item.is_called(name) or item.was_called(name) for item in catalogue.all("metrics")):
        return None
    found = catalogue.find("metrics", name)
    return next((metric for metric in metrics if metric.found == found), Choice(found, found.spec.options()))


def _remedy(text: str, names: Sequence[str]) -> str:
    guess = did_you_mean(text.partition("/")[0], names)
    listed = f"Allowed: {', '.join(names)}, and METRIC/CLASS."
    return listed if guess.startswith("Allowed") else f"{guess} {listed}"
