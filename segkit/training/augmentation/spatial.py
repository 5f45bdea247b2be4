"""Flips, rotation, scaling and elastic bending of a whole batch, composed into one resampling, in 2D and in 3D alike.

A map from output to input positions is a uniform cubic B-spline over a coarse lattice of control points: at the positions
that flip, rotation and scaling give them it is that affine map exactly, and moved from there it bends (free-form
deformation, Rueckert et al. 1999). Its weights are positive and add up to 1, so no voxel is moved further than the control
points are; below 0.4 of their distance nothing folds (Choi & Lee 2000).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segkit.settings import Augment
from segkit.training.augmentation.transfer import to_device

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


def warp(images: Tensor, masks: Tensor, warps: Sequence[Warp], settings: Augment) -> tuple[Tensor, Tensor]:
    """Move each case of a batch; new tensors. The number of operator calls does not grow with that of cases.

    Args:
        images: (B, C, *S) float.
        masks: (B, *S) or (B, K, *S) integers.
        warps: one for each case.
        settings: complete; what has strength 0 there is left out. Of their control points along each axis the outermost
            lie outside the image.

    Returns:
        Images (linear) and masks (nearest) under the same maps; what comes from outside is 0.
    """
    size, points = tuple(images.shape[2:]), settings.elastic_grid
    resampled = np.array([drawn.resamples for drawn in warps])
    flips = np.array([drawn.flips for drawn in warps])
    alone = [np.flatnonzero((flips == axes).all(axis=1) & ~resampled) for axes in _combinations(len(size))]
    rows = [np.flatnonzero(resampled), *alone]
    if not (settings.rotate or settings.scale or settings.elastic):
        _, *flipped = to_device(rows, images.device)
        return _flip(images, flipped), _flip(masks, flipped)
    lattices = _lattices([drawn for drawn in warps if drawn.resamples], size, points).astype(np.float32)
    weights = [_weights(side, points).astype(np.float32) for side in size]
    turned, *moved = to_device([*rows, lattices, *weights], images.device)
    flipped, grid = moved[: len(alone)], _grid(*moved[len(alone) :])
    if resampled.all():  # none need be taken out
        return _sample(images, grid, "bilinear"), _sample(masks, grid, "nearest")
    results = []
    for values, mode in ((images, "bilinear"), (masks, "nearest")):
        sampled = _sample(values.index_select(0, turned), grid, mode)
        results.append(_flip(values, flipped).index_copy_(0, turned, sampled))
    return results[0], results[1]


def _flip(values: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """A copy of images or masks with these rows flipped, those of each combination of axes."""
    result, dims = values.clone(), len(rows).bit_length()
    for flips, chosen in zip(_combinations(dims), rows, strict=True):
        axes = [axis - dims for axis, flip in enumerate(flips) if flip]
        result.index_copy_(0, chosen, values.index_select(0, chosen).flip(axes))
    return result


def _combinations(dims: int) -> list[tuple[bool, ...]]:
    """Of axes that are flipped, at least one.

    >>> _combinations(2)
    [(False, True), (True, False), (True, True)]
    """
    return list(itertools.product((False, True), repeat=dims))[1:]


def _sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Images or masks at the positions of their grids."""
    layers = values if values.ndim == grid.ndim else values[:, None]
    layers = layers if values.is_floating_point() else layers.to(grid.dtype)
    sampled = functional.grid_sample(layers, grid.to(layers.dtype), mode=mode, align_corners=False)
    return sampled.to(values.dtype).view(values.shape)


def _grid(lattices: Tensor, *weights: Tensor) -> Tensor:
    """Where each voxel comes from, as grid_sample wants it: axes in reverse order, each from -1 to 1; (B, *S, dims).

    Args:
        lattices: (B, points, ..., points, dims).
        weights: of each axis, (side, points).
    """
    positions, batch = lattices, len(lattices)
    for axis in reversed(range(len(weights))):  # (B, ..., points, rest) -> (B, ..., side, rest)
        side, points = weights[axis].shape
        lines, rest = batch * points**axis, positions.shape[axis + 2 :].numel()
        product = torch.bmm(weights[axis].expand(lines, side, points), positions.reshape(lines, points, rest))
        positions = product.view(batch, *(points,) * axis, side, *positions.shape[axis + 2 :])
    return positions


def _lattices(warps: Sequence[Warp], size: tuple[int, ...], points: int) -> Floats:
    """Where the control points of each case come from, (B, points, ..., points, dims), in grid_sample's coordinates.

    Rotations are of voxels: what is drawn in their own units is scaled to the sides, so that a square stays one.
    """
    dims = len(size)
    side = 2 * (np.arange(points) - 1) / (points - 3) - 1
    own = np.stack(np.meshgrid(*[side] * dims, indexing="ij"), axis=-1).reshape(-1, dims)
    half = np.asarray(size, float)
    linear = _matrices(warps, dims) * half / half[:, None]
    moved: Floats = (own @ linear.transpose(0, 2, 1)).reshape(len(warps), *(points,) * dims, dims)
    for place, drawn in zip(moved, warps, strict=True):
        if drawn.bends is not None:
            place += 2 * drawn.bends
    return moved[..., ::-1]


def _matrices(warps: Sequence[Warp], dims: int) -> Floats:
    """From output to input positions in voxels about the centre, (B, dims, dims)."""
    planes = [(0, 1)] if dims == 2 else [(1, 2), (0, 2), (0, 1)]
    angles = np.array([drawn.angles for drawn in warps]).reshape(len(warps), len(planes))
    rotation = np.tile(np.eye(dims), (len(warps), 1, 1))
    for (first, second), angle in zip(planes, angles.T, strict=True):
        turn = np.tile(np.eye(dims), (len(warps), 1, 1))
        turn[:, first, first] = turn[:, second, second] = np.cos(angle)
        turn[:, first, second], turn[:, second, first] = np.sin(angle), -np.sin(angle)
        rotation = rotation @ turn
    flips = np.where(np.array([drawn.flips for drawn in warps]).reshape(len(warps), dims), -1.0, 1.0)
    scale = np.array([drawn.scale for drawn in warps])
    return np.asarray(flips[:, :, None] * rotation / scale[:, None, None])


def _weights(side: int, points: int) -> NDArray[Any]:
    """What each control point counts at each voxel: the uniform cubic B-spline, (side, points).

    >>> _weights(1, 5).round(4)  # a voxel that lies on the middle one
    array([[0.    , 0.1667, 0.6667, 0.1667, 0.    ]])
    """
    position = (np.arange(side) + 0.5) / side * (points - 3) + 1
    distance = np.abs(position[:, None] - np.arange(points))
    outer = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, 2 / 3 - distance**2 + distance**3 / 2, outer)
