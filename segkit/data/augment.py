"""Random flips and rotation of a whole batch on its own device, composed into one resampling.

What is drawn for a case depends on the run's seed, the epoch and the case alone, so it is the same for any number of
workers, batches or devices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from segkit.settings import Augment


def augment(
    images: Tensor, masks: Tensor, settings: Augment, seed: int, epoch: int, ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Transform each case of a batch at random.

    Args:
        images: (B, C, H, W) float.
        masks: (B, H, W) or (B, K, H, W) integers.
        settings: complete (policy resolved into numbers).
        seed, epoch, ids: what the drawing depends on.

    Returns:
        Images (linear) and masks (nearest) under the same maps; what comes from outside is 0.
    """
    if not settings.flip and not settings.rotate:
        return images, masks
    draws = [_draw(settings, f"{seed}/{epoch}/{id}") for id in ids]
    height, width = images.shape[-2:]
    maps = torch.tensor([_matrix(*draw, height, width) for draw in draws], device=images.device, dtype=torch.float32)
    layers = masks if masks.ndim == 4 else masks[:, None]
    grid = functional.affine_grid(maps, [len(images), 1, height, width], align_corners=False)
    moved = functional.grid_sample(images, grid.to(images.dtype), mode="bilinear", align_corners=False)
    labels = functional.grid_sample(layers.float(), grid, mode="nearest", align_corners=False).to(masks.dtype)
    return moved, labels if masks.ndim == 4 else labels[:, 0]


def _draw(settings: Augment, key: str) -> tuple[float, float, float]:
    """(flip of rows, flip of columns, angle in radians); a flip is 1 or -1."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    generator = np.random.Generator(np.random.PCG64(seed))
    rows, columns, angle = generator.random(3)
    flip, largest = settings.flip or 0.0, math.radians(settings.rotate or 0.0)
    return -1.0 if rows < flip else 1.0, -1.0 if columns < flip else 1.0, (2 * angle - 1) * largest


def _matrix(rows: float, columns: float, angle: float, height: int, width: int) -> list[list[float]]:
    """Output to input in torch's normalised (x, y); the aspect keeps a rotation a rotation on oblong images."""
    aspect = height / width
    cosine, sine = math.cos(angle), math.sin(angle)
    return [
        [columns * cosine, -columns * sine * aspect, 0.0],
        [rows * sine / aspect, rows * cosine, 0.0],
    ]
