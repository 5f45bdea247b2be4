"""Batches of cached cases, the same for any number of workers; of several processes each reads its share."""

from __future__ import annotations

import faulthandler
import logging
import multiprocessing
import os
import random
import re
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

from segkit.data.cache import Cached
from segkit.errors import SegkitError, first_line
from segkit.training.order import Index, Order

logger = logging.getLogger(__name__)

PATIENCE = 300  # seconds in which readers must give a batch
OVER = 512  # place in what workers share: whether reading is over
Failure = tuple[str, str, str]  # a case that cannot be read: its id, the reason, the traceback


@dataclass(frozen=True)
class Batch:
    """(B, C, *S) float32, (B, *S) int32 (or (B, K, *S)), the ids of their items, what could not be read, and the places of
    their cases among those that are trained on.

    Without skipping, what cannot be read leaves a batch empty.
    """

    images: Tensor
    masks: Tensor
    ids: tuple[str, ...]
    unreadable: tuple[Failure, ...] = ()
    cases: tuple[int, ...] = ()

    def pin_memory(self) -> Batch:
        return Batch(self.images.pin_memory(), self.masks.pin_memory(), self.ids, self.unreadable, self.cases)

    def __reduce__(self) -> tuple[Any, ...]:
        """From a reader through shared memory; byte by byte where there is no room in it, as in many containers."""
        rest = (self.ids, self.unreadable, self.cases)
        try:
            return Batch, (self.images.share_memory_(), self.masks.share_memory_(), *rest)  # type: ignore[no-untyped-call]
        except RuntimeError:
            return _from_arrays, (self.images.numpy(), self.masks.numpy(), *rest)


def _from_arrays(images: NDArray[Any], masks: NDArray[Any], *rest: Any) -> Batch:
    return Batch(torch.from_numpy(images), torch.from_numpy(masks), *rest)


Read = tuple[NDArray[Any], NDArray[Any], str, int]  # image, mask, id of the item, place of its case
Item = tuple[Read | None, list[Failure]]


class TrainingItems(torch.utils.data.Dataset[Item]):
    """What a network is trained on: whole cached cases, each slice of them, or a random patch of each.

    Args:
        cases: from the cache.
        patch: size of a patch, None for whole cases; where it lies is drawn from the seed, the epoch and the case.
        seed: of the run.
        foreground: share of the patches that are laid around a voxel of a class, each class as often.
        skip: take the next item in the place of one that cannot be read.
    """

    def __init__(
        self,
        cases: Sequence[Cached],
        patch: tuple[int, ...] | None,
        seed: int,
        foreground: float = 0.0,
        skip: bool = False,
    ) -> None:
        self.patch, self.seed, self.foreground, self.skip = patch, seed, foreground, skip
        self.named: set[str] = set()  # unreadable cases that the user knows of
        self.items: list[tuple[Cached, int | None]] = []
        self.cases: list[int] = []  # place of each item's case
        for place, cached in enumerate(cases):
            sliced = cached.geometry.slice_axis is not None
            count = len(cached.load()[0]) if sliced else 1
            self.items += [(cached, number if sliced else None) for number in range(count)]
            self.cases += [place] * count
        self.reading = multiprocessing.Array("q", OVER + 1, lock=False)  # pid and item of each worker, in shared memory

    def __len__(self) -> int:
        return len(self.items)

    def close(self) -> None:
        """Nothing is read any more: workers exit when they receive SIGTERM."""
        self.reading[OVER] = 1

    def pools(self, classes: int) -> list[list[int]]:
        """Items that hold each of the foreground classes; patches of whole cases are laid around them instead."""
        pools: list[list[int]] = [[] for _ in range(1, classes)]
        held: dict[Path, set[tuple[int, int]]] = {}
        for index, (cached, number) in enumerate(self.items):
            if number is None and self.patch is not None:
                continue
            if cached.places not in held:
                held[cached.places] = {(row[0], row[1]) for row in np.load(cached.places)[:, :2].tolist()}
            for value in range(1, classes):
                if (number or 0, value) in held[cached.places]:
                    pools[value - 1].append(index)
        return pools

    def __getitem__(self, index: Index) -> Item:
        worker, failed = get_worker_info(), list[Failure]()
        for number in range(len(self.items) if self.skip else 1):
            item = (index[0] + number) % len(self.items)
            if worker is not None:
                self.reading[2 * worker.id : 2 * worker.id + 2] = os.getpid(), item
            try:
                return self._read(item, *index[1:]), failed
            except Exception as error:  # whatever a damaged file makes of NumPy; an error must not end a worker
                reason = f"its cached form cannot be read: {first_line(error)}"
                failed.append((self.items[item][0].case.id, reason, traceback.format_exc()))
        return None, failed

    def _read(self, item: int, epoch: int, time: int) -> Read:
        cached, number = self.items[item]
        image, mask = cached.load()
        id = cached.case.id
        if number is not None:
            image, mask, id = image[number], mask[number], f"{id}/{number:04d}"
        if time:  # another patch of it, and changed in another way
            id = f"{id}+{time}"
        if self.patch is not None:
            draw = random.Random(f"{self.seed}/{epoch}/{id}")
            around = self._voxel(cached, number or 0, draw) if draw.random() < self.foreground else None
            image, mask = _cut(image, mask, self.patch, around, draw)
        return image, mask, id, self.cases[item]

    def _voxel(self, cached: Cached, number: int, draw: random.Random) -> list[int] | None:
        """A voxel of one of the classes that are there, each as likely; None where there is background alone."""
        places = np.load(cached.places)
        places = places[places[:, 0] == number]
        values = np.unique(places[:, 1]).tolist()
        if not values:
            return None
        rows = places[places[:, 1] == draw.choice(values)]
        return [int(place) for place in rows[draw.randrange(len(rows))][2:]]


def loader(items: TrainingItems, order: Order, workers: int, pin: bool) -> DataLoader[Batch]:
    """The batches of each epoch in turn; where there is no room for readers, this process reads."""
    if workers and not _has_room(workers):
        workers = 0
        logger.warning(
            "there is no shared memory (/dev/shm) for readers: --workers 0 is used. Containers: docker run --shm-size=1g"
        )
    return DataLoader(
        items,  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=collate,
        num_workers=workers,
        timeout=PATIENCE if workers else 0,
        pin_memory=pin,
        persistent_workers=workers > 0,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),  # its own, so that the number of workers never shifts torch's random state
    )


def _has_room(workers: int) -> bool:
    """Whether the queues between the readers and this process can be made; their locks lie in /dev/shm."""
    try:
        return bool([multiprocessing.Queue() for _ in range(workers + 3)])
    except OSError:
        return False


def unreadable(batch: Batch) -> SegkitError:
    """The error of a batch that holds what cannot be read, with the reader's own traceback as its cause."""
    case, reason, trace = batch.unreadable[-1]
    error = SegkitError(f"case {case!r}: {reason}", "'segkit data cache --clear' empties the cache; --skip-bad goes on.")
    error.__cause__ = RuntimeError(trace)
    return error


def dead_worker(error: Exception, items: TrainingItems) -> SegkitError | None:
    """An error that says what a dead worker was reading; None if the error is about something else."""
    slots = [pair for pair in zip(items.reading[:OVER:2], items.reading[1:OVER:2], strict=True) if pair[0]]
    if "DataLoader timed out" in str(error):
        names = [items.items[item][0].case.id for _, item in slots]
        return SegkitError(
            f"The readers gave no batch within {PATIENCE} s. They began {' and '.join(names) or 'nothing'} last.",
            "--workers 0 reads without them; more shared memory (/dev/shm) may help: docker run --shm-size=1g.",
        )
    found = re.search(r"DataLoader worker \(pid.*", str(error))
    if found is None:
        return None
    pids = {int(number) for number in re.findall(r"\d+", found[0])}
    names = [items.items[item][0].case.id for pid, item in slots if pid in pids]
    return SegkitError(
        f"{found[0].rstrip()} It was reading {' and '.join(names) or 'nothing yet'}.",
        "Where memory ran out, fewer workers help: --workers 0. If it left a traceback, that stands above.",
    )


def _begin_worker(number: int) -> None:
    """A crash in a library's own code writes the traceback of what was read; signals are handled by the training process."""
    faulthandler.enable()
    information = get_worker_info()
    assert information is not None
    reading = information.dataset.reading  # type: ignore[attr-defined]

    def end_if_over(number: int, frame: FrameType | None) -> None:
        if reading[OVER]:
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end_if_over)


def _cut(
    image: NDArray[Any], mask: NDArray[Any], size: tuple[int, ...], around: list[int] | None, draw: random.Random
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A patch at a random place, one that holds the voxel `around` if there is one; smaller images are taken whole."""
    box = []
    for axis, (own, window) in enumerate(zip(image.shape[1:], size, strict=True)):
        low, high = 0, max(0, own - window)
        if around is not None:
            low, high = min(high, max(0, around[axis] - window + 1)), min(high, around[axis])
        start = draw.randint(low, high)
        box.append(slice(start, start + window))
    whole = (slice(None),) * (mask.ndim - len(box))
    return image[(slice(None), *box)], mask[whole + tuple(box)]


def collate(items: Sequence[Item]) -> Batch:
    """Stack into a batch; images of several sizes are padded with zeros (background) to the largest."""
    failures = tuple(failure for _, failed in items for failure in failed)
    read = [found for found, _ in items if found is not None]
    if len(read) < len(items):
        return Batch(torch.empty(0), torch.empty(0), (), failures)
    images, masks, ids, cases = zip(*read, strict=True)
    size = tuple(max(sides) for sides in zip(*(image.shape[1:] for image in images), strict=True))
    filled = [_fill(image, size) for image in images], [_fill(mask, size) for mask in masks]
    return Batch(torch.from_numpy(np.stack(filled[0])), torch.from_numpy(np.stack(filled[1])), ids, failures, cases)


def _fill(array: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    lead = array.ndim - len(size)
    missing = [(0, want - own) for own, want in zip(array.shape[lead:], size, strict=True)]
    return np.pad(array, [(0, 0)] * lead + missing) if any(after for _, after in missing) else array
