"""Where a model runs: the device that a name means, and the memory layout that suits it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segkit import distributed
from segkit.errors import UsageError
from segkit.specs import ModelSpec


def to_device(model: nn.Module, device: torch.device, dims: int, spec: ModelSpec) -> nn.Module:
    """Move a model; 2D convolutions are faster with channels last."""
    if dims != 2 or "channels-last" not in spec.supports:
        return model.to(device)
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def layout(images: Tensor, spec: ModelSpec) -> Tensor:
    if images.ndim != 4 or "channels-last" not in spec.supports:
        return images
    return images.contiguous(memory_format=torch.channels_last)


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
