"""What `segkit data explore` gathers of a case: pixel values, classes, and its targets, each with size, shape and place.

A target is a connected part of one class: a lesion, or a filled box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.data.preprocess import forward_image, geometry_of, normalisation_of, slice_axis_of
from segkit.data.reading import read_case
from segkit.reports.overlay import overlay
from segkit.settings import Preprocess
from segkit.task import Case, Dataset, Sample

EDGES = np.linspace(-4, 4, 65)  # of the histogram of pixel values; what lies outside is counted in the outermost bins
DRAWN = 256  # pixels along the longer side of an example, at least about


@dataclass(frozen=True)
class Target:
    """A connected part of one class: its share of the image, the aspect of its bounding box (second axis over first), and
    its centre as shares of the first two axes."""

    size: float
    aspect: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class CaseLook:
    """What is drawn of one case: shares of pixel values and of classes, targets, and the case itself if it is an example."""

    case: Case
    intensities: NDArray[np.float64]
    pixels: NDArray[np.float64]
    targets: tuple[Target, ...]
    example: NDArray[np.uint8] | None


@dataclass
class Gathered:
    """What is drawn of one subset."""

    looks: list[CaseLook] = field(default_factory=list)

    @property
    def targets(self) -> list[Target]:
        return [target for look in self.looks for target in look.targets]

    @property
    def intensities(self) -> NDArray[np.float64]:
        return np.asarray(np.mean([look.intensities for look in self.looks], axis=0))

    @property
    def balance(self) -> NDArray[np.float64]:
        total = np.sum([look.pixels for look in self.looks], axis=0)
        return np.asarray(total / max(1.0, total.sum()))


def look_at(dataset: Dataset, case: Case, settings: Preprocess, drawn: bool) -> CaseLook:
    """Read a case and look at it; with `drawn` it becomes an example. Raises SegkitError if it cannot be read."""
    sample, task = read_case(dataset, case), dataset.task
    assert sample.mask is not None, "read_case saw to it"
    settings = replace(settings, fit="native", size=None, spacing=None)
    intensity = normalisation_of(sample.image, settings, sample.spacing)
    values = forward_image(sample.image, settings, geometry_of(sample.image.shape[1:], settings, task.dims), intensity)
    if task.mode == "multilabel":
        layers = [layer > 0 for layer in sample.mask]
    else:
        layers = [sample.mask == label for label in range(1, len(task.classes))]
    background = (sample.mask == 0).all(axis=0) if task.mode == "multilabel" else sample.mask == 0
    return CaseLook(
        case,
        np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0] / values.size,
        np.array([background.sum(), *(layer.sum() for layer in layers)], float),
        tuple(target for layer in layers for target in _targets(layer)),
        _drawn(sample, layers, task.classes) if drawn else None,
    )


def _targets(layer: NDArray[Any]) -> Iterator[Target]:
    """The connected parts of (*S) booleans."""
    labels, count = ndimage.label(layer, np.ones((3,) * layer.ndim))
    numbers = range(1, count + 1)
    centres, sizes = ndimage.center_of_mass(layer, labels, numbers), np.bincount(labels.ravel(), minlength=count + 1)
    for number, box, centre in zip(numbers, ndimage.find_objects(labels), centres, strict=True):
        height, width = (side.stop - side.start for side in box[:2])
        row, column = ((centre[axis] + 0.5) / layer.shape[axis] for axis in (0, 1))
        yield Target(float(sizes[number] / layer.size), width / height, (float(row), float(column)))


def _drawn(sample: Sample, layers: Sequence[NDArray[Any]], classes: Sequence[str]) -> NDArray[np.uint8]:
    """A case with its mask; of a volume the slice that holds most of it, as radiologists look at it."""
    image: NDArray[Any] = sample.image
    masks: NDArray[Any] = np.stack(layers).astype(np.uint8)
    if image.ndim == 4:
        axis = slice_axis_of(Preprocess(), image.shape[1:], sample.spacing)
        held = masks.sum(axis=tuple(ax for ax in range(4) if ax != axis + 1))
        number = int(held.argmax()) if held.any() else len(held) // 2
        image, masks = (np.flip(part.take(number, axis + 1).swapaxes(1, 2), (1, 2)) for part in (image, masks))
    larger = max(1, DRAWN // max(image.shape[1:]))  # contours would cover a small one
    image, masks = (part.repeat(larger, axis=1).repeat(larger, axis=2) for part in (image, masks))
    return overlay(image, masks, classes)
