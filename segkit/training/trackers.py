"""Sending the figures of a training to TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import filter_trackers

from segkit.errors import SegkitError, first_line
from segkit.options import in_words
from segkit.runs.folder import RunFolder

logger = logging.getLogger(__name__)

Track = Callable[[Mapping[str, Any]], None]


@contextmanager
def tracked(accelerator: Accelerator, tracker: str, run: RunFolder, config: Mapping[str, Any]) -> Iterator[Track]:
    """Yield what sends a row of the history to a tracker, unless that is "none".

    TensorBoard's files lie in RUN/tensorboard, offline files of the others in RUN; what they are called there is the run's
    name. A run that is resumed goes on in TensorBoard and in Weights & Biases.
    """
    if tracker == "none":
        yield lambda row: None
        return
    accelerator.project_configuration.set_directories(str(run.path))
    accelerator.log_with = filter_trackers([tracker], str(run.path))
    flat = {f"{section}.{key}": in_words(value) for section, values in config.items() for key, value in values.items()}
    name = run.path.name
    named = {
        "wandb": {"name": name, "id": f"{name}-{run.path.stat().st_ino}", "resume": "allow", "dir": str(run.path)},
        "mlflow": {"run_name": name},
    }
    project = tracker if tracker == "tensorboard" else "segkit"
    try:
        accelerator.init_trackers(project, flat, named)
    except Exception as error:  # no account, no server: whatever its own library says
        raise SegkitError(
            f"--tracker {tracker} cannot start: {first_line(error)}", "Set it up as its own manual says, or leave it out."
        ) from error

    refusals: list[str] = []

    def log(row: Mapping[str, Any]) -> None:
        try:
            accelerator.log({_tracked_name(key): value for key, value in row.items()}, step=row["epoch"])
        except Exception as error:  # a server that is gone ends no training
            if not refusals:
                refusals.append(first_line(error))
                logger.warning(f"--tracker {tracker} no longer takes figures: {refusals[0]}. They are in {run.history}.")

    try:
        yield log
    finally:
        for one in accelerator.trackers:  # end_training() would also part the processes
            one.finish()


def _tracked_name(key: str) -> str:
    """A figure's name as all trackers take it, where a name is no folder of others.

    >>> _tracked_name("val_score"), _tracked_name("val_score/left ventricle"), _tracked_name("lr")
    ('val/score', 'val/score.left ventricle', 'lr')
    """
    name = re.sub(r"[^\w .-]", ".", key)
    return re.sub(r"^(train|val)_", r"\1/", name)
