"""A prediction drawn over its image: each class as a tint with its contour, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Okabe & Ito 2008: distinguishable with any kind of colour vision.
COLORS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
TINT = 0.35


def overlay(image: NDArray[Any], labels: NDArray[Any], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw labels over an image.

    Args:
        image: (C, H, W) in stored units.
        labels: (H, W) integers, or (K, H, W) of 0 and 1.
        classes: background first.

    Returns:
        (H, W, 3) RGB.
    """
    canvas = as_rgb(image)
    layers = labels if labels.ndim == 3 else [labels == value for value in range(1, len(classes))]
    scale = max(1.0, min(canvas.shape[:2]) / 400)
    for layer, color in zip(layers, _colors(len(classes) - 1), strict=True):
        inside = np.asarray(layer, dtype=np.uint8)
        tinted = (1 - TINT) * canvas[inside > 0] + TINT * np.array(color)
        canvas[inside > 0] = tinted.astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, color, thickness=max(1, round(1.5 * scale)))
    _legend(canvas, classes[1:], scale)
    return canvas


def as_rgb(image: NDArray[Any]) -> NDArray[np.uint8]:
    """(C, H, W) in any units -> (H, W, 3) uint8; what is not 8 bit is stretched between its 0.5 and 99.5 percentiles."""
    channels = image[:3] if len(image) >= 3 else image[:1].repeat(3, axis=0)
    if channels.dtype != np.uint8:
        low, high = np.percentile(channels, (0.5, 99.5))
        channels = np.clip((channels.astype(np.float32) - low) / max(float(high - low), 1e-6) * 255, 0, 255)
    return np.ascontiguousarray(np.moveaxis(channels, 0, -1).astype(np.uint8))


def _colors(count: int) -> list[tuple[int, int, int]]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _legend(canvas: NDArray[np.uint8], names: Sequence[str], scale: float) -> None:
    """Class names in their colours in the upper left corner, where the image is large enough for them."""
    line = round(16 * scale)
    if line * (len(names) + 1) > canvas.shape[0] or canvas.shape[1] < 8 * line:
        return
    for row, (name, color) in enumerate(zip(names, _colors(len(names)), strict=True), start=1):
        spot = (round(6 * scale), row * line)
        for ink, thickness in (((0, 0, 0), 3), (color, 1)):
            cv2.putText(
                canvas, name, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * scale, ink, round(thickness * scale), cv2.LINE_AA
            )
