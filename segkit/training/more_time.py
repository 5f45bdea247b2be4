"""`--resume RUN --time 10m`: a training goes on for as many steps as fit, by its own record."""

from __future__ import annotations

import logging
from dataclasses import replace

from segkit import distributed
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession
from segkit.training.time_budget import steps_within, too_short

logger = logging.getLogger(__name__)

RECENT = 5  # epochs of the record that are gone by


def go_on_for(session: TrainingSession, progress: TrainingProgress, more: str, epochs_typed: bool) -> TrainingSession:
    """The session with the end that fits into a time; the schedule goes on from where it is, to its end.

    Args:
        session: restored.
        progress: of it.
        more: the time, for the record; the session's clock counts it.
        epochs_typed: they are an upper limit then.

    Raises:
        UsageError: not even one step fits.
    """
    schedule, validated = session.schedule, progress.epoch - 1
    done, (step, validation) = validated * schedule.steps + progress.step, recorded_seconds(session, progress)
    left = distributed.broadcast_object(session.clock.left)
    if not step:  # nothing was trained yet: the clock will measure it
        return session
    room = schedule.end if epochs_typed else done + int(max(0.0, left) / step) + 1
    if room <= done:
        return session
    end = steps_within(left, room, done, validated, schedule.steps, step, validation)
    if end <= done:
        raise distributed.collective_error(too_short(left, step, validation))
    schedule.change_end(done, end, f"--resume --time {more}")
    train = replace(session.components.config.train, epochs=schedule.epochs, time=more)
    schedule.settings = train
    settings = session.description.settings
    written = {**settings, "train": {**settings["train"], "epochs": train.epochs, "time": more}}
    logger.info(f"time        {more}: {end - done} more steps, to the end of epoch {schedule.epochs}")
    return replace(
        session,
        components=replace(session.components, config=replace(session.components.config, train=train)),
        description=replace(session.description, settings=written),
    )


def recorded_seconds(session: TrainingSession, progress: TrainingProgress) -> tuple[float, float]:
    """What a step and a validation took in the last epochs; 0 where none was done."""
    rows, steps = progress.history[-RECENT:], session.schedule.steps
    if not rows:
        sums = progress.sums.over_all()
        return (sums.seconds / progress.step if progress.step else 0.0), 0.0
    step = sum(row["train_seconds"] for row in rows) / sum(row.get("steps", steps) for row in rows)
    return step, sum(row.get("val_seconds", 0.0) for row in rows) / len(rows)
