"""The steps of an epoch: learning rate -> forward -> loss -> backward -> optimiser (-> moving average)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from segkit import distributed
from segkit.durations import duration_words
from segkit.evaluation.aggregate import usual_aggregation
from segkit.reporter import Bar
from segkit.runs.folder import write_description
from segkit.settings import Train
from segkit.training.augmentation.augment import augment
from segkit.training.components import TrainingComponents
from segkit.training.loader import Batch
from segkit.training.memory import step_errors
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession
from segkit.training.signals import Stop
from segkit.training.status_lines import figures
from segkit.training.step_checks import CHECK, PendingLoss, read_losses, skip_unreadable, sync_stop_and_save, where_finite

logger = logging.getLogger(__name__)


def train_epoch(
    session: TrainingSession, progress: TrainingProgress, batches: Any, bar: Bar, stop: Stop, save: Callable[[], None]
) -> dict[str, Any] | None:
    """What is left of an epoch; returns its row of the history, or None where it was stopped."""
    components, order, sums, schedule = session.components, session.order, progress.sums, session.schedule
    settings, epoch = components.config.train, progress.epoch
    started = time.perf_counter() - sums.seconds
    order.epoch, order.start = epoch, progress.step
    unread: list[PendingLoss] = []
    saved = time.perf_counter()
    rate = components.optimizer.param_groups[0]["lr"]
    components.model.train()
    session.clock.begin()
    for batch in skip_unreadable(batches, session, stop) if progress.step < schedule.steps_of(epoch) else ():
        rate = schedule.before(epoch - 1, progress.step)
        whole = _train_batch(session, progress, batch, unread)
        drawn = bar.advance()
        due = bool(settings.save_minutes) and time.perf_counter() - saved > 60 * settings.save_minutes
        asked = (session, progress.step, stop.code, due, _end_in_time(session, progress))
        stopping, due, end = sync_stop_and_save(*asked) if whole else (0, False, None)
        if end is not None:
            _change_end(session, progress, end, bar)
        over = progress.step >= schedule.steps_of(epoch)
        if len(unread) == CHECK or over or stopping or due or (drawn and distributed.world_size() == 1):
            read_losses(unread, session, progress)
            sums.seconds = time.perf_counter() - started
        if stopping:
            return None
        if due:
            save()
            saved = time.perf_counter()
            session.clock.begin()
        if drawn:
            bar.show(**figures(session, progress, rate))
        if over and progress.step < len(order):  # the last epoch was cut short
            break
    read_losses(unread, session, progress)
    if progress.step < schedule.steps_of(epoch):  # the wait for a batch was interrupted
        return None
    total = sums.over_all()
    found = total.counts.figures(components.metrics, usual_aggregation(components.task.kind))
    train = {f"train_{name}": value for name, value in found.items()}
    loss = total.total / total.seen
    return {"epoch": epoch, "steps": progress.step, "lr": rate, "train_loss": loss, **train, "train_seconds": total.seconds}


def _train_batch(session: TrainingSession, progress: TrainingProgress, batch: Batch, unread: list[PendingLoss]) -> bool:
    """Forward and backward; whether the optimiser's step came after this batch."""
    components, order, settings = session.components, session.order, session.components.config.train
    first = progress.step // settings.accumulate * settings.accumulate
    together = min(settings.accumulate, session.schedule.steps_of(progress.epoch) - first)
    whole = progress.step + 1 == first + together
    weight = order.weight(progress.step)  # each case counts the same, in all processes and batches of the step
    part = order.cases(progress.step) / sum(order.cases(step) for step in range(first, first + together))
    with step_errors(components, batch.images.shape):
        loss, logits, targets, finite = _forward(components, batch, progress.epoch)
        with nullcontext() if whole else components.accelerator.no_sync(components.model):
            components.backward(loss * (weight * part))
        if whole:
            _step(components, settings)
    progress.step += 1
    session.clock.tick()
    unread.append(PendingLoss(loss.detach(), finite, batch.ids if weight else ()))
    if weight:
        progress.sums.counts.add(logits.detach(), targets, batch.cases)
    return whole


def _end_in_time(session: TrainingSession, progress: TrainingProgress) -> int | None:
    """The number of steps of the whole training that ends in time, if it is another than the present one."""
    schedule = session.schedule
    done = (progress.epoch - 1) * schedule.steps + progress.step
    planned = (schedule.settings.epochs or 0) * schedule.steps
    return session.clock.fitting(schedule.end, planned, done, progress.epoch - 1)


def _change_end(session: TrainingSession, progress: TrainingProgress, end: int, bar: Bar) -> None:
    """End the training after fewer steps, or after more where it was shortened before, and say so."""
    schedule, clock = session.schedule, session.clock
    done, before = (progress.epoch - 1) * schedule.steps + progress.step, schedule.end
    limit = session.components.config.train.time
    step = duration_words(clock.step_seconds or 0.0)
    schedule.change_end(done, end, f"a step takes {step}: so many fit into {limit}")
    bar.advance(before - end)
    if distributed.is_main():
        write_description(session.run, session.record)
    logger.info(
        f"a step takes {step}: {end} steps in place of {before} fit into {limit} (--time). The schedule ends with them."
    )


def _forward(components: TrainingComponents, batch: Batch, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, logits and targets of a batch, augmented on the device, and where it is finite (see `PendingLoss`)."""
    images = batch.images.to(components.device, non_blocking=True)
    masks = batch.masks.to(components.device, non_blocking=True)
    images, masks = augment(images, masks, components.config.augment, components.config.train.seed, epoch, batch.ids)
    targets = components.targets(masks)
    levels = components.levels(images)
    return components.loss(levels, targets), levels[0], targets, where_finite(images, levels)


def _step(components: TrainingComponents, settings: Train) -> None:
    if settings.clip:
        components.accelerator.clip_grad_norm_(components.model.parameters(), settings.clip)
    components.optimizer.step()
    components.optimizer.zero_grad(set_to_none=True)
    if components.average is not None:
        components.average.update_parameters(components.accelerator.unwrap_model(components.model))  # type: ignore[operator]
