"""How large a model is, counted on torch's meta device: no memory, no initialisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from segkit.config import Choice, gather
from segkit.engine.backends import build_model
from segkit.options import build, plain
from segkit.plugins import Found
from segkit.task import Task


def count_parameters(found: Found, channels: int, outputs: int, assignments: Sequence[str]) -> dict[str, Any]:
    """Parameters, and floating-point values in buffers (batch-norm statistics), for given channels and outputs.

    Args:
        outputs: channels of the logits; 1 means a binary task.
        assignments: `model.KEY=VALUE` texts.
    """
    spec = found.spec
    values = gather({}, {}, assignments, ("model",)).get("model", {})
    options = build(spec.options, values, "model")
    classes = tuple(f"class-{index}" for index in range(max(2, outputs)))
    mode = "binary" if outputs == 1 else "multiclass"
    task = Task(channels, ("background", *classes[1:]), dims=spec.dims[0], mode=mode, kind=spec.kind)  # type: ignore[arg-type]
    with torch.device("meta"):
        model = build_model(Choice(found, options), task, task.dims)
    return {
        "channels": channels,
        "outputs": outputs,
        "with": plain(options),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "buffers": sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point()),
    }
