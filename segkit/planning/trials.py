"""What a training step costs on this machine: a few real ones, on random images, in each precision and memory layout."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from statistics import median

import torch

from segkit import distributed
from segkit.config.complete import Config
from segkit.models.build import OutOfMemoryError
from segkit.models.device import choose_device
from segkit.task import Task
from segkit.training.components import TrainingComponents, assemble
from segkit.training.memory import check_memory, step_errors, trial_step

WARMING = 2  # steps of a trial that are not counted: they fill caches
REPEATED = 20  # timed steps of a trial at most
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


def measure(config: Config, task: Task, size: tuple[int, ...], most: float = math.inf) -> Trial:
    """Time steps of a training as configured; precision and layout must be chosen.

    Args:
        config: complete.
        task: of the data.
        size: of the images.
        most: seconds after which no further step is begun; one is timed at least.

    Raises:
        OutOfMemoryError: the batch does not fit.
    """
    device, batch = choose_device(config.train.device), max(1, (config.train.batch_size or 1) // distributed.world_size())
    components = assemble(config, task, device, alone=True)
    images = torch.randn(batch, task.channels, *size)
    layers = (len(task.classes) - 1,) if task.mode == "multilabel" else ()
    masks = torch.randint(0, 2, (batch, *layers, *size), dtype=torch.int32)
    failure: OutOfMemoryError | None = None
    times = forward = 0.0
    try:
        with step_errors(components, images.shape):
            check_memory(components, size, batch)
            times, forward = _timed(components, images, masks, most), _forward_seconds(components, images)
    except OutOfMemoryError as error:
        failure = error
    found = distributed.all_gather((times, forward, failure))  # all decide alike
    if too_large := next((theirs for _, _, theirs in found if theirs is not None), None):
        raise failure or OutOfMemoryError(too_large.message, too_large.hint)
    return Trial(config.train.precision, config.train.layout, *found[0][:2])


def compare(config: Config, task: Task, size: tuple[int, ...], most: float = math.inf) -> list[Trial]:
    """Trials of the precisions that were left open and that the model supports, then of the other layout with the faster.

    Args:
        config: complete.
        task: of the data.
        size: of the images.
        most: seconds for all of it, about.
    """
    spec, train = config.model.spec, config.train
    half = ("bf16",) if "mixed-precision" in spec.supports else ()
    precisions = ("fp32", *half) if train.precision == "auto" else (train.precision,)
    usual, other = ("channels-last", "contiguous") if config.dims == 2 else ("contiguous", "channels-last")
    if "channels-last" not in spec.supports:
        usual, other = "contiguous", ""
    first = usual if train.layout == "auto" else train.layout

    def tried(precision: str, layout: str) -> Trial:
        settings = replace(train, precision=precision, layout=layout)  # type: ignore[arg-type]
        return measure(replace(config, train=settings), task, size, most / wanted)

    wanted = len(precisions) + (train.layout == "auto" and bool(other))
    trials = [tried(precision, first) for precision in precisions]
    if train.layout == "auto" and other:
        trials.append(tried(fastest(trials).precision, other))
    return trials


def fastest(trials: list[Trial]) -> Trial:
    """The first of the trials, or one that is clearly faster."""
    best = min(trials, key=lambda trial: trial.step_seconds)
    return best if best.step_seconds < CLEARLY * trials[0].step_seconds else trials[0]


def _timed(components: TrainingComponents, images: torch.Tensor, masks: torch.Tensor, most: float) -> float:
    """Seconds of a step, the median of some after those that warm up; the last alone where the time is over."""
    times: list[float] = []
    while len(times) < WARMING + REPEATED and (len(times) < 2 or sum(times) < most):
        began = time.perf_counter()
        trial_step(components, images, masks, len(times))
        _wait(components.device)
        times.append(time.perf_counter() - began)
    return median(times[WARMING:] or times[-1:])


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
