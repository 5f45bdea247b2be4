"""Preprocessing as data: from a stored image to the network's grid, and probabilities exactly back.

Every fit is one affine map per axis, `input = output * scale + offset` in pixel-edge coordinates, kept as a `Geometry`:
forward and inverse use the same numbers, so they cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError
from segkit.settings import Preprocess

Array = NDArray[Any]
Floats = NDArray[np.float32]

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True)
class Geometry:
    """Where the image went.

    Args:
        source: (H, W) of the stored image.
        target: (H, W) of the network's grid.
        scaled: (H, W) of the whole image after scaling; equals target for stretch.
        offset: position of the scaled image's corner on the network's grid, negative where it is cut.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    scaled: tuple[int, int]
    offset: tuple[int, int]


def geometry_of(source: tuple[int, ...], settings: Preprocess) -> Geometry:
    """How an image of size (H, W) is placed on the network's grid under complete settings."""
    if len(source) != 2 or not isinstance(settings.size, tuple):
        raise SegkitError(f"An image of size {source} cannot be fitted to {settings.size}.")
    height, width = source
    target = (settings.size[0], settings.size[1])
    if settings.fit == "stretch":
        scaled = target
    elif settings.fit == "pad":
        scale = min(target[0] / height, target[1] / width)
        scaled = (min(target[0], max(1, round(height * scale))), min(target[1], max(1, round(width * scale))))
    else:
        scaled = (height, width)
    offset = ((target[0] - scaled[0]) // 2, (target[1] - scaled[1]) // 2)
    return Geometry((height, width), target, scaled, offset)


def forward_image(image: Array, settings: Preprocess) -> Floats:
    """(C, H, W) in stored units -> (C, *size) float32. Outside the image is 0 after normalisation."""
    geometry = geometry_of(image.shape[1:], settings)
    values = np.moveaxis(_normalise(image, settings.intensity or "none"), 0, -1)
    shrinks = geometry.scaled[0] < geometry.source[0] or geometry.scaled[1] < geometry.source[1]
    resized = _resize(values, geometry.scaled, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    placed = np.zeros((*geometry.target, values.shape[-1]), np.float32)
    on_target, on_scaled = _overlap(geometry)
    placed[on_target] = resized[on_scaled]
    return np.ascontiguousarray(np.moveaxis(placed, -1, 0))


def forward_mask(mask: Array, settings: Preprocess) -> Array:
    """(H, W) or (K, H, W) integers -> the network's grid, nearest neighbour; outside is background."""
    geometry = geometry_of(mask.shape[-2:], settings)
    layers = mask[None] if mask.ndim == 2 else mask
    placed = np.zeros((len(layers), *geometry.target), mask.dtype)
    on_target, on_scaled = _overlap(geometry)
    for layer, target in zip(layers, placed, strict=True):
        target[on_target] = _resize(layer, geometry.scaled, cv2.INTER_NEAREST_EXACT)[on_scaled]
    return placed[0] if mask.ndim == 2 else placed


def inverse(probabilities: Floats, geometry: Geometry, background: Floats) -> Floats:
    """(K, *target) -> (K, *source), linear; `background` (K,) is what the network never saw (fit = crop)."""
    on_target, on_scaled = _overlap(geometry)
    seen = np.moveaxis(probabilities, 0, -1)[on_target]
    whole = np.empty((*geometry.scaled, len(probabilities)), np.float32)
    whole[:] = background
    whole[on_scaled] = seen
    restored = _resize(whole, geometry.source, cv2.INTER_LINEAR)
    return np.ascontiguousarray(np.moveaxis(restored, -1, 0))


def _overlap(geometry: Geometry) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part that both grids share, as slices of the target and of the scaled image."""
    target, scaled = [], []
    for size, inner, offset in zip(geometry.target, geometry.scaled, geometry.offset, strict=True):
        start, stop = max(0, offset), min(size, offset + inner)
        target.append(slice(start, stop))
        scaled.append(slice(start - offset, stop - offset))
    return (target[0], target[1]), (scaled[0], scaled[1])


def _resize(values: Array, size: tuple[int, int], interpolation: int) -> Array:
    if values.shape[:2] == size:
        return values
    if values.ndim == 3 and values.shape[-1] > 4:  # cv2 resizes up to four channels at a time
        parts = [_resize(values[..., start : start + 4], size, interpolation) for start in range(0, values.shape[-1], 4)]
        return np.concatenate(parts, axis=-1)
    resized: Array = cv2.resize(values, (size[1], size[0]), interpolation=interpolation)
    return resized.reshape(*size, *values.shape[2:])


def _normalise(image: Array, intensity: str) -> Floats:
    """(C, H, W) in stored units -> float32."""
    values = image.astype(np.float32)
    if intensity in ("scale255", "imagenet"):
        full = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 255
        values /= full
    if intensity == "imagenet":
        if len(values) != 3:
            raise SegkitError(f"intensity=imagenet needs 3 channels, not {len(values)}.", "-o preprocess.intensity=zscore")
        values = (values - IMAGENET_MEAN[:, None, None]) / IMAGENET_STD[:, None, None]
    if intensity == "zscore":
        mean, std = values.mean(axis=(1, 2), keepdims=True), values.std(axis=(1, 2), keepdims=True)
        values = (values - mean) / np.maximum(std, 1e-6)
    if intensity == "minmax":
        low, high = values.min(axis=(1, 2), keepdims=True), values.max(axis=(1, 2), keepdims=True)
        values = (values - low) / np.maximum(high - low, 1e-6)
    return values
