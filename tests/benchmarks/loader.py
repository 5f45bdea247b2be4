"""What reading costs: images/s of segkit's loader alone, from the cache, for several numbers of worker processes.

Two references of the same run, in batches of the same size:

    memory   a plain torch DataLoader over the same arrays in memory, with as many workers
    numpy    np.load of the same files and np.stack, in one process

Loader and memory take turns, epoch by epoch; the first epoch, in which workers start, is left out.

    python tests/benchmarks/loader.py --workers 0,1,2,4 --batch-sizes 8,32
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from phantoms import Setup, numbers, parser, setup_of
from torch.utils.data import DataLoader, TensorDataset

from segkit.data.cache import Cached, fill_cache
from segkit.training.loader import TrainingItems, loader
from segkit.training.order import Order
from segkit.training.setup import cache_recipe


@dataclass(frozen=True)
class Speed:
    """Images per second of the loader and of its references."""

    batch_size: int
    workers: int
    segkit: float
    memory: float
    numpy: float

    def __str__(self) -> str:
        own = f"batch {self.batch_size:>3}, {self.workers} workers: {self.segkit:8.0f} images/s"
        memory = f"{self.segkit / self.memory:.2f} of a DataLoader over memory ({self.memory:.0f})"
        return f"{own}, {memory}, {self.segkit / self.numpy:.2f} of numpy ({self.numpy:.0f})"


def seconds_of(batches: Iterable[Any]) -> float:
    """Of going through all batches once."""
    started = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - started


def read_with_numpy(cases: Sequence[Cached], batch_size: int) -> Iterator[tuple[Any, Any]]:
    for start in range(0, len(cases), batch_size):
        some = cases[start : start + batch_size]
        yield np.stack([np.load(case.image) for case in some]), np.stack([np.load(case.mask) for case in some])


def measure(cases: Sequence[Cached], batch_size: int, workers: int, epochs: int, pin: bool) -> Speed:
    """Loader and references for one batch size and number of workers."""
    arrays = [case.load() for case in cases]
    held = TensorDataset(*(torch.from_numpy(np.stack(kind)) for kind in zip(*arrays, strict=True)))
    shared: dict[str, Any] = {"num_workers": workers, "pin_memory": pin, "persistent_workers": workers > 0}
    memory = DataLoader(held, batch_size=batch_size, shuffle=True, **shared)
    order = Order(len(cases), batch_size, seed=0)
    own = loader(TrainingItems(cases, patch=None, seed=0), order, workers, pin)
    taken: dict[str, list[float]] = {"segkit": [], "memory": [], "numpy": []}
    for epoch in range(epochs + 1):
        order.epoch = epoch
        taken["segkit"].append(seconds_of(own))
        taken["memory"].append(seconds_of(memory))
        taken["numpy"].append(seconds_of(read_with_numpy(cases, batch_size)))
    speeds = {name: len(cases) / statistics.median(seconds[1:]) for name, seconds in taken.items()}
    return Speed(batch_size, workers, **speeds)


def throughput(
    setup: Setup, batch_sizes: Sequence[int], workers: Sequence[int], epochs: int, pin: bool = False
) -> Iterator[Speed]:
    """Each batch size with each number of workers, over the same cached phantoms."""
    config, dataset = setup.record()
    cases = fill_cache(cache_recipe(config, dataset), dataset.cases)
    for batch_size in batch_sizes:
        for number in workers:
            yield measure(cases, batch_size, number, epochs, pin)


def main() -> None:
    options = parser(__doc__, size=256, cases=256, epochs=5, workers="0,1,2", batch_sizes="8,32")
    words = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SEGKIT_CACHE"] = str(Path(folder))
        print(f"torch {torch.__version__}, {os.cpu_count()} cores, {words.cases} RGB images of {words.size} x {words.size}")
        setup = setup_of(words, workers=None)
        for speed in throughput(setup, numbers(words.batch_sizes), numbers(words.workers), words.epochs):
            print(speed, flush=True)


if __name__ == "__main__":
    main()
