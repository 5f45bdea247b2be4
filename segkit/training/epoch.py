"""The steps of an epoch: learning rate -> forward -> loss -> backward -> optimiser (-> moving average)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from torch import Tensor

from segkit import distributed
from segkit.evaluation.aggregate import usual_aggregation
from segkit.reporter import Bar
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


def train_epoch(
    session: TrainingSession, progress: TrainingProgress, batches: Any, bar: Bar, stop: Stop, save: Callable[[], None]
) -> dict[str, Any] | None:
    """What is left of an epoch; returns its row of the history, or None where it was stopped."""
    components, order, sums = session.components, session.order, progress.sums
    settings, epoch = components.config.train, progress.epoch
    steps, started = len(order), time.perf_counter() - sums.seconds
    order.epoch, order.start = epoch, progress.step
    unread: list[PendingLoss] = []
    saved = time.perf_counter()
    rate = components.optimizer.param_groups[0]["lr"]
    components.model.train()
    for batch in skip_unreadable(batches, session, stop) if progress.step < steps else ():
        first = progress.step // settings.accumulate * settings.accumulate
        together = min(settings.accumulate, steps - first)
        whole = progress.step + 1 == first + together  # the optimiser's step comes after this batch
        rate = session.schedule.before(epoch - 1, progress.step)
        weight = order.weight(progress.step)  # each case counts the same, in all processes and batches of the step
        part = order.cases(progress.step) / sum(order.cases(step) for step in range(first, first + together))
        with step_errors(components, batch.images.shape):
            loss, logits, targets, finite = _forward(components, batch, epoch)
            with nullcontext() if whole else components.accelerator.no_sync(components.model):
                components.backward(loss * (weight * part))
            if whole:
                _step(components, settings)
        progress.step += 1
        unread.append(PendingLoss(loss.detach(), finite, batch.ids if weight else ()))
        if weight:
            sums.counts.add(logits.detach(), targets, batch.cases)
        drawn = bar.advance()
        due = bool(settings.save_minutes) and time.perf_counter() - saved > 60 * settings.save_minutes
        stopping, due = sync_stop_and_save(session, progress.step, stop.code, due) if whole else (0, False)
        look = len(unread) == CHECK or progress.step == steps or stopping or due
        if look or (drawn and distributed.world_size() == 1):
            read_losses(unread, session, progress)
            sums.seconds = time.perf_counter() - started
        if stopping:
            return None
        if due:
            save()
            saved = time.perf_counter()
        if drawn:
            bar.show(**figures(session, progress, rate))
    read_losses(unread, session, progress)
    if progress.step < steps:  # the wait for a batch was interrupted
        return None
    total = sums.over_all()
    found = total.counts.figures(components.metrics, usual_aggregation(components.task.kind))
    train = {f"train_{name}": value for name, value in found.items()}
    return {"epoch": epoch, "lr": rate, "train_loss": total.total / total.seen, **train, "train_seconds": total.seconds}


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
