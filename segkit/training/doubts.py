"""What a training's figures say though nothing failed: hardly any case to go by, and a model that finds nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from segkit.config.complete import Config
from segkit.config.monitored import LOSS
from segkit.words import counted

FEW = 3  # validation cases; fewer decide by chance
NOTHING = 0.05  # a metric below this, beside
MUCH = 0.5  # at least this in training, is no matter of a few more epochs
STREAK = 3  # such epochs in a row
LONG = 5  # epochs after which a model that learns has found something


def doubt_of_cases(ids: Mapping[str, Sequence[str]]) -> str:
    """Of a split with hardly any validation case; empty otherwise."""
    count = len(ids["val"])
    if not 0 < count < FEW:
        return ""
    cases = f"There is {counted(count, 'validation case')}" if count == 1 else f"There are {count} validation cases"
    return f"{cases}: best weights, plateau and early stopping hang on so little. More: -o split.val=0.3, or --folds 5."


def doubt_of_figures(history: Sequence[Mapping[str, Any]], config: Config, ended: bool) -> str:
    """Of a model that finds nothing in validation, said when it is plain for the first time and when a training ends.

    Args:
        history: rows of the epochs that are done.
        config: says which metric is looked at.
        ended: this was the last epoch.
    """
    name = config.headline
    spec = next((metric.spec for metric in config.metrics if metric.spec.name == name.partition("/")[0]), None)
    train, val = f"train_{name}", f"val_{name}"
    if name == LOSS or spec is None or not spec.higher_is_better or not history or not {train, val} <= history[-1].keys():
        return ""
    apart = [row[val] <= NOTHING and row[train] >= MUCH for row in history]
    last = history[-1]
    figures = f"validation {name} is {last[val]:.3f} beside {last[train]:.3f} in training"
    if (ended and apart[-1]) or (all(apart[-STREAK:]) and len(apart) >= STREAK and not any(apart[:-STREAK][-1:])):
        return (
            f"{figures}: the model finds nothing in the validation cases. Have they another range of values, size or coding "
            "of masks ('segkit data check'), or do flips exchange what only its side tells apart?"
        )
    if ended and len(history) >= LONG and all(row[val] <= NOTHING and row[train] <= NOTHING for row in history):
        return (
            f"{figures}: nothing was learned. Look at the data ('segkit data check', 'segkit data explore'), or change --lr."
        )
    return ""
