"""What runs the torch module of a weights file: NumPy in and out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segkit.inference.network import PIXELS, Network
from segkit.models.build import OutOfMemoryError, check_logits, load_model, padded, plugin_errors
from segkit.models.device import choose_device, layout, to_device
from segkit.runs.weights import Header
from segkit.specs import ModelSpec

logger = logging.getLogger(__name__)


def load_torch(path: Path, device: str, batch_size: int | None, changes: Mapping[str, Any] | None = None) -> Network:
    """The network of a weights file, ready for inference on a device; `changes` as in `load_model`."""
    header, spec, model = load_model(path, changes)
    place = choose_device(device)
    runner = Runner(header, spec, model, place)
    pixels = PIXELS["cpu" if place.type == "cpu" else "gpu"]
    return Network(runner.forward, header.dims, header.task, header.preprocess, batch_size, pixels, header.seen)


class Runner:
    """Runs a model on a device. Where its memory is too small, it switches to smaller batches, then to the CPU, for good."""

    def __init__(self, header: Header, spec: ModelSpec, model: nn.Module, device: torch.device) -> None:
        self.header, self.spec, self.device = header, spec, device
        self.model = to_device(model, device, header.dims, spec)
        self.largest: int | None = None  # batch that fits, once one did not

    def forward(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, C, *S) -> logits (B, K, *S)."""
        step = min(len(batch), self.largest or len(batch))
        try:
            parts = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        except OutOfMemoryError:
            if step > 1:
                self.largest = step // 2
                logger.warning(
                    f"the memory of {self.device} is too small for {step} at a time; continuing with {step // 2}."
                )
            elif self.device.type != "cpu":
                logger.warning(
                    f"the memory of {self.device} is too small for images of {batch.shape[2:]}; continuing on the CPU."
                )
                self.device, self.largest = torch.device("cpu"), None
                self.model = to_device(self.model, self.device, self.header.dims, self.spec)
            else:
                raise
        return self.forward(batch)

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            images = torch.from_numpy(batch).to(self.device)
            with plugin_errors(self.header.model, images):
                logits = padded(self.model, layout(images, self.spec), self.header.stride, self.header.minimum)
                return check_logits(logits, images, self.header.task).float().cpu().numpy()
