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


class Order(Sampler[list[int]]):
    """Index lists of one epoch. A trailing batch of one joins its predecessor: batch norm at 1x1 needs two values.

    >>> [len(batch) for batch in Order(9, 4, seed=None)]
    [4, 5]
    """

    def __init__(self, count: int, batch_size: int, seed: int | None) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        indices = list(range(self.count))
        if self.seed is not None:
            random.Random(f"{self.seed}/{self.epoch}").shuffle(indices)
        batches = [indices[start : start + self.batch_size] for start in range(0, self.count, self.batch_size)]
        if self.batch_size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [batches[-2] + batches[-1]]
        return iter(batches)

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size)
        return max(1, full + (rest > 1 or (rest == 1 and self.batch_size == 1)))


Item = tuple[NDArray[Any], NDArray[Any], str]


class CachedCases(torch.utils.data.Dataset[Item]):
    """Map-style view of cached cases."""

    def __init__(self, cases: Sequence[Cached]) -> None:
        self.cases = cases

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        cached = self.cases[index]
        image, mask = cached.load()
        return image, mask, cached.case.id


def loader(cases: Sequence[Cached], order: Order, workers: int, pin: bool) -> DataLoader[Batch]:
    return DataLoader(
        CachedCases(cases),  # type: ignore[arg-type]
        batch_sampler=order,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # its own, so that the number of workers never shifts torch's random state
    )


def _collate(items: Sequence[Item]) -> Batch:
    images, masks, ids = zip(*items, strict=True)
    return Batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), ids)
