"""Everything that is written for one input, and what the record says about it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.data.images import write_image
from segkit.data.preprocess import slice_axis_of
from segkit.data.volumes import write_pages, write_volume
from segkit.errors import SegkitError
from segkit.files import replacing
from segkit.inference.postprocess import LEVELS, Segmented, measure
from segkit.prediction.inputs import Picture
from segkit.prediction.jobs import Job, OutputOptions
from segkit.reports.overlay import mosaic, overlay, palette
from segkit.settings import Preprocess
from segkit.task import Task


def write_outputs(
    job: Job, out: Path, picture: Picture, segmented: Segmented, task: Task, preprocess: Preprocess, outputs: OutputOptions
) -> dict[str, Any]:
    """Write mask, overlay and probabilities of an input.

    Returns:
        What the record says: counts of pixels (voxels) by class, and measures where a table is outputs.
    """
    labels = segmented.labels
    _write_mask(out / job.files["mask"], labels, picture, task, outputs.palette)
    if "overlay" in job.files:
        drawn = _draw(picture, labels, task, preprocess)
        write_image(out / job.files["overlay"], drawn)
    if segmented.probabilities is not None:
        _write_probabilities(out / job.files["probabilities"], segmented.probabilities, picture)
    unit = "voxels" if labels.ndim == 3 else "pixels"
    found: dict[str, Any] = {unit: {name: int(np.count_nonzero(labels == value)) for value, name in enumerate(task.classes)}}
    if outputs.table:
        found["measures"] = measure(segmented, task, picture.spacing, picture.affine)
    return found


def of_classes(probabilities: NDArray[np.float32], task: Task) -> dict[str, Any]:
    """What the record says of a classification: (K,) or (K, slices) probabilities by class."""
    rounded = probabilities.astype(np.float64).round(6)
    return {"probabilities": dict(zip(task.classes, rounded.tolist(), strict=True))}


def _write_mask(path: Path, labels: NDArray[Any], picture: Picture, task: Task, colored: bool) -> None:
    if labels.ndim == 3 and not picture.stack:
        write_volume(path, labels, _grid(picture))
        return
    shown = labels * 255 if task.mode == "binary" else labels
    if picture.stack:
        write_pages(path, shown)
    elif colored and path.suffix == ".png" and labels.dtype == np.uint8:
        write_image(path, labels, palette(len(task.classes)))
    else:
        write_image(path, shown)


def _write_probabilities(path: Path, levels: NDArray[np.uint16], picture: Picture) -> None:
    if path.suffix in (".png", ".tif"):
        (write_pages if picture.stack else write_image)(path, levels[0])
    elif path.suffix == ".npz":
        content = io.BytesIO()
        np.savez_compressed(content, probabilities=levels.astype(np.float32) / LEVELS)
        with replacing(path) as temporary:
            temporary.write_bytes(content.getvalue())
    else:
        write_volume(path, np.moveaxis(levels, 0, -1), _grid(picture), slope=1 / LEVELS)


def _draw(picture: Picture, labels: NDArray[Any], task: Task, preprocess: Preprocess) -> NDArray[np.uint8]:
    if labels.ndim == 2:
        return overlay(picture.image, labels, task.classes)
    axis = 2 if picture.stack else slice_axis_of(preprocess, labels.shape, picture.spacing)
    spacing = picture.spacing or (1.0, 1.0, 1.0)
    return mosaic(picture.image, labels, task.classes, axis, spacing, turned=not picture.stack)


def _grid(picture: Picture) -> Path | NDArray[np.float64]:
    grid = picture.like if picture.like is not None else picture.affine
    if grid is None:
        raise SegkitError("This volume does not say where its voxels lie, so no NIfTI can be written.")
    return grid
