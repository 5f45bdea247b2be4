"""The masks that an evaluation found, as files that any viewer opens and `segkit evaluate --folder` scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segkit.data.images import write_image
from segkit.data.volumes import write_volume
from segkit.reports.comparison import place_of
from segkit.settings import Preprocess
from segkit.task import CaseResult, Sample


def write_mask(folder: Path, id: str, sample: Sample, result: CaseResult, preprocess: Preprocess) -> None:
    """Write FOLDER/ID.png, of a volume FOLDER/ID.nii.gz; of overlapping classes one file each, FOLDER/ID.CLASS.png.

    Labels are those of the task; of a single class 255 in images.

    Raises:
        SegkitError: a file cannot be written.
    """
    task, labels = result.task, result.labels
    if task.mode == "multilabel":
        layers = {f"{id}.{name}": layer for name, layer in zip(task.foreground, labels, strict=True)}
    else:
        layers = {id: labels}
    for name, layer in layers.items():
        if layer.ndim == 3:
            affine = sample.affine if sample.affine is not None else np.diag([*(sample.spacing or (1.0, 1.0, 1.0)), 1.0])
            write_volume(place_of(folder, name, ".nii.gz"), layer, affine)
        else:
            write_image(place_of(folder, name, ".png"), layer if task.mode == "multiclass" else layer * np.uint8(255))
