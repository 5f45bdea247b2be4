"""A prediction drawn over its image: each class as a tint with its contour, and a legend; of a volume some of its slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Okabe & Ito 2008: distinguishable with any kind of colour vision.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
TINT = 0.35
LARGEST = 4096  # pixels along a side; larger images are drawn smaller
SLICES = 16  # of a volume
TILE = 256  # pixels along a slice's longer side, at least


def overlay(image: NDArray[Any], labels: NDArray[Any], classes: Sequence[str], legend: bool = True) -> NDArray[np.uint8]:
    """Draw labels over an image.

    Args:
        image: (C, H, W) in stored units.
        labels: (H, W) integers, or (K, H, W) of 0 and 1.
        classes: background first.
        legend: names in a corner, where the image is large enough.

    Returns:
        (H, W, 3) RGB; every second, third, ... pixel of an image of more than `LARGEST`.
    """
    step = -(-max(image.shape[1:]) // LARGEST)
    canvas, labels = as_rgb(image[:, ::step, ::step]), labels[..., ::step, ::step]
    layers = labels if labels.ndim == 3 else [labels == value for value in range(1, len(classes))]
    scale = max(1.0, min(canvas.shape[:2]) / 400)
    for layer, color in zip(layers, colors(len(classes) - 1), strict=True):
        inside = np.asarray(layer, dtype=np.uint8)
        tinted = (1 - TINT) * canvas[inside > 0] + TINT * np.array(color)
        canvas[inside > 0] = tinted.astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, color, thickness=max(1, round(1.5 * scale)))
    if legend:
        _legend(canvas, classes[1:], scale)
    return canvas


def mosaic(
    image: NDArray[Any], labels: NDArray[Any], classes: Sequence[str], axis: int, spacing: Sequence[float], turned: bool
) -> NDArray[np.uint8]:
    """Slices of a volume side by side, evenly spaced over where anything was found (else over all of it).

    Args:
        image: (C, X, Y, Z) in stored units.
        labels: (X, Y, Z) integers.
        classes: background first.
        axis: along which slices are taken.
        spacing: mm along each axis.
        turned: the axes are RAS and shown as radiologists look at them: the patient's right to the left, head or front up.

    Returns:
        (H, W, 3) RGB.
    """
    canvas, drawn = tiles(image, labels[None], axis, spacing, turned)
    return overlay(np.moveaxis(canvas, -1, 0), drawn[0], classes)


def tiles(
    image: NDArray[Any], maps: NDArray[Any], axis: int, spacing: Sequence[float], turned: bool
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The slices of a volume side by side, (H, W, 3) RGB, and those of its (N, X, Y, Z) maps, (N, H, W); see `mosaic`."""
    others = tuple(ax for ax in range(3) if ax != axis)
    found = np.flatnonzero(maps.any(axis=(0, *(1 + ax for ax in others))))
    first, last = (int(found[0]), int(found[-1])) if len(found) else (0, maps.shape[1 + axis] - 1)
    numbers = np.unique(np.linspace(first, last, min(SLICES, last - first + 1)).round().astype(int))
    grays, masks = (np.moveaxis(part.take(numbers, axis + 1), axis + 1, 1) for part in (image, maps))
    if turned:
        grays, masks = (np.flip(part.swapaxes(-1, -2), (-1, -2)) for part in (grays, masks))
        others = others[::-1]
    sides = np.array([grays.shape[2 + row] * spacing[ax] for row, ax in enumerate(others)])
    height, width = (max(1, int(side)) for side in (sides * max(TILE, *grays.shape[2:]) / sides.max()).round())
    across = int(np.ceil(np.sqrt(len(numbers))))
    down = -(-len(numbers) // across)
    canvas = np.zeros((down * height, across * width, 3), np.uint8)
    drawn = np.zeros((len(maps), down * height, across * width), maps.dtype)
    colored = as_rgb(grays.reshape(len(grays), -1, grays.shape[-1])).reshape(*grays.shape[1:], 3)
    for index, gray in enumerate(colored):
        box = np.s_[index // across * height :, index % across * width :]
        canvas[box][:height, :width] = cv2.resize(np.ascontiguousarray(gray), (width, height))
        for own, mask in zip(drawn, masks[:, index], strict=True):
            own[box][:height, :width] = cv2.resize(
                np.ascontiguousarray(mask), (width, height), interpolation=cv2.INTER_NEAREST
            )
    return canvas, drawn


def as_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """(C, H, W) in any units -> (H, W, 3) uint8; what is not 8 bit is stretched between its 0.5 and 99.5 percentiles."""
    channels = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    if channels.dtype != np.uint8:
        low, high = np.percentile(channels, (0.5, 99.5))
        channels = np.clip((channels.astype(np.float32) - low) / max(float(high - low), 1e-6) * 255, 0, 255)
    return np.ascontiguousarray(np.moveaxis(channels, 0, -1).astype(np.uint8))


def palette(classes: int) -> list[tuple[int, int, int]]:
    """Colours of label images: black for the background, then those of the overlays."""
    return [(0, 0, 0), *colors(classes - 1)]


def colors(count: int) -> list[tuple[int, int, int]]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _legend(canvas: NDArray[np.uint8], names: Sequence[str], scale: float) -> None:
    """Class names in their colours in the upper left corner, where the image is large enough for them."""
    line = round(16 * scale)
    if line * (len(names) + 1) > canvas.shape[0] or canvas.shape[1] < 8 * line:
        return
    for row, (name, color) in enumerate(zip(names, colors(len(names)), strict=True), start=1):
        spot = (round(6 * scale), row * line)
        for ink, thickness in (((0, 0, 0), 3), (color, 1)):
            cv2.putText(
                canvas, name, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * scale, ink, round(thickness * scale), cv2.LINE_AA
            )
