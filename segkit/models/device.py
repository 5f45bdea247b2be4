"""Where a model runs: the device that a name means, and the memory layout that suits it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit import distributed
from segkit.errors import UsageError
from segkit.specs import ModelSpec


def to_device(model: nn.Module, device: torch.device, dims: int, spec: ModelSpec, wanted: str = "auto") -> nn.Module:
    """Move a model, in the memory layout that is wanted (see `memory_format`)."""
    return model.to(device, memory_format=memory_format(dims, spec, wanted))  # type: ignore[call-overload, no-any-return]


def layout(images: Tensor, spec: ModelSpec, wanted: str = "auto") -> Tensor:
    """Images (B, C, *S) in the memory layout that is wanted."""
    return images.contiguous(memory_format=memory_format(images.ndim - 2, spec, wanted))


def memory_format(dims: int, spec: ModelSpec, wanted: str = "auto") -> torch.memory_format:
    """The memory layout for images of so many dimensions.

    Args:
        dims: spatial dimensions, 2 or 3.
        spec: of the model, which must claim channels-last.
        wanted: contiguous, channels-last, or auto: channels last in 2D, where convolutions are nearly always faster with it.
    """
    last = wanted == "channels-last" or (wanted == "auto" and dims == 2)
    if not last or "channels-last" not in spec.supports:
        return torch.contiguous_format
    return torch.channels_last if dims == 2 else torch.channels_last_3d


def choose_device(name: str) -> torch.device:
    """The device that a name means; "auto" takes a GPU if there is one.

    Raises:
        UsageError: unknown, or not on this machine.
    """
    name = distributed.local_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    usable = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    usable += ["mps"] if torch.backends.mps.is_available() else []
    if name not in (*usable, "cuda") or (name == "cuda" and len(usable) == 1):
        raise UsageError(f"--device {name} cannot be used on this machine.", f"Available here: auto, {', '.join(usable)}.")
    return torch.device(name)
