"""A batch as the network is trained on it, with its masks: does augmentation, cropping or patching leave what it should?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.reports.legend import Entry, legend
from segkit.reports.overlay import colors, overlay

MOST = 16  # images
TILE = 256  # pixels along their longer side, at least


def draw_batch(images: NDArray[Any], masks: NDArray[Any], classes: Sequence[str], title: str) -> NDArray[np.uint8]:
    """The images of a batch side by side, their masks drawn over them; of volumes the slice that holds most of a mask.

    Args:
        images: (B, C, *S) of any values.
        masks: (B, *S) class numbers, or (B, K, *S) of 0 and 1.
        classes: background first.
        title: to stand above them.

    Returns:
        (H, W, 3) RGB.
    """
    shown = [_tile(image, mask, classes) for image, mask in zip(images[:MOST], masks[:MOST], strict=True)]
    across = int(np.ceil(np.sqrt(len(shown))))
    shown += [np.zeros_like(shown[0])] * (-len(shown) % across)
    rows = [np.concatenate(shown[start : start + across], axis=1) for start in range(0, len(shown), across)]
    grid = np.concatenate(rows)
    items: list[Entry] = [(name, color, "both") for name, color in zip(classes[1:], colors(len(classes) - 1), strict=True)]
    return np.concatenate([legend(grid.shape[1], title, items), grid])


def _tile(image: NDArray[Any], mask: NDArray[Any], classes: Sequence[str]) -> NDArray[np.uint8]:
    if image.ndim == 4:
        number = int(np.count_nonzero(mask, axis=tuple(range(mask.ndim - 1))).argmax())
        image, mask = image[..., number], mask[..., number]
    factor = max(1, round(TILE / max(image.shape[1:])))
    image, mask = (part.repeat(factor, axis=-1).repeat(factor, axis=-2) for part in (image, mask))
    return np.pad(overlay(image, mask, classes, legend=False), ((1, 1), (1, 1), (0, 0)))
