"""Batches of cached cases: seeded order, the same for any number of workers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from segkit.data.cache import Cached


@dataclass(frozen=True)
class Batch:
    """(B, C, *S) float32, (B, *S) int32 (or (B, K, *S)), and whose they are."""

    images: Tensor
    masks: Tensor
    ids: tuple[str, ...]

    def pin_memory(self) -> Batch:
        return Batch(self.images.pin_memory(), self.masks.pin_memory(), self.ids)


Index = tuple[int, int]  # which item, in which epoch
Item = tuple[NDArray[Any], NDArray[Any], str]


class Order(Sampler[list[Index]]):
    """Batches of one epoch. A trailing batch of one joins its predecessor: batch norm at 1x1 needs two values.

    >>> [len(batch) for batch in Order(9, 4, seed=None)]
    [4, 5]
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0
        self.start = 0  # batches of the epoch that are done already

    def __iter__(self) -> Iterator[list[Index]]:
        indices = list(range(self.count))
        if self.seed is not None:
            random.Random(f"{self.seed}/{self.epoch}").shuffle(indices)
        batches = [indices[start : start + self.batch_size] for start in range(0, self.count, self.batch_size)]
        if self.batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]
        return iter([[(index, self.epoch) for index in batch] for batch in batches[self.start :]])

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        return max(1, full + (rest > 1 or (rest == 1 and self.batch_size == 1)))


class TrainingItems(torch.utils.data.Dataset[Item]):
    """What a network is trained on: whole cached cases, each slice of them, or a random patch of each.

    Args:
        cases: from the cache.
        patch: size of a patch, None for whole cases; where it lies is drawn from the seed, the epoch and the case.
        seed: of the run.
    """

    def __init__(self, cases: Sequence[Cached], patch: tuple[int, ...] | None, seed: int) -> None:
        self.patch, self.seed = patch, seed
        self.items: list[tuple[Cached, int | None]] = []
        for cached in cases:
            sliced = cached.geometry.slice_axis is not None
            count = len(cached.load()[0]) if sliced else 1
            self.items += [(cached, number if sliced else None) for number in range(count)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Index) -> Item:
        (cached, number), epoch = self.items[index[0]], index[1]
        image, mask = cached.load()
        id = cached.case.id
        if number is not None:
            image, mask, id = image[number], mask[number], f"{id}/{number:04d}"
        if self.patch is not None:
            image, mask = _cut(image, mask, self.patch, f"{self.seed}/{epoch}/{id}")
        return image, mask, id


def loader(items: TrainingItems, order: Order, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        items,  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # its own, so that the number of workers never shifts torch's random state
    )


def _cut(image: NDArray[Any], mask: NDArray[Any], size: tuple[int, ...], key: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """A patch at a random place; what is smaller than it comes whole."""
    draw = random.Random(key)
    box = []
    for own, window in zip(image.shape[1:], size, strict=True):
        start = draw.randint(0, max(0, own - window))
        box.append(slice(start, start + window))
    whole = (slice(None),) * (mask.ndim - len(box))
    return image[(slice(None), *box)], mask[whole + tuple(box)]


def _collate(items: Sequence[Item]) -> Batch:
    """Stack; images of several sizes are filled up with zeros (background) to the largest."""
    images, masks, ids = zip(*items, strict=True)
    size = tuple(max(sides) for sides in zip(*(image.shape[1:] for image in images), strict=True))
    filled = [_fill(image, size) for image in images], [_fill(mask, size) for mask in masks]
    return Batch(torch.from_numpy(np.stack(filled[0])), torch.from_numpy(np.stack(filled[1])), ids)


def _fill(array: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    lead = array.ndim - len(size)
    missing = [(0, want - own) for own, want in zip(array.shape[lead:], size, strict=True)]
    return np.pad(array, [(0, 0)] * lead + missing) if any(after for _, after in missing) else array
