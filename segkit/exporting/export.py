"""A trained network in another runtime's form: ONNX or torch.export, one file, with the header of its weights inside.

What is written is compared with the network before it gets its name (see `parity`); where they differ nothing is left.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from segkit.errors import SegkitError, UsageError, first_line
from segkit.exporting.parity import Floats, Parity, compare, size_of
from segkit.files import replacing
from segkit.inference.onnx_backend import open_session, run_session
from segkit.models.build import padded
from segkit.runs.weights import KEY, Header
from segkit.specs import FORMATS, ModelSpec

LARGEST_BATCH = 4096
LARGEST_FILE = 2_000_000_000  # bytes: a Protocol Buffers message, which an ONNX file is, cannot be larger
BATCHES = (1, 2)


class Half(nn.Module):
    """A network that computes in 16 bits, with inputs and outputs in 32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.half()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.half()).float()  # type: ignore[no-any-return]


def check_format(spec: ModelSpec, format: str) -> None:
    """Refuse a format that a model does not declare. Raises UsageError."""
    if format not in spec.exports:
        words = f"These work: {', '.join(spec.exports)}." if spec.exports else "It claims no format at all."
        known = "" if format in FORMATS else f" (known are {', '.join(FORMATS)})"
        raise UsageError(f"The model {spec.name!r} cannot be exported as {format!r}{known}.", words)


def export_model(model: nn.Module, header: Header, format: str, path: Path, cases: Sequence[Floats], half: bool) -> Header:
    """Write a network and compare the file with it.

    Args:
        model: on the CPU, in eval mode; stays as it is.
        header: of its weights; `export` in it says the fixed size, or None.
        format: one of `FORMATS` that the model's spec declares.
        path: to write; must end as `FORMATS` says.
        cases: (C, *S) normalised, what is compared on.
        half: calculate in 16 bits.

    Returns:
        The header of what was written, with the comparison.

    Raises:
        SegkitError: the network cannot be exported like this, or the file gives other logits or masks.
    """
    fixed, size = header.export["size"] is not None, size_of(header.preprocess, header.dims, header.stride, header.minimum)
    ready = fixed_copy(model)
    ready = Half(ready).eval() if half else ready
    held = sum(tensor.numel() * tensor.element_size() for tensor in ready.state_dict().values())
    if format == "onnx" and held > LARGEST_FILE:
        raise SegkitError(f"These weights take {held:,} bytes; one ONNX file holds {LARGEST_FILE:,}.", "--half")
    larger = tuple(own + 2 * step for own, step in zip(size, header.stride, strict=True))
    sizes = [size] if fixed else [size, larger]
    with replacing(path) as temporary:
        images = torch.zeros(2, header.task.channels, *sizes[-1])
        try:
            program = convert(ready, images, format, None if fixed else header.stride)
            save(program, temporary, header)
        except Exception as error:  # torch's exporters raise errors of many kinds
            words = "" if fixed else " for images of any size"
            raise SegkitError(
                f"{header.model} cannot be exported as {format}{words}: {first_line(error)}",
                "--debug shows more." if fixed else f"Fix the size: --size {','.join(map(str, size))}",
            ) from error
        parity = _compare(model, temporary, format, header, cases, sizes, half)
        header = replace(header, export={**header.export, "torch": torch.__version__, "parity": parity.to_dict()})
        if not parity.holds:
            words = "" if fixed else f" The size may be the cause: --size {','.join(map(str, size))} fixes it."
            raise SegkitError(f"The exported file differs from the model: {parity}.", f"Nothing was written.{words}")
        save(program, temporary, header)
    return header


def convert(model: nn.Module, images: Tensor, format: str, stride: Sequence[int] | None) -> Any:
    """A network in eval mode as a program of torch.export or torch.onnx.

    Args:
        model: from `fixed_copy`.
        images: (B, C, *S) with B of at least 2, an example; B becomes free.
        format: one of `FORMATS`.
        stride: S becomes free too, in multiples of it; None: it stays.
    """
    free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)}
    for axis, step in enumerate(stride or (), start=2):
        steps = torch.export.Dim(f"steps_{axis}", min=1, max=2**20 // step)
        free[axis] = steps if step == 1 else step * steps
    with torch.no_grad():
        if format == "torch-export":
            return torch.export.export(model, (images,), dynamic_shapes=(free,))
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            dynamic_shapes=(free,),
            verbose=False,
            input_names=["images"],
            output_names=["logits"],
        )
    assert program is not None, "the dynamo exporter returns a program"
    return program


def save(program: Any, path: Path, header: Header | None = None) -> None:
    """Write a program as one file, with a header."""
    text = json.dumps(header.to_dict()) if header else ""
    if isinstance(program, torch.export.ExportedProgram):
        torch.export.save(program, path, extra_files={f"{KEY}.json": text})
        return
    program.model.metadata_props[KEY] = text
    program.save(str(path), external_data=False)


def _compare(
    model: nn.Module,
    path: Path,
    format: str,
    header: Header,
    cases: Sequence[Floats],
    sizes: Sequence[Sequence[int]],
    half: bool,
) -> Parity:
    """Run the file in its own runtime beside the model."""
    if format == "onnx":
        session = open_session(path, "cpu")

        def artefact(images: Floats) -> Floats:
            return run_session(session, images, header)
    else:
        loaded = torch.export.load(path).module()

        def artefact(images: Floats) -> Floats:
            with torch.inference_mode():
                return padded(loaded, torch.from_numpy(images), header.stride, header.minimum).numpy()

    def reference(images: Floats) -> Floats:
        with torch.inference_mode():
            return padded(model, torch.from_numpy(images), header.stride, header.minimum).numpy()

    return compare(reference, artefact, cases, sizes, BATCHES, header.task, half)


def fixed_copy(model: nn.Module) -> nn.Module:
    """A copy in which each module with a method `for_export` is replaced by what that method returns."""
    return _replaced(copy.deepcopy(model))


def _replaced(module: nn.Module) -> nn.Module:
    if hasattr(module, "for_export"):
        return module.for_export()  # type: ignore[operator, no-any-return]
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module
