"""Outlines of masks as polygons, in COCO's JSON format (Lin 2014).

Polygons run along the edges of pixels, so the area of a polygon is the count of its pixels. A hole is reached by a bridge of
no width, since a COCO polygon has no holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def outlines(mask: Array) -> list[list[int]]:
    """The polygons of a mask, one for each 8-connected component.

    Args:
        mask: (H, W), inside where it is not 0.

    Returns:
        x0, y0, x1, y1, ... for each, in pixels from the upper left corner of the image.

    >>> outlines(np.array([[0, 1, 1]]))
    [[1, 0, 1, 1, 3, 1, 3, 0]]
    """
    count, components, boxes, _ = cv2.connectedComponentsWithStats((mask != 0).astype(np.uint8), connectivity=8)
    polygons = []
    for number in range(1, count):
        left, top, width, height = (int(value) for value in boxes[number][:4])
        own = components[top : top + height, left : left + width] == number
        polygons.append(_polygon(own, left, top))
    return polygons


def _polygon(component: Array, left: int, top: int) -> list[int]:
    """The outer edge of a component and, over bridges, those of its holes."""
    doubled = component.repeat(2, axis=0).repeat(2, axis=1).astype(np.uint8)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # in the doubled image a pixel has its own place for each of its sides: places 2i and 2i + 1 lie at the edges i and i + 1
    edges = [_corners((contour[:, 0] + 1) // 2) for contour in contours]
    outer = max(range(len(edges)), key=lambda index: float(np.ptp(edges[index], axis=0).sum()))
    path = [*edges[outer], edges[outer][0]]
    for index, ring in enumerate(edges):
        if index != outer:
            path += [*ring, ring[0], path[0]]
    points = path if len(edges) > 1 else path[:-1]
    return [int(value) for x, y in points for value in (x + left, y + top)]


def _corners(points: Array) -> list[Array]:
    """A closed path without points that repeat or lie on the straight line between their neighbours."""
    distinct = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
    before, after = distinct - np.roll(distinct, 1, axis=0), np.roll(distinct, -1, axis=0) - distinct
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(axis=1) < 0
    return list(distinct[turns | back])


def coco(images: Iterable[tuple[str, Array]], classes: Sequence[str]) -> dict[str, Any]:
    """A COCO document.

    Args:
        images: names and label images (H, W).
        classes: background first.
    """
    document: dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": value, "name": name} for value, name in enumerate(classes) if value > 0],
    }
    for number, (name, labels) in enumerate(images, start=1):
        height, width = labels.shape
        document["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for value in range(1, len(classes)):
            for polygon in outlines(labels == value):
                document["annotations"].append(
                    {
                        "id": len(document["annotations"]) + 1,
                        "image_id": number,
                        "category_id": value,
                        "segmentation": [polygon],
                        "area": _area(polygon),
                        "bbox": _box(polygon),
                        "iscrowd": 0,
                    }
                )
    return document


def _area(polygon: Sequence[int]) -> float:
    x, y = np.array(polygon[::2], np.int64), np.array(polygon[1::2], np.int64)
    return float(abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2)


def _box(polygon: Sequence[int]) -> list[int]:
    x, y = polygon[::2], polygon[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
