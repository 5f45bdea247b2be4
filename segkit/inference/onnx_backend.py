"""What runs an exported ONNX file: an onnxruntime session, NumPy in and out. Torch is not imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError, UsageError, first_line
from segkit.inference.network import PIXELS, Network
from segkit.models.input_size import padded_size
from segkit.runs.onnx_metadata import read_metadata
from segkit.runs.weights import Header, read_header

Floats = NDArray[np.float32]
TOO_NEW = ("Unsupported model IR version", "is under development", "Opset")  # onnxruntime's words for what it does not know


def load_onnx(path: Path, device: str, batch_size: int | None) -> Network:
    """The network of an exported file, ready for inference.

    Raises:
        UsageError: onnxruntime is missing, or has not the device.
        SegkitError: the file is damaged, or segkit did not write it.
    """
    header = read_header(path)
    session = open_session(path, device)

    def forward(batch: Floats) -> Floats:
        return run_session(session, batch, header)

    pixels = PIXELS["gpu" if "CUDAExecutionProvider" in session.get_providers() else "cpu"]
    return Network(forward, header.dims, header.task, header.preprocess, batch_size, pixels, header.seen)


def open_session(path: Path, device: str) -> Any:
    """An onnxruntime session on "auto", "cpu", "cuda" or "cuda:N"."""
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"{path} runs in onnxruntime, which is not installed.", "pip install onnxruntime") from None
    providers: list[Any] = ["CPUExecutionProvider"]
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device.startswith("cuda") or (device == "auto" and has_cuda):
        if not has_cuda:
            raise UsageError(
                f"--device {device}: this onnxruntime has no CUDA.", "--device cpu, or pip install onnxruntime-gpu."
            )
        providers = [("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}), *providers]
    elif device not in ("auto", "cpu"):
        raise UsageError(f"--device {device} cannot run ONNX files.", "Allowed: auto, cpu, cuda, cuda:1.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as OMP_WAIT_POLICY in segkit/__init__.py
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime has a class of its own for each kind of damage
        if any(word in str(error) for word in TOO_NEW):
            raise SegkitError(
                f"{path} needs {read_metadata(path).runtime}; this is onnxruntime {onnxruntime.__version__}.",
                "pip install --upgrade onnxruntime",
            ) from None
        raise SegkitError(
            f"{path} cannot be loaded by onnxruntime {onnxruntime.__version__}: {first_line(error)}",
            "The file is damaged: copy it or export it again.",
        ) from None


def run_session(session: Any, batch: Floats, header: Header) -> Floats:
    """Logits of a batch (B, C, *S) of any size: zeros up to the next size that the network takes, logits cropped back.

    Raises:
        SegkitError: the network fails, or takes one size alone and this is another.
    """
    sizes = batch.shape[2:]
    wanted = padded_size(sizes, header.stride, header.minimum)
    fixed = header.export.get("size")
    if fixed and list(wanted) != list(fixed):
        raise SegkitError(f"This file was exported for the size {tuple(fixed)} alone, not {sizes}.")
    missing = [(0, want - own) for own, want in zip(sizes, wanted, strict=True)]
    images = np.pad(batch, [(0, 0), (0, 0), *missing]) if wanted != sizes else batch
    try:
        logits: Floats = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(images, np.float32)})[0]
    except Exception as error:
        raise SegkitError(f"onnxruntime failed on images of shape {images.shape}: {first_line(error)}") from None
    expected = (len(batch), header.task.outputs, *(wanted if logits.ndim > 2 else ()))
    if logits.shape != expected:
        raise SegkitError(f"The network returned {logits.shape}; logits of shape {expected} were expected.")
    return logits[(slice(None), slice(None), *(slice(own) for own in sizes))] if logits.ndim > 2 else logits
