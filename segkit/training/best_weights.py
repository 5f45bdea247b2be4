"""What a training keeps: the weights of its best epoch, and the files that are written of them and of its state."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from segkit import distributed
from segkit.config.complete import Config
from segkit.errors import SegkitError
from segkit.runs.folder import RunDescription, RunFolder, write_description, write_history
from segkit.runs.weights import Header, build_header, save_weights
from segkit.task import Task
from segkit.training.components import TrainingComponents
from segkit.training.progress import TrainingProgress


def keep_best(row: dict[str, Any], progress: TrainingProgress, components: TrainingComponents) -> bool:
    """Add the row to the history; keep the weights where they are the best so far (or the last, without validation).

    What decides is the monitored value, smoothed over the epochs: alone, the luckiest of many would be taken.
    """
    progress.history.append(row)
    validated, settings = "val_loss" in row, components.config.train
    if not validated and not all(bool(tensor.isfinite().all()) for tensor in components.tensors().values()):
        error = SegkitError(f"The weights are not finite after epoch {row['epoch']}.", "Lower --lr, or set -o train.clip=1.")
        raise distributed.collective_error(error)
    costs = [components.config.monitored.cost(one) for one in progress.history] if validated else [-math.inf]
    if validated and (costs[-1] < progress.lowest or not progress.lowest_epoch):
        progress.lowest, progress.lowest_epoch = costs[-1], row["epoch"]
    value = smoothed(costs, settings.smoothing)
    if validated and progress.best is not None and value >= progress.best_value:
        return False
    names = [key for key in row if key.startswith("val_") and key != "val_seconds" and not math.isnan(row[key])]
    if distributed.is_main():
        progress.kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in components.tensors().items()}
    progress.best_value, progress.best_epoch, progress.best = value, row["epoch"], {key: row[key] for key in names}
    return validated


def smoothed(values: Sequence[float], share: float) -> float:
    """The last of some values, smoothed: a share of what it was before, the rest of each new one, from the first one on.

    This is nnU-Net's ema_fg_dice (share 0.9). An infinite last value stays one; others are passed over.

    >>> smoothed([1.0, 2.0, 2.0], 0.5)
    1.75
    """
    if not math.isfinite(values[-1]):
        return values[-1]
    finite = [value for value in values if math.isfinite(value)]
    return functools.reduce(lambda before, value: share * before + (1 - share) * value, finite)


def about_kept(progress: TrainingProgress, config: Config) -> str:
    """Words for weights that are not those of the epoch with the best single value; empty where they are."""
    if progress.best_epoch == progress.lowest_epoch or not progress.lowest_epoch:
        return ""
    value = abs(progress.lowest)
    return (
        f"epoch {progress.best_epoch} is kept: its {config.monitored.name}, smoothed over the epochs (train.smoothing), is "
        f"the best; by itself, that of epoch {progress.lowest_epoch} was ({value:.3f})"
    )


def write_weights(progress: TrainingProgress, run: RunFolder, config: Config, task: Task) -> None:
    assert progress.kept is not None and progress.best is not None
    save_weights(run.weights, progress.kept, header_of(config, task, progress.best))


def header_of(config: Config, task: Task, values: Mapping[str, float]) -> Header:
    return build_header(config.model, config.dims, task, config.preprocess, values, config.seen)


def write_files(run: RunFolder, description: RunDescription, progress: TrainingProgress, config: Config, task: Task) -> None:
    write_description(run, description)
    write_history(run, progress.history)
    if progress.kept is not None:
        write_weights(progress, run, config, task)
