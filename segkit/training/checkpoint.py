"""resume/state.pt: the complete state of a training; every other file of its run can be rebuilt from it.

Plain values and tensors, written under a temporary name and renamed, read with weights_only: nothing is unpickled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from segkit import distributed
from segkit.errors import DiskFullError, SegkitError, UsageError, first_line
from segkit.files import replacing
from segkit.runs.folder import RunDescription, RunFolder
from segkit.training.components import TrainingComponents
from segkit.training.optim import Schedule
from segkit.training.progress import EpochSums, TrainingProgress, add_sums
from segkit.training.running_metrics import RunningCounts
from segkit.words import command

FORMAT = 3


def save(
    run: RunFolder,
    description: RunDescription,
    progress: TrainingProgress,
    components: TrainingComponents,
    schedule: Schedule,
) -> None:
    """Replace the state of a run; all processes come here, the main one writes.

    Raises:
        SegkitError: the disk is full, say; a state from before stays.
    """
    own = distributed.all_gather({"sums": progress.sums.state(), "random": _random_states(components.device)})
    if not distributed.is_main():
        return
    scaler = components.accelerator.scaler
    document = {
        "format": FORMAT,
        "description": json.dumps(asdict(description)),
        "progress": progress.state(),
        "model": components.accelerator.unwrap_model(components.model).state_dict(),
        "average": components.average.state_dict() if components.average is not None else None,
        "optimizer": components.optimizer.state_dict(),
        "schedule": schedule.state(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "processes": own,
    }
    more = (
        f"Make room, then: {command('train', '--resume', run.path)}"
        if progress.saved
        else "Make room, or choose another --out."
    )
    try:
        with replacing(run.state) as temporary:
            torch.save(document, temporary)
    except DiskFullError as error:
        raise DiskFullError(error.message, more) from error
    except (OSError, RuntimeError) as error:
        raise SegkitError(f"{run.state} cannot be written: {first_line(error)}", more) from error


def load(run: RunFolder) -> dict[str, Any]:
    """The document of a run's state, `description` parsed.

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
        return {**document, "description": RunDescription(**json.loads(document["description"]))}
    except SegkitError:
        raise
    except Exception as error:  # whatever damaged bytes make of torch's reader
        raise SegkitError(f"{path} cannot be read: {type(error).__name__}.", "The file is damaged; train again.") from error


def restore(document: Mapping[str, Any], components: TrainingComponents, schedule: Schedule) -> TrainingProgress:
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
        sums = add_sums([states[distributed.rank()]["sums"]], components.task)
        _restore_random(states[distributed.rank()]["random"], components.device)
    else:  # as many processes as before are needed for the same random numbers
        sums = (
            add_sums([state["sums"] for state in states], components.task)
            if distributed.is_main()
            else EpochSums(RunningCounts(components.task))
        )
    if sums.counts.by_case is not None:
        sums.counts.by_case = sums.counts.by_case.to(components.device)
    return TrainingProgress(sums, **progress_of(document), saved=True)


def progress_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What `TrainingProgress.state` gave; a state from before values were smoothed kept those of the best single one."""
    saved = document["progress"]
    return {"lowest_epoch": saved["best_epoch"], "lowest": saved["best_value"], **saved}


def _random_states(device: torch.device) -> dict[str, Any]:
    """States of all random generators: torch's as tensors, the others as plain lists."""
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
