"""Truth and prediction of a case in one picture: what was found is tinted, what is true is outlined, in its class' colour.

So a tint beyond its line was found wrongly, and a line around no tint was missed. The legend stands above the image.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.data.images import write_image
from segkit.data.preprocess import slice_axis_of
from segkit.reports.legend import TINT, Entry, legend
from segkit.reports.overlay import LARGEST, as_rgb, colors, tiles
from segkit.settings import Preprocess
from segkit.task import CaseResult, Sample, Task

SMALLEST = 512  # pixels along a longer side; smaller images are enlarged, so that lines stay thin and words legible
Layers = NDArray[np.bool_]


def write_comparison(folder: Path, id: str, sample: Sample, result: CaseResult, preprocess: Preprocess) -> None:
    """Write FOLDER/ID.png; of a volume some of its slices.

    Raises:
        SegkitError: the file cannot be written.
    """
    write_image(place_of(folder, id, ".png"), compare(sample, result, preprocess, id))


def place_of(folder: Path, id: str, suffix: str) -> Path:
    """The file of a case below a folder, whatever its id is made of."""
    parts = [part for part in PurePosixPath(id).parts if part.strip("/.")]
    return folder.joinpath(*parts[:-1], parts[-1] + suffix)


def compare(sample: Sample, result: CaseResult, preprocess: Preprocess, title: str) -> NDArray[np.uint8]:
    """Draw a case.

    Args:
        sample: with its image (C, *S) in stored units.
        result: labels and truth, on the same grid.
        preprocess: of the network; it says which axis of a volume slices are taken along.
        title: to stand above it.

    Returns:
        (H, W, 3) RGB.
    """
    task, image = result.task, sample.image
    stacked = [array if task.mode == "multilabel" else array[None] for array in (result.truth, result.labels)]
    maps = np.concatenate([array.astype(np.int32) for array in stacked])
    if image.ndim == 4:
        spacing = sample.spacing or (1.0, 1.0, 1.0)
        axis = slice_axis_of(preprocess, image.shape[1:], sample.spacing)
        canvas, maps = tiles(image, maps, axis, spacing, turned=sample.affine is not None)
    else:
        step = -(-max(image.shape[1:]) // LARGEST)
        canvas, maps = as_rgb(image[:, ::step, ::step]), maps[:, ::step, ::step]
    factor = max(1, round(SMALLEST / max(canvas.shape[:2])))
    size = canvas.shape[1] * factor, canvas.shape[0] * factor
    canvas = np.asarray(cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    maps = maps.repeat(factor, axis=1).repeat(factor, axis=2)
    half = len(maps) // 2
    truth, found = _layers(maps[:half], task), _layers(maps[half:], task)
    _draw(canvas, truth, found)
    shades: list[Entry] = [
        (name, color, "both") for name, color in zip(task.foreground, colors(len(task.foreground)), strict=True)
    ]
    ways: list[Entry] = [("truth", (255, 255, 255), "line"), ("prediction", (255, 255, 255), "fill")]
    return np.concatenate([legend(canvas.shape[1], title, [*shades, *ways]), canvas])


def _layers(maps: NDArray[np.int32], task: Task) -> Layers:
    """(K, H, W), one layer for each foreground class."""
    if task.mode == "multilabel":
        return np.asarray(maps == 1)
    return np.stack([maps[0] == value for value in range(1, len(task.classes))])


def _draw(canvas: NDArray[np.uint8], truth: Layers, found: Layers) -> None:
    """Tints first, then all outlines, each on a dark line, which keeps it visible on any ground."""
    width = max(2, round(max(canvas.shape[:2]) / 400))
    shades = colors(len(truth))
    for layer, color in zip(found, shades, strict=True):
        canvas[layer] = ((1 - TINT) * canvas[layer] + TINT * np.array(color)).astype(np.uint8)
    for layer, color in zip(truth, shades, strict=True):
        lines, _ = cv2.findContours(layer.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, lines, -1, (0, 0, 0), thickness=width + 2)
        cv2.drawContours(canvas, lines, -1, color, thickness=width)
