"""The grid that predictions are scored on: the truth's own, or the network's, as papers do that score what they train on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit.data.preprocess import forward_image, forward_mask, geometry_of
from segkit.errors import UsageError, did_you_mean
from segkit.inference.network import BATCH, Network
from segkit.inference.predictor import logits_of, predict_images, view_of
from segkit.inference.probabilities import presence_of, probabilities_of
from segkit.task import Sample, Task

OWN, MODEL = GRIDS = ("own", "model")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Predicted:
    """A prediction beside its truth, on one grid.

    Args:
        probabilities: (K, *S).
        truth: (*S), or (K, *S) for multilabel.
        spacing: mm along each axis of S, where known.
        slice_axis: of a volume that the network sees in slices.
    """

    probabilities: NDArray[np.float32]
    truth: NDArray[Any]
    spacing: tuple[float, ...] | None
    slice_axis: int | None


def check_grid(grid: str, networks: Sequence[Network], kind: str) -> None:
    """Refuse a grid that is none, or that the networks do not share.

    Raises:
        UsageError: saying why.
    """
    if grid not in GRIDS:
        raise UsageError(f"--grid {grid} is not allowed.", did_you_mean(grid, GRIDS))
    if grid == MODEL and kind == "classification":
        raise UsageError("--grid model is about masks; this model gives classes.", "Leave it out.")
    if grid == MODEL and any(one.preprocess != networks[0].preprocess for one in networks):
        raise UsageError("--grid model: these models see images on different grids.", "Score them on the data's own grid.")


def predict_on(
    grid: str, networks: Sequence[Network], data: Task, samples: Iterable[tuple[Item, Sample]]
) -> Iterator[tuple[Item, Predicted]]:
    """Predict labelled samples; each with the item that was given for it, in order.

    Args:
        grid: one of `GRIDS`.
        networks: one, or an ensemble.
        data: the task of the masks; that of the networks may be the classification that is learned from them.
        samples: with their masks.
    """
    if grid == MODEL:
        yield from _on_model_grid(networks, samples)
        return
    network = networks[0]
    images = (((item, sample), sample.image, sample.spacing) for item, sample in samples)
    for (item, sample), probabilities in predict_images(networks, images):
        assert sample.mask is not None
        axis = geometry_of(sample.image.shape[1:], network.preprocess, network.dims, sample.spacing).slice_axis
        truth = sample.mask if network.task.kind == data.kind else presence_of(sample.mask, data, axis)
        yield item, Predicted(probabilities, truth, sample.spacing, axis)


def _on_model_grid(networks: Sequence[Network], samples: Iterable[tuple[Item, Sample]]) -> Iterator[tuple[Item, Predicted]]:
    """Images and masks as training sees them, and the mean probabilities of the networks there."""
    first, samples = networks[0], iter(samples)
    while group := list(islice(samples, BATCH if first.task.dims == 2 else 1)):
        views = [view_of(first, sample.image, sample.spacing) for _, sample in group]
        grids = [
            view.grid
            if view.grid is not None
            else forward_image(sample.image, first.preprocess, view.geometry, view.intensity)
            for view, (_, sample) in zip(views, group, strict=True)
        ]
        batch = [(None, image, view.geometry) for image, view in zip(grids, views, strict=True)]
        members = [[probabilities_of(logits, first.task) for _, logits in logits_of(own, batch)] for own in networks]
        for (item, sample), view, parts in zip(group, views, zip(*members, strict=True), strict=True):
            assert sample.mask is not None
            geometry, spacing = view.geometry, sample.spacing
            if spacing is not None:
                sides = zip(spacing, geometry.source, geometry.scaled, strict=True)
                spacing = tuple(mm * own / scaled for mm, own, scaled in sides)
            truth = forward_mask(sample.mask, geometry)
            yield item, Predicted(np.mean(parts, axis=0, dtype=np.float32), truth, spacing, geometry.slice_axis)
