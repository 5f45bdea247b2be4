"""Training steps as `segkit train` takes them, from its own pieces: how fast, and where a step's time goes.

waiting for data   transfer   augmentation   forward (and loss)   backward   optimiser   counting
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from clock import Clock, synchronise
from phantoms import Setup
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from segkit.data.cache import fill_cache
from segkit.models.device import choose_device
from segkit.training.augmentation.augment import augment
from segkit.training.components import TrainingComponents, assemble
from segkit.training.loader import Batch, TrainingItems, loader
from segkit.training.order import Order
from segkit.training.running_metrics import RunningCounts
from segkit.training.setup import cache_recipe, workers_of

NETWORK = ("forward", "backward")
NO_KERNELS = ("Memcpy", "Memset", "Optimizer.", "ProfilerStep")  # what else a profile of the device holds
Timed = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """For steps whose parts nobody times."""
    return nullcontext()


@dataclass(frozen=True)
class Measured:
    """What was found of one training.

    Args:
        images_per_second: of the training, its data read from the cache.
        workers: that read the data.
        alone: images per second of the network alone, trained on one batch that stays on the device.
        split: milliseconds of each part of a step, the device waited for after each: their sum is more than a step.
        busy: percent of the time in which a kernel runs on the device; None where no profiler sees any.
        nvml: percent of the last moments in which a kernel ran, as the driver counts; None where NVML is missing.
    """

    images_per_second: float
    workers: int
    alone: float
    split: dict[str, float]
    busy: float | None
    nvml: float | None

    def slowest(self, besides: tuple[str, ...] = ()) -> str:
        """The part of a step that takes longest, these left out."""
        return max((name for name in self.split if name not in besides), key=self.split.__getitem__)


class Training:
    """A training that goes on for as long as it is measured."""

    def __init__(self, setup: Setup) -> None:
        config, dataset = setup.record()
        self.parts: TrainingComponents = assemble(config, dataset.task, choose_device(setup.device))
        self.parts.model.train()
        items = TrainingItems(fill_cache(cache_recipe(config, dataset), dataset.cases), patch=None, seed=0)
        self.order = Order(len(items), setup.batch_size, seed=0)
        pin = self.parts.device.type == "cuda"
        self.batches: DataLoader[Batch] = loader(items, self.order, workers_of(config.train, self.parts.device), pin)

    def epoch(self, timed: Timed = untimed) -> int:
        """All batches once; returns how many images there were. The device may still be at work."""
        self.order.epoch += 1
        counts, images, batches = RunningCounts(self.parts.task), 0, iter(self.batches)
        for _ in range(len(self.order)):
            with timed("waiting for data"):
                batch = next(batches)
            take_step(self.parts, batch, self.order.epoch, counts, timed)
            images += len(batch.images)
        return images

    def held(self) -> Batch:
        """A batch on the device."""
        batch, device = next(iter(self.batches)), self.parts.device
        return Batch(batch.images.to(device), batch.masks.to(device), batch.ids)


def take_step(parts: TrainingComponents, batch: Batch, epoch: int, counts: RunningCounts, timed: Timed) -> Tensor:
    """One step of `training.epoch`, part by part; returns the logits."""
    settings = parts.config
    with timed("transfer"):
        images = batch.images.to(parts.device, non_blocking=True)
        masks = batch.masks.to(parts.device, non_blocking=True)
    with timed("augmentation"):
        images, masks = augment(images, masks, settings.augment, settings.train.seed, epoch, batch.ids)
    with timed("forward"):
        logits = parts.logits(images)
        loss = parts.criterion(logits, masks)
    with timed("backward"):
        parts.accelerator.backward(loss)
    with timed("optimiser"):
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
    with timed("counting"):
        counts.add(logits.detach(), masks)
    return logits.detach()


def measure(setup: Setup, window: float) -> Measured:
    """Each figure over about `window` seconds, after an epoch that warms up.

    Raises:
        SegkitError, RuntimeError: the device or the compiler refuses.
    """
    torch.compiler.reset()
    training = Training(setup)
    device = training.parts.device
    training.epoch()
    speed, nvml = _speed(training.epoch, device, window)
    steps = len(training.order)
    alone, _ = _speed(_alone(training.parts, training.held()), device, window)
    kernels = _kernel_seconds(training) if device.type == "cuda" else 0.0
    busy = min(100.0, 100 * kernels * speed / setup.cases) if kernels else None
    clock, epochs, began = Clock(device), 0, time.perf_counter()
    while not epochs or time.perf_counter() - began < window:
        training.epoch(clock.part)
        epochs += 1
    split = {name: 1000 * seconds / (epochs * steps) for name, seconds in clock.seconds.items()}
    return Measured(speed, training.batches.num_workers, alone, split, busy, nvml)


def _alone(parts: TrainingComponents, batch: Batch) -> Callable[[], int]:
    def step() -> int:
        parts.accelerator.backward(parts.criterion(parts.logits(batch.images), batch.masks))
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
        return len(batch.images)

    return step


def _speed(work: Callable[[], int], device: torch.device, window: float) -> tuple[float, float | None]:
    """Images per second, and what NVML says while the device is still at work."""
    synchronise(device)
    images, started = 0, time.perf_counter()
    while not images or time.perf_counter() - started < window:
        images += work()
    nvml = _utilisation(device)
    synchronise(device)
    return images / (time.perf_counter() - started), nvml


def _utilisation(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # the module may be missing, and its own errors cannot be named then
        return None


def _kernel_seconds(training: Training) -> float:
    """Seconds of an epoch in which at least one kernel runs; the profiler slows Python down, but not the kernels."""
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        training.epoch()
        synchronise(training.parts.device)
    return sum(stop - start for start, stop in _merged(sorted(_kernels(profiled.events() or [])))) / 1e6


def _kernels(events: Any) -> Iterator[tuple[float, float]]:
    """Start and end of each kernel, microseconds."""
    for event in events:
        if event.device_type != DeviceType.CUDA or event.name.startswith(NO_KERNELS):
            continue
        if not getattr(event, "is_user_annotation", False):
            yield event.time_range.start, event.time_range.end


def _merged(spans: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Sorted spans, those that overlap made one.

    >>> list(_merged([(0, 2), (1, 3), (5, 6)]))
    [(0, 3), (5, 6)]
    """
    held: tuple[float, float] | None = None
    for start, stop in spans:
        if held is not None and start <= held[1]:
            held = held[0], max(held[1], stop)
            continue
        if held is not None:
            yield held
        held = start, stop
    if held is not None:
        yield held
