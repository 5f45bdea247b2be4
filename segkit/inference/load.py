"""Networks for inference, by what their file is: weights run in torch, exported ONNX files in onnxruntime without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit import distributed
from segkit.errors import UsageError
from segkit.inference.network import Network
from segkit.runs.weights import Header, read_header


def read_headers(paths: Sequence[Path]) -> list[Header]:
    """The headers of the members of an ensemble, or of one.

    Raises:
        UsageError: they were trained for different tasks.
    """
    headers = [read_header(path) for path in paths]
    for path, header in zip(paths, headers, strict=True):
        for fact in ("kind", "dims", "mode", "channels", "channel_names", "classes"):
            ours, theirs = getattr(headers[0].task, fact), getattr(header.task, fact)
            if ours != theirs and not (fact == "channel_names" and not (ours and theirs)):
                raise UsageError(f"{path} has {fact} = {theirs}, but {paths[0]} has {ours}: they cannot predict together.")
    return headers


def load_networks(
    paths: Sequence[Path], device: str, batch_size: int | None, changes: Mapping[str, Any] | None = None
) -> list[Network]:
    """Networks ready for inference; with several processes, their group is joined here.

    Args:
        paths: weights files or exported ONNX files.
        device: as --device.
        batch_size: images, slices or windows at a time; None: chosen by their size.
        changes: values of the models' runtime options, as typed.

    Raises:
        UsageError: a device or an option that cannot be used.
        SegkitError: a file that cannot be loaded.
    """
    distributed.init_process_group()
    networks = []
    for path in paths:
        if path.suffix == ".onnx":
            from segkit.inference.onnx_backend import load_onnx

            if changes:
                raise UsageError(f"{path} is exported: its options ({', '.join(changes)}) are fixed.")
            networks.append(load_onnx(path, device, batch_size))
        else:
            from segkit.inference.torch_backend import load_torch

            networks.append(load_torch(path, device, batch_size, changes))
    return networks
