"""What models cost to run, side by side: timed in alternating rounds, so that a slow moment affects all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from segkit import reporter
from segkit.config.resolve import Choice
from segkit.errors import SegkitError, UsageError
from segkit.models.build import build_model, plugin_errors
from segkit.models.cost import count_activations, count_flops, count_parameters, size_seen
from segkit.models.device import choose_device, layout, to_device
from segkit.task import Task
from segkit.words import counted

WARM_UP = 2  # forward passes before the first that counts
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Entry:
    """One model at one batch size.

    Args:
        model: its name.
        batch, size: of the images it sees.
        latency_ms, low_ms, high_ms: median and quartiles over the rounds of one forward pass.
        images_per_second: at the median.
        parameters: of the model.
        flops: of one image, two for each multiply-add.
        peak_bytes: weights and activations; measured on a GPU, counted on a CPU.
    """

    model: str
    batch: int
    size: tuple[int, ...]
    latency_ms: float
    low_ms: float
    high_ms: float
    images_per_second: float
    parameters: int
    flops: int
    peak_bytes: int


def benchmark_models(
    models: Sequence[tuple[Choice, Task]],
    size: Sequence[int],
    batches: Sequence[int],
    device: str,
    precision: str,
    rounds: int,
) -> list[Entry]:
    """Time forward passes of freshly made models.

    Args:
        models: each with the task it is made for.
        size: one number per axis, or one for all.
        batches: images at a time.
        device: as --device.
        precision: fp32, bf16 or fp16.
        rounds: in each, every model runs once at every batch size.

    Raises:
        UsageError: a device or precision that cannot be used.
    """
    place = choose_device(device)
    if precision not in PRECISIONS or (precision == "fp16" and place.type == "cpu"):
        raise UsageError(f"--precision {precision} cannot be used on {place}.", "Allowed: fp32, bf16, and on GPUs fp16.")
    contenders = [_contender(choice, task, size, batch, place) for choice, task in models for batch in batches]
    seconds: list[list[float]] = [[] for _ in contenders]
    with reporter.progress("benchmark", rounds * len(contenders)) as bar:
        for number in range(WARM_UP + rounds):
            for contender, own in zip(contenders, seconds, strict=True):
                elapsed = _time(contender, PRECISIONS[precision])
                if number >= WARM_UP:
                    own.append(elapsed)
                    bar.advance()
    return [_entry(contender, own, PRECISIONS[precision]) for contender, own in zip(contenders, seconds, strict=True)]


def machine(device: str) -> dict[str, str]:
    """The machine that the figures are of, and how memory was determined."""
    place = choose_device(device)
    if place.type == "cuda":
        return {"device": torch.cuda.get_device_name(place), "memory": "measured", "torch": torch.__version__}
    name = f"{place} ({torch.get_num_threads()} threads)" if place.type == "cpu" else str(place)
    return {"device": name, "memory": "counted", "torch": torch.__version__}


@dataclass(frozen=True)
class Contender:
    """A model on its device, and the images it is given."""

    choice: Choice
    task: Task
    model: nn.Module
    images: Tensor


def _contender(choice: Choice, task: Task, size: Sequence[int], batch: int, place: torch.device) -> Contender:
    model = to_device(build_model(choice, task, task.dims), place, task.dims, choice.spec).eval()
    sides = size_seen(choice, task.dims, size)
    try:
        images = torch.rand(batch, task.channels, *sides, device=place)
    except RuntimeError as error:
        raise SegkitError(
            f"The memory is too small for {counted(batch, 'image')} of size {sides}.", "Smaller: --size, --batch."
        ) from error
    return Contender(choice, task, model, layout(images, choice.spec))


def _time(contender: Contender, dtype: torch.dtype) -> float:
    """Seconds of one forward pass."""
    images = contender.images
    started = time.perf_counter()
    autocast = torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32)
    with plugin_errors(contender.choice.name, images), torch.inference_mode(), autocast:
        contender.model(images)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - started


def _entry(contender: Contender, seconds: Sequence[float], dtype: torch.dtype) -> Entry:
    batch, sides = len(contender.images), tuple(contender.images.shape[2:])
    low, median, high = statistics.quantiles(seconds if len(seconds) > 1 else [*seconds, *seconds], n=4, method="inclusive")
    return Entry(
        model=contender.choice.spec.name,
        batch=batch,
        size=sides,
        latency_ms=1000 * median,
        low_ms=1000 * low,
        high_ms=1000 * high,
        images_per_second=batch / median,
        parameters=count_parameters(contender.choice, contender.task)["parameters"],
        flops=count_flops(contender.choice, contender.task, sides),
        peak_bytes=_peak_bytes(contender, dtype),
    )


def _peak_bytes(contender: Contender, dtype: torch.dtype) -> int:
    model, images = contender.model, contender.images
    weights = sum(int(tensor.nbytes) for tensor in model.state_dict().values())
    if not images.is_cuda:
        return weights + count_activations(contender.choice, contender.task, tuple(images.shape[2:]), len(images))
    before = torch.cuda.memory_allocated(images.device)
    torch.cuda.reset_peak_memory_stats(images.device)
    _time(contender, dtype)
    return weights + int(torch.cuda.max_memory_allocated(images.device)) - int(before)
