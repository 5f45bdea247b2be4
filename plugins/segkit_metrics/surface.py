"""Distances between the surfaces of truth and prediction, in mm: Hausdorff distance, mean distance, surface Dice.

A surface is the voxels of a mask that touch, by a face, one outside it; beyond the image everything is outside. Where the
spacing is not known, distances are in pixels. Nothing in both masks: distance 0, surface Dice 1. Nothing in one of them: the
image's diagonal (as the BraTS challenges have it), surface Dice 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.api import CaseResult, Metric, NoOptions, Task
from segkit_metrics.masks import Mask, box_of, masks_of
from segkit_metrics.plugin import HausdorffOptions, SurfaceDiceOptions

try:
    import edt
except ImportError:
    edt = None

Distances = NDArray[np.float64]
Reading = Callable[[Distances, Distances], float]


def surface_distances(truth: Mask, found: Mask, spacing: tuple[float, ...]) -> tuple[Distances, Distances] | None:
    """From each surface voxel of the prediction to the truth's surface, and the other way round; None where one is empty."""
    if not truth.any() or not found.any():
        return None
    box = box_of(truth, found)
    edges = [mask[box] & ~ndimage.binary_erosion(mask[box]) for mask in (truth, found)]
    to_truth, to_found = (distances_to(edge, spacing) for edge in edges)
    return to_truth[edges[1]], to_found[edges[0]]


def distances_to(edge: Mask, spacing: tuple[float, ...]) -> Distances:
    """From each voxel to the nearest one of an edge, in mm; by the package edt where it is installed, in half the time."""
    if edt is None:
        found: Distances = ndimage.distance_transform_edt(~edge, sampling=spacing)
        return found
    return np.asarray(edt.edt(~edge, anisotropy=spacing, black_border=False), np.float64)


def hausdorff(to_truth: Distances, to_found: Distances, percentile: float, pooled: bool) -> float:
    """The larger of the two directed percentiles (MONAI), or the percentile of all distances together."""
    if pooled:
        return float(np.percentile(np.concatenate([to_truth, to_found]), percentile))
    return float(max(np.percentile(to_truth, percentile), np.percentile(to_found, percentile)))


def mean_distance(to_truth: Distances, to_found: Distances) -> float:
    """Over the voxels of both surfaces (average symmetric surface distance)."""
    return float((to_truth.sum() + to_found.sum()) / (len(to_truth) + len(to_found)))


def mean_of_means(to_truth: Distances, to_found: Distances) -> float:
    """Each direction counts the same, however many voxels its surface has."""
    return float((to_truth.mean() + to_found.mean()) / 2)


def surface_dice(to_truth: Distances, to_found: Distances, tolerance: float) -> float:
    """The share of both surfaces that is within the tolerance of the other (Nikolov 2021)."""
    near = np.count_nonzero(to_truth <= tolerance) + np.count_nonzero(to_found <= tolerance)
    return near / (len(to_truth) + len(to_found))


def build_hd95(task: Task, options: HausdorffOptions) -> Metric:
    reading = partial(hausdorff, percentile=options.percentile, pooled=options.pooled)
    return _metric(reading, _diagonal, 0.0)


def build_assd(task: Task, options: NoOptions) -> Metric:
    return _metric(mean_distance, _diagonal, 0.0)


def build_hd95_pooled(task: Task, options: NoOptions) -> Metric:
    return _metric(partial(hausdorff, percentile=95.0, pooled=True), _diagonal, 0.0)


def build_assd_of_means(task: Task, options: NoOptions) -> Metric:
    return _metric(mean_of_means, _diagonal, 0.0)


def build_nsd(task: Task, options: SurfaceDiceOptions) -> Metric:
    return _metric(partial(surface_dice, tolerance=options.tolerance), lambda shape, spacing: 0.0, 1.0)


def _metric(reading: Reading, lost: Callable[[tuple[int, ...], tuple[float, ...]], float], nothing: float) -> Metric:
    """A metric of each case; counts add up to the mean over cases, whatever is summed.

    Args:
        reading: of the distances.
        lost: where one mask is empty, by the image's shape and spacing.
        nothing: where both are.
    """

    def measure(result: CaseResult) -> dict[str, NDArray[np.float64]]:
        counts = {}
        for name, (shape, spacing, distances) in _measured(_Key(result)).items():
            both_empty = distances == ()
            value = nothing if both_empty else reading(*distances) if distances else lost(shape, spacing)
            counts[name] = np.array([value, 1.0])
        return counts

    def finish(counts: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(total / number) for name, (total, number) in counts.items()}

    return Metric(measure, finish)


class _Key:
    """A case by its identity: several metrics of distances measure it once."""

    def __init__(self, result: CaseResult) -> None:
        self.result = result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.result is other.result

    def __hash__(self) -> int:
        return id(self.result)


@lru_cache(maxsize=1)
def _measured(key: _Key) -> dict[str, tuple[tuple[int, ...], tuple[float, ...], Any]]:
    """Shape, spacing and distances of each class; () where both masks are empty, None where one is."""
    found = {}
    for name, truth, labels in masks_of(key.result):
        spacing = key.result.spacing or (1.0,) * truth.ndim
        distances = () if not truth.any() and not labels.any() else surface_distances(truth, labels, spacing)
        found[name] = (truth.shape, spacing, distances)
    return found


def _diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    return math.hypot(*(side * mm for side, mm in zip(shape, spacing, strict=True)))
