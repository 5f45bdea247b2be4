"""Small arrays on their way to the device, all in one transfer."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ALIGNED = 8  # bytes: where each array begins, so that it can be read as numbers of any type


def to_device(arrays: list[NDArray[Any]], device: torch.device) -> list[Tensor]:
    """The same arrays as tensors on the device.

    >>> moved = to_device([np.array([1, 2]), np.zeros((2, 0)), np.float32([[0.5]])], torch.device("cpu"))
    >>> [tensor.tolist() for tensor in moved]
    [[1, 2], [[], []], [[0.5]]]
    >>> to_device([np.zeros(0)], torch.device("cpu"))[0].tolist()
    []
    """
    sizes = [-(-array.nbytes // ALIGNED) * ALIGNED for array in arrays]
    packed = np.zeros(sum(sizes) + ALIGNED, np.uint8)  # never empty: torch reads no numbers from an empty one
    starts = np.cumsum([0, *sizes])[:-1].tolist()
    for start, array in zip(starts, arrays, strict=True):
        packed[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    moved = torch.from_numpy(packed).to(device, non_blocking=True)
    types = [torch.from_numpy(np.empty(0, array.dtype)).dtype for array in arrays]
    return [
        moved[start : start + array.nbytes].view(dtype).view(array.shape)
        for start, array, dtype in zip(starts, arrays, types, strict=True)
    ]
