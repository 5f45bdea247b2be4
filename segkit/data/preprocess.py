"""Preprocessing as data: from a stored image or volume to the network's grid, and probabilities exactly back.

Each axis is mapped by itself: resampled to a length, then placed on the network's grid, both kept in a `Geometry`. Forward
and inverse read the same one, so they cannot drift apart. A 2D network sees a volume slice by slice: that axis stays.
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
Slices = tuple[slice, ...]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLEARLY = 1.5  # times the second largest spacing
CLIP = (0.5, 99.5)  # percentiles


@dataclass(frozen=True)
class Geometry:
    """Where an image of axes *S went.

    Args:
        source: its stored size.
        scaled: its size after resampling.
        target: size of the network's grid.
        offset: where the scaled image's corner lies on that grid, negative where it is cut.
        slice_axis: the axis that a 2D network takes slices of this volume along, else None.
    """

    source: tuple[int, ...]
    scaled: tuple[int, ...]
    target: tuple[int, ...]
    offset: tuple[int, ...]
    slice_axis: int | None = None


def geometry_of(
    source: tuple[int, ...], settings: Preprocess, dims: int = 2, spacing: tuple[float, ...] | None = None
) -> Geometry:
    """How an image is placed on the network's grid.

    Args:
        source: its size.
        settings: complete.
        dims: of the network; one less than the image's makes it see slices.
        spacing: mm of the image along each axis, where known.
    """
    axis = slice_axis_of(settings, source, spacing) if len(source) == dims + 1 else None
    wanted = _along_all_axes(settings.size, len(source), axis)
    scaled = _resampled(source, settings, spacing, axis)
    if settings.fit in ("native", "patch"):
        target = scaled
    else:
        target = tuple(own if want is None else want for own, want in zip(scaled, wanted, strict=True))
    if settings.fit == "stretch":
        scaled = target
    if settings.fit == "pad":
        scale = min(want / own for own, want, ax in zip(scaled, target, range(len(source)), strict=True) if ax != axis)
        scaled = tuple(
            own if ax == axis else min(want, max(1, round(own * scale)))
            for ax, (own, want) in enumerate(zip(scaled, target, strict=True))
        )
    offset = tuple((want - own) // 2 for own, want in zip(scaled, target, strict=True))
    return Geometry(tuple(source), scaled, target, offset, axis)


def slice_axis_of(settings: Preprocess, source: tuple[int, ...], spacing: tuple[float, ...] | None) -> int:
    """The axis of a volume that slices are taken along.

    As set; else the only one of length 1; else the one of clearly largest spacing (half as large again as the next); else
    the last.
    """
    if settings.slice_axis is not None:
        return settings.slice_axis
    if source.count(1) == 1:
        return source.index(1)
    if spacing is None or max(spacing) < CLEARLY * sorted(spacing)[-2]:
        return 2
    return int(np.argmax(spacing))


def forward_image(image: Array, settings: Preprocess, geometry: Geometry) -> Floats:
    """(C, *source) in stored units -> (C, *target) float32. Outside the image is 0 after normalisation."""
    values = _normalise(image, settings, geometry.slice_axis)
    placed = np.zeros((len(values), *geometry.target), np.float32)
    on_target, on_scaled = _overlap(geometry)
    placed[(slice(None), *on_target)] = _resize(values, geometry.scaled)[(slice(None), *on_scaled)]
    return placed


def forward_mask(mask: Array, geometry: Geometry) -> Array:
    """(*source) or (K, *source) integers -> the network's grid, nearest neighbour; outside is background."""
    lead = mask.ndim - len(geometry.source)
    placed = np.zeros((*mask.shape[:lead], *geometry.target), mask.dtype)
    on_target, on_scaled = _overlap(geometry)
    for axis, (own, scaled) in enumerate(zip(geometry.source, geometry.scaled, strict=True), start=lead):
        if own != scaled:
            mask = mask.take(np.floor((np.arange(scaled) + 0.5) * own / scaled).astype(int), axis)
    whole = (slice(None),) * lead
    placed[whole + on_target] = mask[whole + on_scaled]
    return placed


def inverse(probabilities: Floats, geometry: Geometry, background: Floats) -> Floats:
    """(K, *target) -> (K, *source), linear; `background` (K,) is what the network never saw (fit = crop)."""
    on_target, on_scaled = _overlap(geometry)
    whole = np.empty((len(probabilities), *geometry.scaled), np.float32)
    whole[:] = background.reshape(-1, *[1] * len(geometry.scaled))
    whole[(slice(None), *on_scaled)] = probabilities[(slice(None), *on_target)]
    return _resize(whole, geometry.source)


def to_slices(array: Array, axis: int, lead: int) -> Array:
    """(..., X, Y, Z) with `lead` axes before the spatial ones -> (slices, ..., the two others)."""
    return np.moveaxis(array, lead + axis, 0)


def from_slices(slices: Array, axis: int, lead: int) -> Array:
    """The inverse of `to_slices`."""
    return np.moveaxis(slices, 0, lead + axis)


def _along_all_axes(size: int | tuple[int, ...] | None, axes: int, slice_axis: int | None) -> list[int | None]:
    """The wanted size of each axis; None leaves it alone."""
    if not isinstance(size, tuple):
        return [size] * axes
    wanted: list[int | None] = list(size)
    if slice_axis is not None:
        wanted.insert(slice_axis, None)
    if len(wanted) != axes:
        raise SegkitError(f"preprocess.size = {size} does not fit an image of {axes} axes.")
    return wanted


def _resampled(
    source: tuple[int, ...], settings: Preprocess, spacing: tuple[float, ...] | None, slice_axis: int | None
) -> tuple[int, ...]:
    if settings.spacing is None:
        return tuple(source)
    if spacing is None:
        raise SegkitError("preprocess.spacing is set, but this image does not say its spacing.", "Leave it out.")
    wanted = (settings.spacing,) * len(source) if isinstance(settings.spacing, float) else settings.spacing
    return tuple(
        own if axis == slice_axis else max(1, round(own * mm / want))
        for axis, (own, mm, want) in enumerate(zip(source, spacing, wanted, strict=True))
    )


def _overlap(geometry: Geometry) -> tuple[Slices, Slices]:
    """The part that both grids share, as slices of the target and of the scaled image."""
    target, scaled = [], []
    for size, inner, offset in zip(geometry.target, geometry.scaled, geometry.offset, strict=True):
        start, stop = max(0, offset), min(size, offset + inner)
        target.append(slice(start, stop))
        scaled.append(slice(start - offset, stop - offset))
    return tuple(target), tuple(scaled)


def _resize(values: Floats, size: tuple[int, ...]) -> Floats:
    """(C, *S) -> (C, *size), axis by axis: areas are averaged where an axis shrinks, linear where it grows.

    Pixels are areas: the corners of the first and last pixel stay where they are.
    """
    for axis, length in enumerate(size, start=1):
        own = values.shape[axis]
        if own == length:
            continue
        lines = np.ascontiguousarray(np.moveaxis(values, axis, 0)).reshape(own, -1)
        resized = _resize_lines(lines, length)
        rest = [side for ax, side in enumerate(values.shape) if ax != axis]
        values = np.moveaxis(resized.reshape(length, *rest), 0, axis)
    return np.ascontiguousarray(values)


def _resize_lines(lines: Floats, length: int) -> Floats:
    """(own, many) -> (length, many), in blocks that cv2's 16-bit sides can hold."""
    block = 30_000
    interpolation = cv2.INTER_AREA if length < len(lines) else cv2.INTER_LINEAR
    parts = [lines[:, start : start + block] for start in range(0, lines.shape[1], block)]
    resized = [cv2.resize(part, (part.shape[1], length), interpolation=interpolation) for part in parts]
    return np.asarray(np.concatenate([part.reshape(length, -1) for part in resized], axis=1), np.float32)


def _normalise(image: Array, settings: Preprocess, slice_axis: int | None) -> Floats:
    """(C, *S) in stored units -> float32. Statistics are per channel, over the case or over each slice of it."""
    values, intensity = image.astype(np.float32), settings.intensity
    over = tuple(range(1, image.ndim))
    if settings.intensity_per == "slice" and slice_axis is not None:
        over = tuple(axis for axis in over if axis != slice_axis + 1)
    if intensity in ("scale255", "imagenet", "encoder"):
        values /= np.iinfo(image.dtype).max if image.dtype.kind in "ui" and image.dtype.itemsize <= 2 else 255
    if intensity in ("imagenet", "encoder"):
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if intensity == "imagenet" else (settings.mean or (), settings.std or ())
        if len(values) != len(mean):
            words = f"intensity={intensity} needs {len(mean)} channels, not {len(values)}"
            raise SegkitError(f"{words}.", "-o preprocess.intensity=zscore")
        shape = (len(mean), *[1] * (image.ndim - 1))
        values = (values - np.array(mean, np.float32).reshape(shape)) / np.array(std, np.float32).reshape(shape)
    if intensity == "zscore":
        values = (values - values.mean(over, keepdims=True)) / np.maximum(values.std(over, keepdims=True), 1e-6)
    if intensity == "percentile":
        low, high = np.percentile(values, CLIP, axis=over, keepdims=True).astype(np.float32)
        values = np.clip(values, low, high)
    if intensity in ("minmax", "percentile"):
        low, high = values.min(over, keepdims=True), values.max(over, keepdims=True)
        values = (values - low) / np.maximum(high - low, 1e-6)
    if intensity == "max":
        values = values / np.maximum(np.abs(values).max(over, keepdims=True), 1e-6)
    return values
