"""resume/state.pt: the one truth of a training. Every other file of its run can be rebuilt from it.

Plain values and tensors, written under a temporary name and renamed, read with weights_only: nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.engine.optimisers import Schedule
from segkit.engine.parts import Parts
from segkit.engine.scores import RunningDice
from segkit.errors import SegkitError, UsageError
from segkit.files import replacing
from segkit.run import RunFolder
from segkit.settings import Train

FORMAT = 1


@dataclass
class Sums:
    """What an epoch has added up so far, over batches that were trained on."""

    dice: RunningDice
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        own = {"total": self.total, "seen": self.seen, "seconds": self.seconds}
        return {**own, "overlap": self.dice.overlap, "sizes": self.dice.sizes}


@dataclass
class Progress:
    """How far a training is.

    Args:
        sums: of the epoch at hand.
        epoch: the one at hand, from 1.
        step: batches of it that are done.
        history: a row for each epoch that is done.
        best_epoch, best_value, best: of the kept weights: their epoch, what decided, their validation values.
        kept: these weights, on the CPU.
        seconds: of all sessions.
        ended: why the training is over; empty while it is not.
    """

    sums: Sums
    epoch: int = 1
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.inf
    best: Mapping[str, float] | None = None
    kept: dict[str, Tensor] | None = None
    seconds: float = 0.0
    ended: str = ""
    saved: bool = False  # since it began or went on here

    def since_best(self) -> int:
        return len(self.history) - self.best_epoch


DECIDES = ("epochs", "patience", "max_time")  # settings that may change and say when a training is over
PLAIN = ("epoch", "step", "history", "best_epoch", "best_value", "best", "kept", "seconds", "ended")


def save(run: RunFolder, record: Mapping[str, Any], progress: Progress, parts: Parts, schedule: Schedule) -> None:
    """Replace the state of a run.

    Raises:
        SegkitError: the disk is full, say; then the state before stays.
    """
    scaler = parts.accelerator.scaler
    document = {
        "format": FORMAT,
        "record": json.dumps(record),
        "progress": {name: getattr(progress, name) for name in PLAIN},
        "sums": progress.sums.state(),
        "model": parts.accelerator.unwrap_model(parts.model).state_dict(),
        "average": parts.average.state_dict() if parts.average is not None else None,
        "optimizer": parts.optimizer.state_dict(),
        "schedule": schedule.state(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": _random_states(),
    }
    target = run.state
    try:
        with replacing(target) as temporary:
            torch.save(document, temporary)
    except (OSError, RuntimeError) as error:
        raise SegkitError(
            f"{target} cannot be written: {error}",
            f"What was saved before stays. Make room, then: segkit train --resume {run.path}",
        ) from error


def load(run: RunFolder) -> dict[str, Any]:
    """The document of a run's state, `record` parsed.

    Raises:
        UsageError: there is none.
        SegkitError: it is damaged, or from a newer segkit.
    """
    path = run.state
    if not path.is_file():
        raise UsageError(f"{run.path} holds no resume/state.pt to go on from.", "'segkit train' starts a new run.")
    try:
        document: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
        if document["format"] > FORMAT:
            raise SegkitError(f"{path} was written by a newer segkit.", "pip install --upgrade segkit")
        return {**document, "record": json.loads(document["record"])}
    except SegkitError:
        raise
    except Exception as error:  # whatever damaged bytes make of torch's reader
        raise SegkitError(f"{path} cannot be read: {type(error).__name__}.", "The file is damaged; train again.") from error


def is_over(document: Mapping[str, Any], settings: Train) -> bool:
    """Whether a training would do nothing more under these settings.

    What ended it holds until a setting that decides that is changed: time that was over is not given again unasked.
    """
    progress, before = document["progress"], document["record"]["config"]["train"]
    done = len(progress["history"])
    if done >= settings.epochs:
        return True
    if all(getattr(settings, key) == before[key] for key in DECIDES):
        return bool(progress["ended"])
    validated = done > 0 and "val_loss" in progress["history"][-1]
    return validated and 0 < settings.patience <= done - progress["best_epoch"]


def restore(document: Mapping[str, Any], parts: Parts, schedule: Schedule) -> Progress:
    """Put everything back where it was; random states last."""
    parts.accelerator.unwrap_model(parts.model).load_state_dict(document["model"])
    if parts.average is not None:
        parts.average.load_state_dict(document["average"])
    parts.optimizer.load_state_dict(document["optimizer"])
    schedule.load(document["schedule"])
    if parts.accelerator.scaler is not None and document["scaler"] is not None:
        parts.accelerator.scaler.load_state_dict(document["scaler"])
    sums = dict(document["sums"])
    dice = RunningDice(parts.task)
    dice.overlap, dice.sizes = (_on(sums.pop(name), parts.device) for name in ("overlap", "sizes"))
    _restore_random(document["random"])
    return Progress(Sums(dice, **sums), **document["progress"])


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _random_states() -> dict[str, Any]:
    """As plain lists, and torch's own as tensors."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, inner, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": [version, list(inner), following],
    }


def _restore_random(states: Mapping[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    version, inner, following = states["python"]
    random.setstate((version, tuple(inner), following))
