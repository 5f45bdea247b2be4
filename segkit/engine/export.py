"""A trained network in another runtime's form, with a free batch size: ONNX or torch.export.

Writing is all that happens here; whoever calls it compares the artefact with the network.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from segkit.errors import UsageError
from segkit.files import replacing
from segkit.specs import FORMATS, ModelSpec

LARGEST_BATCH = 4096


def check_format(spec: ModelSpec, format: str) -> None:
    """Refuse a format that a model does not declare. Raises UsageError."""
    if format not in spec.exports:
        words = f"These work: {', '.join(spec.exports)}." if spec.exports else "It declares no format at all."
        known = "" if format in FORMATS else f" (known are {', '.join(FORMATS)})"
        raise UsageError(f"The model {spec.name!r} cannot be exported as {format!r}{known}.", words)


def write(model: nn.Module, images: Tensor, format: str, path: Path) -> None:
    """Write a network in eval mode as one file.

    Args:
        model: on the CPU; stays as it is.
        images: (B, C, *S) with B of at least 2: an example, whose size is kept and whose B becomes free.
        format: one of `FORMATS` that the model's spec declares.
        path: to write; must end as `FORMATS` says.
    """
    free = ({0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)},)
    model = _fixed(copy.deepcopy(model))
    with torch.no_grad(), replacing(path) as temporary:
        if format == "torch-export":
            torch.export.save(torch.export.export(model, (images,), dynamic_shapes=free), temporary)
            return
        program = torch.onnx.export(model, (images,), dynamo=True, dynamic_shapes=free, verbose=False)
        assert program is not None, "the dynamo exporter returns a program"
        program.save(str(temporary), external_data=False)


def _fixed(module: nn.Module) -> nn.Module:
    """A part that has a method `for_export` gives what takes its place once weights no longer change."""
    if hasattr(module, "for_export"):
        return module.for_export()  # type: ignore[operator, no-any-return]
    for name, child in module.named_children():
        setattr(module, name, _fixed(child))
    return module
