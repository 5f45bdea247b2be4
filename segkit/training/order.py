"""In which order items are trained on: shuffled from the seed, the same for any number of workers and processes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

Index = tuple[int, int, int]  # item, epoch, and how often the item was drawn in it before


class Order(Sampler[list[Index]]):
    """Batches of one epoch: one pass over all items, or a given number of steps.

    A pass is shuffled from the seed and its number. Where an epoch is one pass, a trailing batch of one joins its
    predecessor: batch norm at 1x1 needs two values. Where processes share the batches, one of fewer than two for each of
    them does.

    >>> [len(batch) for batch in Order(9, 4, seed=None)]
    [4, 5]

    Where it is a number of steps, the epochs cut an endless stream of passes into batches that are all full; an item that a
    batch holds from the end of one pass is not taken for it from the beginning of the next one, if there are enough others.

    >>> order = Order(3, 2, seed=None, steps=2)
    >>> [[item for item, *_ in batch] for batch in order]
    [[0, 1], [2, 0]]
    >>> order.epoch = 2
    >>> [[item for item, *_ in batch] for batch in order]
    [[1, 2], [0, 1]]

    Args:
        count: items.
        batch_size: items of a batch, over all processes.
        seed: of the order; None leaves the items in theirs.
        pools: items that hold a class, one list for each class.
        foreground: share of an epoch that is drawn from the pools, each as often; the rest is drawn from all items.
        rank, processes: whose share of each batch this is.
        steps: of an epoch; None: one pass.

    Attributes:
        epoch: whose batches these are, counted from 1.
        start: batches of it that are done already.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None,
        pools: Sequence[Sequence[int]] = (),
        foreground: float = 0.0,
        rank: int = 0,
        processes: int = 1,
        steps: int | None = None,
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.pools, self.foreground = [pool for pool in pools if pool], foreground
        self.rank, self.processes, self.steps = rank, processes, steps
        self.epoch, self.start = 1, 0

    def __iter__(self) -> Iterator[list[Index]]:
        return iter(self.batches()[self.start :])

    def batches(self) -> list[list[Index]]:
        """All of the epoch, as far as they are this process'."""
        drawn, batches, begin, times = self._drawn(), list[list[Index]](), 0, Counter[int]()
        indices = []
        for index in drawn:
            indices.append((index, self.epoch, times[index]))
            times[index] += 1
        for step in range(len(self)):
            whole = indices[begin : begin + self.cases(step)]
            begin += len(whole)
            # a process whose share is empty takes part all the same, with a case that weighs nothing
            batches.append(whole[self.rank :: self.processes] or whole[:1])
        return batches

    def __len__(self) -> int:
        if self.steps is not None:
            return self.steps
        full, rest = divmod(self.count, self.batch_size)
        return max(1, full + (0 < min(2 * self.processes, self.batch_size) <= rest))

    @property
    def total(self) -> int:
        """Items of an epoch, over all processes; what is drawn twice counts twice."""
        return self.count if self.steps is None else self.steps * self.batch_size

    def cases(self, step: int) -> int:
        """Of the batch, over all processes."""
        last = step == len(self) - 1
        return self.total - step * self.batch_size if last else self.batch_size

    def weight(self, step: int) -> float:
        """What this process' mean loss counts in the mean over the processes, so that each case counts the same."""
        own = len(range(self.rank, self.cases(step), self.processes))
        return own * self.processes / self.cases(step)

    def _drawn(self) -> list[int]:
        """The items of the epoch, in order."""
        if self.steps is None:
            indices, draw = self._shuffled(self.epoch)
            return self._with_foreground(indices, draw)
        begin = (self.epoch - 1) * self.total  # of the stream
        first, last = begin // self.count + 1, (begin + self.total - 1) // self.count + 1
        # what is put off may reach the end of a pass that is shorter than two batches: such a one hangs on all before it
        start = max(1, first - 1) if self.count >= 2 * self.batch_size else 1
        before, stream = list[int](), list[int]()
        for number in range(start, last + 1):
            indices, draw = self._shuffled(number)
            before = self._apart(indices, before[len(before) - (number - 1) * self.count % self.batch_size :])
            if number >= first:
                stream += self._with_foreground(before, draw)
        return stream[begin - (first - 1) * self.count :][: self.total]

    def _shuffled(self, number: int) -> tuple[list[int], random.Random]:
        """A pass, counted from 1, and its random numbers after that."""
        indices, draw = list(range(self.count)), random.Random(f"{self.seed}/{number}")
        if self.seed is not None:
            draw.shuffle(indices)
        return indices, draw

    def _apart(self, indices: list[int], shared: list[int]) -> list[int]:
        """A pass whose first items fill up the batch that holds `shared`: of these, none is among them."""
        room, held = self.batch_size - len(shared), set(shared)
        if not held or self.count < self.batch_size:
            return indices
        others = [index for index in indices if index not in held]
        head = set(others[:room])
        return others[:room] + [index for index in indices if index not in head]

    def _with_foreground(self, indices: list[int], draw: random.Random) -> list[int]:
        if self.seed is None or not self.pools or not self.foreground:
            return indices
        return [draw.choice(draw.choice(self.pools)) if draw.random() < self.foreground else index for index in indices]
