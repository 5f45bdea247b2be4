"""Flips, rotation, scaling and elastic bending of a whole batch, composed into one resampling, in 2D and in 3D alike.

A map from output to input positions is a uniform cubic B-spline over a coarse lattice of control points: at the positions
that flip, rotation and scaling give them it is that affine map exactly, and moved from there it bends (free-form
deformation, Rueckert et al. 1999). Its weights are positive and add up to 1, so no voxel is moved further than the control
points are; below 0.4 of their distance nothing folds (Choi & Lee 2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Warp:
    """How one case is moved: turned about its centre, scaled, flipped, and bent.

    Args:
        flips: whether each axis is flipped.
        angles: radians; one in 2D, in 3D about each axis. Rotations are of voxels, whatever their spacing.
        scale: what sizes are multiplied by, along all axes.
        bends: shifts of the control points (points, ..., points, dims) as shares of the sides, or None.
    """

    flips: tuple[bool, ...]
    angles: tuple[float, ...]
    scale: float = 1.0
    bends: Floats | None = None

    @property
    def resamples(self) -> bool:
        """Whether values are interpolated: flips alone are exact."""
        return self.scale != 1 or any(self.angles) or self.bends is not None


def warp(images: Tensor, masks: Tensor, warps: Sequence[Warp], points: int) -> tuple[Tensor, Tensor]:
    """Move each case of a batch; new tensors.

    Args:
        images: (B, C, *S) float.
        masks: (B, *S) or (B, K, *S) integers.
        warps: one for each case.
        points: control points along each axis, at least 4; a map's outermost ones lie outside the image.

    Returns:
        Images (linear) and masks (nearest) under the same maps; what comes from outside is 0.
    """
    rows = [row for row, drawn in enumerate(warps) if drawn.resamples]
    if len(rows) == len(warps):
        return _resample(images, masks, warps, points)
    images, masks = images.clone(), masks.clone()
    for row, drawn in enumerate(warps):
        if any(drawn.flips) and not drawn.resamples:
            axes = [axis - len(drawn.flips) for axis, flip in enumerate(drawn.flips) if flip]
            images[row], masks[row] = images[row].flip(axes), masks[row].flip(axes)
    if rows:
        images[rows], masks[rows] = _resample(images[rows], masks[rows], [warps[row] for row in rows], points)
    return images, masks


def _resample(images: Tensor, masks: Tensor, warps: Sequence[Warp], points: int) -> tuple[Tensor, Tensor]:
    grid = _grid(warps, tuple(images.shape[2:]), points, images.device)
    layers = masks if masks.ndim == images.ndim else masks[:, None]
    moved = functional.grid_sample(images, grid.to(images.dtype), mode="bilinear", align_corners=False)
    labels = functional.grid_sample(layers.float(), grid, mode="nearest", align_corners=False).to(masks.dtype)
    return moved, labels.view(masks.shape)


def _grid(warps: Sequence[Warp], size: tuple[int, ...], points: int, device: torch.device) -> Tensor:
    """Where each voxel comes from, as grid_sample wants it: axes in reverse order, each from -1 to 1; (B, *S, dims).

    Case by case, since a product's rounding may depend on how many there are: a case comes out the same in any batch.
    """
    weights = [torch.from_numpy(_weights(side, points)).to(device, torch.float32) for side in size]
    lattices = torch.from_numpy(np.stack([_lattice(drawn, size, points) for drawn in warps])).to(device, torch.float32)
    grid = torch.empty(len(warps), *size, len(size), device=device)
    for positions, whole in zip(lattices, grid, strict=True):
        for axis in reversed(range(1, len(size))):
            positions = weights[axis] @ positions.reshape(*positions.shape[:axis], points, -1)
        torch.mm(weights[0], positions.reshape(points, -1), out=whole.view(size[0], -1))
    return grid


def _lattice(drawn: Warp, size: tuple[int, ...], points: int) -> Floats:
    """Where the control points of one case come from, (points, ..., points, dims), in grid_sample's coordinates.

    Rotations are of voxels: what is drawn in their own units is scaled to the sides, so that a square stays one.
    """
    side = 2 * (np.arange(points) - 1) / (points - 3) - 1
    own = np.stack(np.meshgrid(*[side] * len(size), indexing="ij"), axis=-1)
    half = np.asarray(size, float)
    linear = _matrix(drawn, len(size)) * half[None, :] / half[:, None]
    moved: Floats = own @ linear.T
    return (moved if drawn.bends is None else moved + 2 * drawn.bends)[..., ::-1]


def _matrix(drawn: Warp, dims: int) -> Floats:
    """From output to input positions in voxels about the centre, (dims, dims)."""
    rotation = np.eye(dims)
    planes = [(0, 1)] if dims == 2 else [(1, 2), (0, 2), (0, 1)]
    for (first, second), angle in zip(planes, drawn.angles, strict=True):
        turn = np.eye(dims)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = math.sin(angle), -math.sin(angle)
        rotation = rotation @ turn
    flips = np.where(drawn.flips, -1.0, 1.0)
    return np.asarray(flips[:, None] * rotation / drawn.scale)


def _weights(side: int, points: int) -> NDArray[Any]:
    """What each control point counts at each voxel: the uniform cubic B-spline, (side, points).

    >>> _weights(1, 5).round(4)  # a voxel that lies on the middle one
    array([[0.    , 0.1667, 0.6667, 0.1667, 0.    ]])
    """
    position = (np.arange(side) + 0.5) / side * (points - 3) + 1
    distance = np.abs(position[:, None] - np.arange(points))
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, outer)
