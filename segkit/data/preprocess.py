"""Preprocessing as data: from a stored image or volume to the network's grid, and probabilities exactly back.

Each axis is mapped by itself: resampled to a length, then placed on the network's grid, both kept in a `Geometry`. Forward
and inverse read the same one, so they cannot drift apart. A 2D network sees a volume slice by slice: that axis stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.data.intensity import BLOCK, Intensity, intensity_of
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.words import counted

Array = NDArray[Any]
Floats = NDArray[np.float32]
Slices = tuple[slice, ...]
Number = TypeVar("Number", int, float)

CLEARLY = 1.5  # times the second largest spacing
BAND = 4_000_000  # probabilities at a time on the way back


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
    wanted = _along_all_axes(settings.size, len(source), axis, "size")
    frame = [1.0 if share is None else share for share in _along_all_axes(settings.frame, len(source), axis, "frame")]
    scaled = _resampled(source, settings, spacing, axis)
    if settings.fit in ("native", "patch"):
        target = scaled
    else:
        target = tuple(own if want is None else want for own, want in zip(scaled, wanted, strict=True))
    largest = tuple(round(want / share) for want, share in zip(target, frame, strict=True))  # the frame fills the target
    if settings.fit == "stretch":
        scaled = largest
    if settings.fit == "pad":
        scale = min(want / own for own, want, ax in zip(scaled, largest, range(len(source)), strict=True) if ax != axis)
        scaled = tuple(
            own if ax == axis else min(want, max(1, round(own * scale)))
            for ax, (own, want) in enumerate(zip(scaled, largest, strict=True))
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


def reaches_cut(mask: Array, geometry: Geometry) -> bool:
    """Whether a mask (*source) or (K, *source) reaches an edge at which the image was cut to fit the network's grid."""
    lead = mask.ndim - len(geometry.source)
    _, shown = _overlap(geometry)
    for axis, (part, scaled, source) in enumerate(zip(shown, geometry.scaled, geometry.source, strict=True)):
        first, last = int(part.start * source / scaled), min(source, -(-part.stop * source // scaled)) - 1
        edges = [place for place, cut in ((first, part.start > 0), (last, part.stop < scaled)) if cut]
        if edges and mask.take(edges, axis + lead).any():
            return True
    return False


def forward_image(image: Array, settings: Preprocess, geometry: Geometry, intensity: Intensity | None = None) -> Floats:
    """(C, *source) in stored units -> (C, *target) float32. Outside the image is 0 after normalisation.

    `intensity` is that of the whole where `image` is a part of it, or where the spacing says which way slices lie.
    """
    found = intensity or normalisation_of(image, settings, None)
    placed = np.zeros((len(image), *geometry.target), np.float32)
    on_target, on_scaled = _overlap(geometry)
    placed[(slice(None), *on_target)] = _scaled(image, found, geometry.scaled)[(slice(None), *on_scaled)]
    return placed


def normalisation_of(image: Array, settings: Preprocess, spacing: tuple[float, ...] | None) -> Intensity:
    """How the values of an image (C, *S) become what a network sees, whether that sees a volume whole or in slices."""
    volume = image.ndim == 4 and settings.intensity_per == "slice"
    return intensity_of(image, settings, slice_axis_of(settings, image.shape[1:], spacing) if volume else None)


def of_slices(geometry: Geometry, start: int, stop: int) -> Geometry:
    """The geometry of some slices of a volume; that axis is neither resampled nor cut."""
    axis = geometry.slice_axis
    assert axis is not None

    def cut(sizes: tuple[int, ...]) -> tuple[int, ...]:
        return (*sizes[:axis], stop - start, *sizes[axis + 1 :])

    return replace(geometry, source=cut(geometry.source), scaled=cut(geometry.scaled), target=cut(geometry.target))


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
    bands = inverse_bands(probabilities, geometry, background, thickness=geometry.source[0])
    return next(band for _, _, band in bands)


def inverse_bands(
    probabilities: Floats, geometry: Geometry, background: Floats, axis: int = 0, thickness: int | None = None
) -> Iterator[tuple[int, int, Floats]]:
    """The inverse in bands along an axis of the source, so that a large image is never there as floats.

    Yields:
        (start, stop, (K, *source) of these rows), in order; `thickness` rows or what is a good size.
    """
    own, length = geometry.scaled[axis], geometry.source[axis]
    others = len(probabilities) * int(np.prod(geometry.source)) // length
    step = thickness or max(1, BAND // others)
    if own > length:  # areas are averaged, over as much as there is
        step = length
    for start in range(0, length, step):
        stop = min(length, start + step)
        positions = np.clip((np.arange(start, stop) + 0.5) * own / length - 0.5, 0, own - 1)
        low, high = (int(positions[0]), int(np.ceil(positions[-1])) + 1) if own < length else (start, stop)
        if own > length:
            low, high = 0, own
        block = _placed_back(probabilities, geometry, background, axis, low, high)
        size = tuple(high - low if ax == axis else side for ax, side in enumerate(geometry.source))
        block = _resize(block, size)
        if own > length:
            block = _resize(block, geometry.source)
        if own < length:
            block = _between(block, axis + 1, positions - low)
        yield start, stop, block


def _placed_back(probabilities: Floats, geometry: Geometry, background: Floats, axis: int, low: int, high: int) -> Floats:
    """(K, *target) -> (K, *scaled), of which only the rows [low, high) along an axis."""
    on_target, on_scaled = (list(part) for part in _overlap(geometry))
    start, stop = max(low, on_scaled[axis].start), min(high, on_scaled[axis].stop)
    sizes = [high - low if ax == axis else side for ax, side in enumerate(geometry.scaled)]
    block = np.empty((len(probabilities), *sizes), np.float32)
    block[:] = background.reshape(-1, *[1] * len(sizes))
    if start < stop:
        shift = on_target[axis].start - on_scaled[axis].start
        on_target[axis], on_scaled[axis] = slice(start + shift, stop + shift), slice(start - low, stop - low)
        block[(slice(None), *on_scaled)] = probabilities[(slice(None), *on_target)]
    return block


def _between(values: Floats, axis: int, positions: NDArray[np.float64]) -> Floats:
    """Linear interpolation along an axis at these positions."""
    below = np.minimum(positions.astype(int), max(0, values.shape[axis] - 2))
    above = np.minimum(below + 1, values.shape[axis] - 1)
    share = (positions - below).astype(np.float32).reshape([-1 if ax == axis else 1 for ax in range(values.ndim)])
    lower = values.take(below, axis)
    return np.asarray(lower + share * (values.take(above, axis) - lower), np.float32)


def to_slices(array: Array, axis: int, lead: int) -> Array:
    """(..., X, Y, Z) with `lead` axes before the spatial ones -> (slices, ..., the two others)."""
    return np.moveaxis(array, lead + axis, 0)


def from_slices(slices: Array, axis: int, lead: int) -> Array:
    """The inverse of `to_slices`."""
    return np.moveaxis(slices, 0, lead + axis)


def _along_all_axes(
    values: Number | tuple[Number, ...] | None, axes: int, slice_axis: int | None, name: str
) -> list[Number | None]:
    """What is wanted of each axis; None leaves it alone."""
    wanted: list[Number | None] = list(values) if isinstance(values, tuple) else [values] * (axes - (slice_axis is not None))
    if slice_axis is not None:
        wanted.insert(slice_axis, None)
    if len(wanted) != axes:
        raise SegkitError(f"preprocess.{name} = {values} does not fit an image of {counted(axes, 'axis')}.")
    return wanted


def _resampled(
    source: tuple[int, ...], settings: Preprocess, spacing: tuple[float, ...] | None, slice_axis: int | None
) -> tuple[int, ...]:
    if settings.spacing is None:
        return tuple(source)
    if spacing is None:
        raise SegkitError("preprocess.spacing is set, but the spacing of this image is not known.", "Leave it out.")
    wanted = (settings.spacing,) * len(source) if isinstance(settings.spacing, float) else settings.spacing
    if len(wanted) != len(source):
        raise SegkitError(f"preprocess.spacing = {wanted} does not fit an image of {counted(len(source), 'axis')}.")
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


def _scaled(image: Array, intensity: Intensity, size: tuple[int, ...]) -> Floats:
    """Normalise and resample, some rows at a time: the whole of a large image is never there as floats."""
    rows = max(1, BLOCK * image.shape[1] // image.size)
    parts = []
    for start in range(0, image.shape[1], rows):
        part = slice(start, min(image.shape[1], start + rows))
        found = intensity.within((part, *[slice(None)] * (image.ndim - 2)))
        parts.append(_resize(found(image[:, part]), (part.stop - part.start, *size[1:])))
    return _resize(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1), size)


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
