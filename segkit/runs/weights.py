"""model.safetensors: the only form in which weights are written or read, with a header that says all about them.

The header is JSON inside the safetensors metadata, so `read_header` needs neither torch nor numpy. It names a registered
spec, never an import path. Nothing here unpickles.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit import __version__
from segkit.config.resolve import Choice
from segkit.errors import SegkitError
from segkit.files import replacing
from segkit.options import build, plain
from segkit.runs.onnx_metadata import read_metadata
from segkit.settings import Preprocess
from segkit.task import Task

FORMAT = 1
KEY = "segkit"
LARGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit


@dataclass(frozen=True)
class Header:
    """What a weights file says about itself.

    Args:
        model: full name of the spec, "plugin/name".
        distribution, version: the Python package the model came from.
        options: all options of the model.
        task: the facts of the data it was trained on.
        preprocess: the complete preprocessing settings.
        metrics: validation results of these weights.
        segkit: version that wrote the file.
        stride, minimum: what input sizes the model takes, so that no plugin is needed to know.
        seen: smallest and largest value of the training's images after a fixed scaling, where there is one.
        export: of an exported file: its format, fixed size, and how it compares with the model it was made of.
    """

    model: str
    distribution: str
    version: str
    options: Mapping[str, Any]
    task: Task
    preprocess: Preprocess
    metrics: Mapping[str, float]
    stride: tuple[int, ...]
    minimum: int = 1
    segkit: str = __version__
    seen: tuple[float, float] | None = None
    export: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """Spatial dimensions of the network; one less than the task's where it sees slices of volumes."""
        return len(self.stride)

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "segkit": self.segkit,
            "model": {
                "name": self.model,
                "distribution": self.distribution,
                "version": self.version,
                "options": dict(self.options),
                "stride": list(self.stride),
                "minimum": self.minimum,
            },
            "task": self.task.to_dict(),
            "preprocess": plain(self.preprocess),
            "metrics": dict(self.metrics),
            **({"seen": list(self.seen)} if self.seen else {}),
            **({"export": dict(self.export)} if self.export else {}),
        }


def build_header(
    model: Choice,
    dims: int,
    task: Task,
    preprocess: Preprocess,
    metrics: Mapping[str, float],
    seen: tuple[float, float] | None = None,
) -> Header:
    """The header for weights of a chosen model; `dims` are the network's."""
    plugin = model.found.plugin
    return Header(
        model.name,
        plugin.distribution,
        plugin.version,
        plain(model.options),
        task,
        preprocess,
        metrics,
        stride=model.spec.strides(model.options, dims),
        minimum=model.spec.minimum_size(model.options),
        seen=seen,
    )


def save_weights(path: Path, tensors: Mapping[str, Any], header: Header) -> None:
    """Write weights (name -> torch tensor) and header, atomically."""
    from safetensors.torch import save_file

    # clone: models may share a tensor under two names, which the format does not know
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(copies, temporary, metadata={KEY: json.dumps(header.to_dict())})
        temporary.chmod(mode)  # safetensors lets nobody but the owner read


def read_header(path: Path) -> Header:
    """The header of a weights file or of an exported ONNX file; reads a few kilobytes.

    Raises:
        SegkitError: neither of them, not one of segkit's, from a newer format, or a damaged header.
    """
    exported = path.suffix == ".onnx"
    metadata = read_metadata(path).properties if exported else _read_metadata(path)
    if KEY not in metadata:
        if exported:
            raise SegkitError(f"{path} is an ONNX file, but not one that segkit wrote.", "segkit export --format onnx")
        raise SegkitError(f"{path} is a safetensors file, but not one that segkit wrote.", "Give a model.safetensors.")
    try:
        document = json.loads(metadata[KEY])
        newer = document["format"] > FORMAT
        header = None if newer else _parse(document)
    except (KeyError, TypeError, ValueError, AttributeError, SegkitError) as error:
        raise SegkitError(f"The header of {path} is damaged: {type(error).__name__}: {error}", "Train again.") from None
    if header is None:
        raise SegkitError(
            f"{path} was written by segkit {document.get('segkit')}, which is newer than this one ({__version__}).",
            "pip install --upgrade segkit-med",
        )
    return header


def load_tensors(path: Path) -> dict[str, Any]:
    """Name -> torch tensor, on the CPU.

    Raises:
        SegkitError: the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise SegkitError(f"{path} cannot be read: {error}", "The file is damaged; copy it again.") from None
    return tensors


def load_state_dict(path: Path) -> dict[str, Any]:
    """Name -> torch tensor of any weights file: safetensors, or a state dict that torch saved. Nothing is unpickled.

    Raises:
        SegkitError: the file is damaged, or holds more than tensors.
    """
    import torch

    content: Any
    try:
        content = load_tensors(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except SegkitError:
        raise
    except Exception as error:  # torch's own words advise to trust the file, which is not what we say
        raise SegkitError(
            f"{path} cannot be read as weights alone ({type(error).__name__}): it is damaged, or holds more than tensors.",
            "segkit opens safetensors and plain state dicts, never pickled objects: torch.save(model.state_dict(), FILE).",
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):  # what trainers wrap around it
        content = content[key] if isinstance(content, dict) and isinstance(content.get(key), dict) else content
    tensors = {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    tensors = {key.removeprefix("module."): value for key, value in tensors.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise SegkitError(f"{path} holds no tensors by name.", "A state dict is expected: {name: tensor}.")
    return tensors


def _parse(document: Mapping[str, Any]) -> Header:
    model = document["model"]
    texts = [model["name"], model["distribution"], model["version"], document["segkit"]]
    if not all(isinstance(text, str) for text in texts) or not isinstance(model["options"], dict):
        raise ValueError("a name or the options have the wrong type")
    stride = tuple(model["stride"])
    if not all(isinstance(step, int) and 1 <= step <= 4096 for step in (*stride, model["minimum"])):
        raise ValueError(f"stride {stride}, minimum {model['minimum']}")
    return Header(
        model=model["name"],
        distribution=model["distribution"],
        version=model["version"],
        options=model["options"],
        task=Task.from_dict(document["task"]),
        preprocess=build(Preprocess, document["preprocess"], "preprocess"),
        metrics=document["metrics"],
        stride=stride,
        minimum=model["minimum"],
        segkit=document["segkit"],
        seen=(float(seen[0]), float(seen[1])) if (seen := document.get("seen")) else None,
        export=document.get("export", {}),
    )


def _read_metadata(path: Path) -> dict[str, str]:
    refusal = SegkitError(f"{path} is not a safetensors file.", "segkit opens only the model.safetensors of a run.")
    try:
        with path.open("rb") as file:
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
                raise refusal
            header = json.loads(file.read(length))
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise refusal from None
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise refusal
    return metadata
