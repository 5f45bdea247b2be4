"""The band above a picture: its title, and what the colours mean."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

TINT = 0.4  # of a colour that is laid over an image
LINE, FONT, SCALE = 22, cv2.FONT_HERSHEY_SIMPLEX, 0.5
WHITE, GROUND = (255, 255, 255), 30
Entry = tuple[str, tuple[int, int, int], str]  # name, colour, and what of its swatch is drawn: "line", "fill" or "both"


def legend(width: int, title: str, entries: Sequence[Entry]) -> NDArray[np.uint8]:
    """(H, width, 3) RGB: the title, below it a swatch and a name for each entry, in as many lines as they need."""
    spots, left, row = [], 8, 1
    for name, _, _ in entries:
        (length, _), _ = cv2.getTextSize(name, FONT, SCALE, 1)
        if left > 8 and left + 24 + length > width:
            left, row = 8, row + 1
        spots.append((left, row))
        left += 24 + length + 18
    band = np.full(((row + 1) * LINE + 6, width, 3), GROUND, np.uint8)
    cv2.putText(band, title, (8, LINE - 6), FONT, SCALE, WHITE, 1, cv2.LINE_AA)
    for (name, color, way), (left, row) in zip(entries, spots, strict=True):
        top, bottom = row * LINE + 5, row * LINE + 17
        if way != "line":
            tint = tuple(round(TINT * value + (1 - TINT) * GROUND) for value in color)
            cv2.rectangle(band, (left, top), (left + 16, bottom), tint, -1)
        if way != "fill":
            cv2.rectangle(band, (left, top), (left + 16, bottom), color, 1)
        cv2.putText(band, name, (left + 24, bottom), FONT, SCALE, WHITE, 1, cv2.LINE_AA)
    return band
