"""resume/state.pt: the one truth of a training. Every other file of its run can be rebuilt from it.

Plain values and tensors, written under a temporary name and renamed, read with weights_only: nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit import distributed
from segkit.errors import SegkitError, UsageError
from segkit.files import replacing
from segkit.runs.folder import RunFolder
from segkit.task import Task
from segkit.training.components import TrainingComponents
from segkit.training.optim import Schedule
from segkit.training.running_metrics import RunningCounts

FORMAT = 3


@dataclass
class Sums:
    """What an epoch has added up so far, over this process' share of the batches that were trained on."""

    counts: RunningCounts
    total: float = 0.0
    seen: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        counts = self.counts.counts
        own = {"total": self.total, "seen": self.seen, "seconds": self.seconds}
        return {**own, "counts": counts if counts is None else counts.cpu()}

    def over_all(self) -> Sums:
        """Over all processes."""
        return _add(distributed.all_gather(self.state()), self.counts.task)


def _add(states: Sequence[Mapping[str, Any]], task: Task) -> Sums:
    counts = [state["counts"] for state in states if state["counts"] is not None]
    return Sums(
        RunningCounts(task, torch.stack(counts).sum(dim=0) if counts else None),
        math.fsum(state["total"] for state in states),
        sum(state["seen"] for state in states),
        max((state["seconds"] for state in states), default=0.0),
    )


@dataclass
class Progress:
    """How far a training is.

    Args:
        sums: of the epoch at hand.
        epoch: the one at hand, from 1.
        step: batches of it that are done.
        history: a row for each epoch that is done.
        best_epoch, best_value, best: of the kept weights: their epoch, what decided (smaller is better), their validation
            values.
        kept: these weights, on the CPU.
        seconds: of all sessions.
        ended: why the training is over; empty while it is not.
    """

    sums: Sums = field(metadata={"apart": True})
    epoch: int = 1
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = math.inf
    best: Mapping[str, float] | None = None
    kept: dict[str, Tensor] | None = None
    seconds: float = 0.0
    ended: str = ""
    saved: bool = field(default=False, metadata={"apart": True})  # since it began or went on here

    def state(self) -> dict[str, Any]:
        """What a resumed training needs of it, beside the sums, which each process has of its own."""
        return {own.name: getattr(self, own.name) for own in fields(self) if not own.metadata.get("apart")}


def save(
    run: RunFolder, record: Mapping[str, Any], progress: Progress, components: TrainingComponents, schedule: Schedule
) -> None:
    """Replace the state of a run; all processes come here, the main one writes.

    Raises:
        SegkitError: the disk is full, say; then the state before stays.
    """
    own = distributed.all_gather({"sums": progress.sums.state(), "random": _random_states(components.device)})
    if not distributed.is_main():
        return
    scaler = components.accelerator.scaler
    document = {
        "format": FORMAT,
        "record": json.dumps(record),
        "progress": progress.state(),
        "model": components.accelerator.unwrap_model(components.model).state_dict(),
        "average": components.average.state_dict() if components.average is not None else None,
        "optimizer": components.optimizer.state_dict(),
        "schedule": schedule.state(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "processes": own,
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
        raise UsageError(f"{run.path} holds no resume/state.pt to continue from.", "'segkit train' starts a new run.")
    try:
        document: dict[str, Any] = torch.load(path, "cpu", weights_only=True)
        if document["format"] != FORMAT:
            raise SegkitError(
                f"{path} was written by another version of segkit.", "Go on with that version, or train again."
            )
        return {**document, "record": json.loads(document["record"])}
    except SegkitError:
        raise
    except Exception as error:  # whatever damaged bytes make of torch's reader
        raise SegkitError(f"{path} cannot be read: {type(error).__name__}.", "The file is damaged; train again.") from error


def restore(document: Mapping[str, Any], components: TrainingComponents, schedule: Schedule) -> Progress:
    """Put everything back where it was; random states last."""
    components.accelerator.unwrap_model(components.model).load_state_dict(document["model"])
    if components.average is not None:
        components.average.load_state_dict(document["average"])
    components.optimizer.load_state_dict(document["optimizer"])
    schedule.load(document["schedule"])
    if components.accelerator.scaler is not None and document["scaler"] is not None:
        components.accelerator.scaler.load_state_dict(document["scaler"])
    states = document["processes"]
    if len(states) == distributed.world_size():
        sums = _add([states[distributed.rank()]["sums"]], components.task)
        _restore_random(states[distributed.rank()]["random"], components.device)
    else:  # as many processes as before are needed for the same random numbers
        sums = (
            _add([state["sums"] for state in states], components.task)
            if distributed.is_main()
            else Sums(RunningCounts(components.task))
        )
    if sums.counts.counts is not None:
        sums.counts.counts = sums.counts.counts.to(components.device)
    return Progress(sums, **document["progress"])


def _random_states(device: torch.device) -> dict[str, Any]:
    """As plain lists, and torch's own as tensors."""
    kind, keys, *rest = np.random.get_state(legacy=True)
    version, inner, following = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": [kind, np.asarray(keys).tolist(), *rest],
        "python": [version, list(inner), following],
    }


def _restore_random(states: Mapping[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, np.array(keys, np.uint32), *rest))
    version, inner, following = states["python"]
    random.setstate((version, tuple(inner), following))
