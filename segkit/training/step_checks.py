"""What is watched during the steps of a training: cases that cannot be read, losses that are not finite, signals.

Where several processes train together, all of them look at the same steps, since each look is an exchange.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from segkit import distributed
from segkit.config.complete import Config
from segkit.errors import SegkitError
from segkit.training.loader import Batch, unreadable
from segkit.training.progress import TrainingProgress
from segkit.training.setup import TrainingSession
from segkit.training.signals import InterruptedWaitError, Stop

logger = logging.getLogger(__name__)

CHECK = 10  # steps between two looks at the loss: each one waits for the device


class PendingLoss(NamedTuple):
    """The loss of a batch, still on its device; whether each of its images and, last, all logits are finite; and the cases
    that count in it."""

    loss: Tensor
    finite: Tensor
    ids: tuple[str, ...]


def where_finite(images: Tensor, levels: Sequence[Tensor]) -> Tensor:
    """(B + 1,) booleans: of each image, and of all logits together; the device need not be waited for."""
    logits = torch.stack([level.detach().isfinite().all() for level in levels]).all()
    return torch.cat([images.flatten(1).isfinite().all(dim=1), logits[None]])


def skip_unreadable(batches: Any, session: TrainingSession, stop: Stop) -> Iterator[Batch]:
    """The batches; a case that cannot be read ends the training, or is reported and left out.

    They end early where a signal comes while one is waited for; of several processes none stops by itself.
    """
    iterator = None
    while True:
        try:
            with stop.interruptible() if distributed.world_size() == 1 else nullcontext():
                iterator = iterator or iter(batches)
                batch = next(iterator)
        except (StopIteration, InterruptedWaitError):
            return
        if not batch.ids:
            raise unreadable(batch)
        for case, reason, _ in batch.unreadable:
            if case not in session.items.named:
                session.items.named.add(case)
                logger.error(f"case {case!r}: {reason}")
        yield batch


def sync_stop_and_save(
    session: TrainingSession, step: int, code: int, due: bool, end: int | None
) -> tuple[int, bool, int | None]:
    """Whether to stop (a process received a signal), whether to save, and after how many steps to end where that is to be
    changed (the main process' clock decides); the same answer in all processes.

    On GPUs, which should not wait for each other, this is asked every `CHECK` steps only.
    """
    if distributed.world_size() == 1:
        return code, due, end
    if session.components.device.type != "cpu" and step % CHECK and step < len(session.order):
        return 0, False, None
    found = distributed.all_gather((code, due, end))
    return max(code for code, *_ in found), found[0][1], found[0][2]


def read_losses(unread: list[PendingLoss], session: TrainingSession, progress: TrainingProgress) -> None:
    """Add up the losses of the last steps; the first that is not finite, in any of the processes, ends the training."""
    sums, strange = progress.sums, None
    values = torch.stack([one.loss for one in unread]).tolist() if unread else []
    for number, (value, one) in enumerate(zip(values, unread, strict=True)):
        if strange is None and not math.isfinite(value):
            step = progress.step - len(unread) + number + 1
            strange = (step, *_not_finite(value, one, session.components.config, progress.epoch, step))
        sums.total, sums.seen = sums.total + value * len(one.ids), sums.seen + len(one.ids)
    unread.clear()
    found = sorted((one for one in distributed.all_gather(strange) if one is not None), key=lambda one: one[0])
    if found:
        raise distributed.collective_error(SegkitError(*found[0][1:]))


def _not_finite(value: float, one: PendingLoss, config: Config, epoch: int, step: int) -> tuple[str, str]:
    """What happened and what to do, by what ceased to be finite first: the images, the logits, or the loss alone."""
    *images, logits = one.finite.tolist()
    bad = [id for id, fine in zip(one.ids, images, strict=False) if not fine]
    happened = f"The loss became {value} in epoch {epoch}, step {step}, on {', '.join(bad or one.ids)}"
    if bad:
        held = f"{happened}: the image as the network sees it holds values that are not finite numbers."
        return (
            held,
            "Look at these cases, at preprocess.intensity and at augment; the network and its loss are not to blame.",
        )
    slower = "Lower --lr, set -o train.clip=1, or look at these cases."
    if logits:
        alone = f"{happened}: images and logits are finite, so it is the loss {config.loss.name} that is not."
        return alone, f"{slower} A loss that divides by a sum or takes a log needs a small number added to it."
    gave = f"{happened}: the images are finite, the logits of the model {config.model.name} are not."
    if (epoch, step) == (1, 1):
        return gave, "No step was taken yet: the model's own code makes them, or the weights that it started from."
    return gave, slower
