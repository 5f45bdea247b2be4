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
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segkit.settings import Augment


def augment(
    images: Tensor, masks: Tensor, settings: Augment, seed: int, epoch: int, ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Transform each case of a batch at random.

    Args:
        images: (B, C, *S) float, two or three spatial axes.
        masks: (B, *S) or (B, K, *S) integers.
        settings: complete (policy resolved into numbers).
        seed, epoch, ids: what the drawing depends on.

    Returns:
        Images (linear) and masks (nearest) under the same maps; what comes from outside is 0.
    """
    if not settings.flip and not settings.rotate:
        return images, masks
    size = tuple(images.shape[2:])
    maps = np.stack([_matrix(*_draw(settings, f"{seed}/{epoch}/{id}", len(size)), size) for id in ids])
    layers = masks if masks.ndim == images.ndim else masks[:, None]
    theta = torch.from_numpy(maps).to(images.device, torch.float32)
    grid = functional.affine_grid(theta, [len(images), 1, *size], align_corners=False)
    moved = functional.grid_sample(images, grid.to(images.dtype), mode="bilinear", align_corners=False)
    labels = functional.grid_sample(layers.float(), grid, mode="nearest", align_corners=False).to(masks.dtype)
    return moved, labels if masks.ndim == images.ndim else labels[:, 0]


def _draw(settings: Augment, key: str, dims: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Flips (1 or -1 for each axis) and angles in radians (one in 2D; three in 3D, about each axis)."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")
    generator = np.random.Generator(np.random.PCG64(seed))
    flips = np.where(generator.random(dims) < (settings.flip or 0.0), -1.0, 1.0)
    angles = (2 * generator.random(1 if dims == 2 else 3) - 1) * math.radians(settings.rotate or 0.0)
    return flips, angles


def _matrix(flips: NDArray[np.float64], angles: NDArray[np.float64], size: tuple[int, ...]) -> NDArray[np.float64]:
    """Output to input as affine_grid wants it: axes in reverse order, each from -1 to 1, (dims, dims + 1).

    Rotations are of voxels: what is drawn in their own units is scaled to the sides, so that a square stays one.
    """
    dims = len(size)
    rotation = np.eye(dims)
    planes = [(0, 1)] if dims == 2 else [(1, 2), (0, 2), (0, 1)]
    for (first, second), angle in zip(planes, angles, strict=True):
        turn = np.eye(dims)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
        rotation = rotation @ turn
    half = np.asarray(size, float)
    linear = (flips[:, None] * rotation) * half[None, :] / half[:, None]
    return np.concatenate([linear[::-1, ::-1], np.zeros((dims, 1))], axis=1)
