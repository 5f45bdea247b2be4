"""What a training step costs on this machine: a few real ones, on random images, in each precision and memory layout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch

from segkit import distributed
from segkit.config.complete import Config
from segkit.models.device import choose_device
from segkit.task import Task
from segkit.training.components import TrainingComponents, assemble
from segkit.training.memory import step_errors, trial_step

REPEATED = 3  # timed steps of a trial, after one that warms up
CLEARLY = 0.95  # share of the time of the usual way from which on another one is taken


@dataclass(frozen=True)
class Trial:
    """One way to train, and what it costs.

    Args:
        precision, layout: as `train.precision` and `train.layout` take them.
        step_seconds: of a training step, the median of some.
        forward_seconds: of a batch without gradients, as in validation.
    """

    precision: str
    layout: str
    step_seconds: float
    forward_seconds: float


def measure(config: Config, task: Task) -> Trial:
    """Time steps of a training as configured; precision and layout must be chosen.

    Args:
        config: complete.
        task: of the data.

    Raises:
        OutOfMemoryError: the batch does not fit.
    """
    device, batch = choose_device(config.train.device), max(1, (config.train.batch_size or 1) // distributed.world_size())
    components = assemble(config, task, device, alone=True)
    size = config.preprocess.size
    assert isinstance(size, tuple)
    images = torch.randn(batch, task.channels, *size)
    layers = (len(task.classes) - 1,) if task.mode == "multilabel" else ()
    masks = torch.randint(0, 2, (batch, *layers, *size), dtype=torch.int32)
    with step_errors(components, images.shape):
        times = list(_timed(components, images, masks))
    found = Trial(config.train.precision, config.train.layout, median(times[1:]), _forward_seconds(components, images))
    return distributed.broadcast_object(found)  # all decide alike


def compare(config: Config, task: Task) -> list[Trial]:
    """A trial of every precision and layout that was left open and that the model supports, the usual one first."""
    spec, train = config.model.spec, config.train
    half = ("bf16",) if "mixed-precision" in spec.supports else ()
    precisions = ("fp32", *half) if train.precision == "auto" else (train.precision,)
    last = ("channels-last",) if "channels-last" in spec.supports else ()
    layouts = (*last, "contiguous") if train.layout == "auto" else (train.layout,)
    ways = [(precision, layout) for precision in precisions for layout in layouts]
    return [measure(replace(config, train=replace(train, precision=one, layout=two)), task) for one, two in ways]


def fastest(trials: list[Trial]) -> Trial:
    """The first of the trials, or one that is clearly faster."""
    best = min(trials, key=lambda trial: trial.step_seconds)
    return best if best.step_seconds < CLEARLY * trials[0].step_seconds else trials[0]


def _timed(components: TrainingComponents, images: torch.Tensor, masks: torch.Tensor) -> Iterator[float]:
    for number in range(1 + REPEATED):
        began = time.perf_counter()
        trial_step(components, images, masks, number)
        _wait(components.device)
        yield time.perf_counter() - began


def _forward_seconds(components: TrainingComponents, images: torch.Tensor) -> float:
    model = components.eval_model.eval()
    began = time.perf_counter()
    with torch.inference_mode(), components.accelerator.autocast():
        components.logits(images.to(components.device), model)
    _wait(components.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
