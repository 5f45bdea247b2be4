"""How much memory a training step needs: what fits, and what to say when it does not."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil
import torch

from segkit import distributed
from segkit.errors import SegkitError, first_line
from segkit.models.build import OutOfMemoryError
from segkit.models.cost import count_activations, size_seen
from segkit.training.augmentation.augment import augment
from segkit.training.components import TrainingComponents

logger = logging.getLogger(__name__)

MARGIN = 0.8  # of the memory that is free
WORDS = "can't allocate memory"  # torch's own, on CPUs


def in_use(device: torch.device) -> int:
    """Bytes in use: on a GPU the peak so far, on a CPU what this process holds now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def free(device: torch.device) -> int:
    """Bytes that are left."""
    return int(torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available)


def estimate(components: TrainingComponents, size: Sequence[int], batch: int) -> int | None:
    """Bytes of a training step in float32: weights, gradients, optimiser, activations; None where nothing counts them."""
    config, weights = components.config, sum(one.numel() * one.element_size() for one in components.eval_model.parameters())
    task = replace(components.task, dims=config.dims)
    try:
        seen = size_seen(config.model, config.dims, size)
        checkpointed = config.train.checkpointing
        pair = count_activations(config.model, task, seen, batch=2, training=True, checkpointed=checkpointed)
    except SegkitError:
        return None
    return 4 * weights + pair * batch // 2


@contextmanager
def step_errors(components: TrainingComponents, shape: Sequence[int]) -> Iterator[None]:
    """Turn running out of memory in a step into an error with an estimate and what helps; likewise a missing kernel."""
    try:
        yield
    except (OutOfMemoryError, RuntimeError) as error:
        if "deterministic implementation" in str(error):
            raise SegkitError(f"--deterministic: {first_line(error)}", "Leave it out, or take another model.") from error
        if not isinstance(error, (OutOfMemoryError, torch.OutOfMemoryError)) and WORDS not in str(error):
            raise
        batch, device = shape[0], components.device
        needed = estimate(components, shape[2:], batch)
        about = f" It needs about {needed / 1e9:.1f} GB in float32;" if needed else ""
        raise OutOfMemoryError(
            f"The memory of {device} is too small for a batch of {batch} "
            f"of shape {tuple(shape[1:])}.{about} {free(device) / 1e9:.1f} GB are free.",
            f"What needs less: {', '.join(remedies(components, batch))}.",
        ) from error


def what_is_seen(components: TrainingComponents) -> str:
    """What a batch is made of, in a word: patches, or images or volumes as a whole."""
    patches = components.config.preprocess.fit == "patch"
    return "patch" if patches else "volume" if components.config.dims == 3 else "image"


def remedies(components: TrainingComponents, batch: int) -> list[str]:
    """What may be typed so that a step needs less memory, with the values of now; what is done already is left out."""
    config, spec = components.config, components.config.model.spec
    size = config.preprocess.size
    found = [f"--batch-size auto (or less than {batch})"] if batch > 1 else []
    if isinstance(size, tuple):
        shown = " x ".join(map(str, size))
        found.append(f"-o preprocess.size=N, the {what_is_seen(components)} size (now {shown})")
    else:
        found.append("-o preprocess.fit=patch -o preprocess.size=N, windows of a size")
    if "mixed-precision" in spec.supports and components.accelerator.mixed_precision == "no":
        found.append("--precision bf16")
    if "checkpointing" in spec.supports and not config.train.checkpointing:
        found.append("-o train.checkpointing=true")
    if width := getattr(config.model.options, "width", None):  # None: left to the model
        found.append(f"-o model.width=N (now {width})")
    return [*found, "-o train.accumulate=N makes up for a smaller batch"] if batch > 1 else found


def check_memory(components: TrainingComponents, size: Sequence[int], batch: int) -> None:
    """Refuse a step that a CPU's memory is too small for: where it runs out, a system kills instead of refusing.

    Raises:
        torch.OutOfMemoryError: its estimate is more than is free.
    """
    if components.device.type == "cpu":
        share = MARGIN * free(components.device) / distributed.local_world_size()
        if (estimate(components, size, batch) or 0) > share:
            raise torch.OutOfMemoryError(WORDS)


def trial_step(components: TrainingComponents, images: torch.Tensor, masks: torch.Tensor, number: int) -> None:
    """A training step that is only tried: augmentation, forward, backward and optimiser.

    Args:
        components: whose weights it changes.
        images, masks: (B, C, *S) and (B, *S) or (B, K, *S).
        number: of the step, which draws its augmentation.
    """
    model = components.accelerator.unwrap_model(components.model).train()  # alone: processes may try different sizes
    ids = [str(place) for place in range(len(images))]
    try:
        inputs, truth = augment(
            images.to(components.device), masks.to(components.device), components.config.augment, 0, number, ids
        )
        targets = components.targets(truth)
        loss = components.loss(components.levels(inputs, model), targets)
        components.backward(loss)
        components.optimizer.step()
    finally:
        components.optimizer.zero_grad(set_to_none=True)
