"""When a training is over: its epochs are done, its time is up, or validation has stopped improving (`--patience`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segkit.settings import Train
from segkit.training.checkpoint import progress_of
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession
from segkit.words import counted

DECIDES = ("epochs", "patience")  # settings that may change on --resume and say when a training is over


def stopping_reason(settings: Train, done: int, lowest_epoch: int, validated: bool) -> str:
    """Why a training ends before its last epoch; empty where it does not.

    Args:
        settings: of the training.
        done: epochs that are done.
        lowest_epoch: that of the best monitored value, not smoothed; 0 where there is none.
        validated: whether there is a validation subset, without which nothing can improve.
    """
    if validated and settings.patience and done - lowest_epoch >= settings.patience:
        return f"No improvement in {counted(settings.patience, 'epoch')} (--patience)"
    return ""


def reason_to_end(session: TrainingSession, progress: TrainingProgress) -> str:
    """Why a training ends after the epoch that was finished last; the same in all processes, empty where it goes on."""
    settings, schedule, done = session.components.config.train, session.schedule, len(progress.history)
    if done >= schedule.epochs and schedule.end < (settings.epochs or 0) * schedule.steps:
        return f"The time of {settings.time} is over (--time), after {schedule.end} steps"
    return stopping_reason(settings, done, progress.lowest_epoch, bool(session.cases))


def is_over(document: Mapping[str, Any], settings: Train) -> bool:
    """Whether a saved training would do nothing more under these settings.

    What ended it holds until a setting that decides it is changed: time that has run out is not granted again unasked.

    Args:
        document: from `checkpoint.load`.
        settings: with what may change on --resume changed.
    """
    progress, before = progress_of(document), document["description"].settings["train"]
    done = len(progress["history"])
    if settings.epochs is not None and done >= settings.epochs:
        return True
    if all(getattr(settings, key) == before[key] for key in DECIDES):
        return bool(progress["ended"])
    validated = done > 0 and "val_loss" in progress["history"][-1]
    return bool(stopping_reason(settings, done, progress["lowest_epoch"], validated))
