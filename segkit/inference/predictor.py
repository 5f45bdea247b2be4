"""The only path from pixels to probabilities: preprocess, network, inverse. NumPy in, NumPy out, no torch.

What the network sees of an image is the whole of it, its slices (a 2D network on a volume), or overlapping windows
(fit = patch, and images too large for fit = native). Probabilities come back on the image's own grid in bands along one of
its axes, so that memory stays bounded whatever the image's size. Several networks are an ensemble: their mean probability.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit.data.intensity import Intensity
from segkit.data.preprocess import (
    Geometry,
    forward_image,
    from_slices,
    geometry_of,
    inverse,
    inverse_bands,
    normalisation_of,
    of_slices,
    to_slices,
)
from segkit.inference.network import BATCH, Floats, Network, run
from segkit.inference.probabilities import background_of, probabilities_of
from segkit.inference.sliding_window import predict_windows

Spacing = tuple[float, ...] | None
Band = tuple[int, int, Floats]
Item = TypeVar("Item")

HELD = 256_000_000  # bytes of images that wait for their batch


@dataclass(frozen=True)
class View:
    """One image as one network sees it.

    Args:
        geometry: where it lies on the network's grid.
        intensity: how it is normalised.
        grid: (C, *target), normalised, where it is there as a whole; None: it is made piece by piece.
    """

    geometry: Geometry
    intensity: Intensity
    grid: Floats | None


@dataclass(frozen=True)
class PreparedImage:
    """An image, read and made ready for each network.

    Args:
        image: (C, *S) in stored units; None where no network needs it any more.
        views: one for each network.
    """

    image: NDArray[Any] | None
    views: tuple[View, ...]

    @property
    def bytes(self) -> int:
        grids = sum(view.grid.nbytes for view in self.views if view.grid is not None)
        return grids + (self.image.nbytes if self.image is not None else 0)


@dataclass(frozen=True)
class ImageProbabilities:
    """Probabilities of one image: (K, *S) on its own grid, or of a classification (K,), or (K, slices).

    Args:
        shape: of all of it.
        axis: of S, along which the bands lie.
        bands: (start, stop, probabilities of these rows); may be run through once, before the next image is asked for.
    """

    shape: tuple[int, ...]
    axis: int
    bands: Iterator[Band]

    def gather(self) -> Floats:
        """All of it at once."""
        first = next(self.bands)
        if first[2].shape == self.shape:
            return first[2]
        whole = np.empty(self.shape, np.float32)
        for start, stop, part in itertools.chain([first], self.bands):
            whole[rows(self.axis, start, stop)] = part
        return whole


def rows(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """The index of a band in (K, *S)."""
    return (slice(None),) * (axis + 1) + (slice(start, stop),)


def prepare_image(networks: Sequence[Network], image: NDArray[Any], spacing: Spacing) -> PreparedImage:
    """Make an image ready; what is seen in parts is left in stored units.

    Args:
        networks: one, or an ensemble.
        image: (C, *S) in stored units.
        spacing: mm along each axis, where known.

    Raises:
        SegkitError: its preprocessing needs a spacing, or other channels.
    """
    views = tuple(view_of(network, image, spacing) for network in networks)
    return PreparedImage(image if any(view.grid is None for view in views) else None, views)


def view_of(network: Network, image: NDArray[Any], spacing: Spacing) -> View:
    settings = network.preprocess
    if network.task.dims < image.ndim - 1:  # trained on images: each slice is one
        settings = replace(settings, intensity_per="slice")
    geometry = geometry_of(image.shape[1:], settings, network.dims, spacing)
    intensity = normalisation_of(image, settings, spacing)
    in_parts = geometry.slice_axis is not None
    if not in_parts and network.window(geometry.target) is not None:
        in_parts = geometry.scaled == geometry.source
    return View(geometry, intensity, None if in_parts else forward_image(image, settings, geometry, intensity))


def predict_images(
    networks: Sequence[Network], images: Iterable[tuple[Item, NDArray[Any], Spacing]]
) -> Iterator[tuple[Item, Floats]]:
    """Probabilities of images, each as a whole; each with the item that was given for it, in order."""
    prepared = ((item, prepare_image(networks, image, spacing)) for item, image, spacing in images)
    for item, found in predict_prepared(networks, prepared):
        yield item, found.gather()


def predict_prepared(
    networks: Sequence[Network], items: Iterable[tuple[Item, PreparedImage]]
) -> Iterator[tuple[Item, ImageProbabilities]]:
    """Probabilities of images on their own grids, in order; small ones go through the networks together."""
    group: list[tuple[Item, PreparedImage]] = []
    size, held = max(network.batch_size or BATCH for network in networks), 0
    for pair in items:
        group.append(pair)
        held += pair[1].bytes
        if len(group) == size or held > HELD:
            yield from _together(networks, group)
            group, held = [], 0
    yield from _together(networks, group)


def _together(
    networks: Sequence[Network], group: Sequence[tuple[Item, PreparedImage]]
) -> Iterator[tuple[Item, ImageProbabilities]]:
    task = networks[0].task
    wholes = [_wholes(network, [prepared.views[own] for _, prepared in group]) for own, network in enumerate(networks)]
    for index, (item, prepared) in enumerate(group):
        geometries = [view.geometry for view in prepared.views]
        axis = next((geometry.slice_axis for geometry in geometries if geometry.slice_axis is not None), 0)
        members = [
            _bands(network, prepared.image, view, whole.get(index), axis)
            for network, view, whole in zip(networks, prepared.views, wholes, strict=True)
        ]
        if task.kind == "classification":
            slices = () if geometries[0].slice_axis is None else (geometries[0].source[axis],)
            yield item, ImageProbabilities((task.outputs, *slices), 0, _mean(members, 0))
        else:
            yield item, ImageProbabilities((task.outputs, *geometries[0].source), axis, _mean(members, axis))


def _wholes(network: Network, views: Sequence[View]) -> dict[int, Floats]:
    """Logits of the images that the network sees whole, by their number; those of one size at once."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, view in enumerate(views):
        if view.grid is not None and network.window(view.geometry.target) is None:
            by_size.setdefault(view.grid.shape, []).append(number)
    logits: dict[int, Floats] = {}
    for numbers in by_size.values():
        grids = (view.grid for view in (views[number] for number in numbers) if view.grid is not None)
        logits |= dict(zip(numbers, run(network, grids), strict=True))
    return logits


def _bands(network: Network, image: NDArray[Any] | None, view: View, whole: Floats | None, axis: int) -> Iterator[Band]:
    """Probabilities of one network in bands along `axis` of the image; of a classification all at once."""
    task, geometry = network.task, view.geometry
    if geometry.slice_axis is not None:
        assert image is not None, "prepare kept it"
        bands = _sliced(network, image, view)
        if task.kind == "classification" or geometry.slice_axis != axis:
            parts = [part for _, _, part in bands]
            own = 1 if task.kind == "classification" else geometry.slice_axis + 1
            bands = iter([(0, 0, np.concatenate(parts, own))])
            if task.kind == "segmentation":
                bands = iter([(0, geometry.source[axis], np.concatenate(parts, own))])
        return bands
    if whole is not None:
        probabilities = probabilities_of(whole, task)
        if task.kind == "classification":
            return iter([(0, 0, probabilities)])
        return inverse_bands(probabilities, geometry, background_of(task), axis)
    grid = view.grid

    def crop(box: tuple[slice, ...]) -> Floats:
        if grid is not None:
            return grid[(slice(None), *box)]
        assert image is not None, "prepare kept it"
        return view.intensity.within(box)(image[(slice(None), *box)])

    seen = (
        (start, stop, probabilities_of(logits, task))
        for start, stop, logits in _windows(network, crop, geometry.target, axis)
    )
    if grid is None:
        return seen
    found = np.concatenate([part for _, _, part in seen], axis + 1)
    return inverse_bands(found, geometry, background_of(task), axis)


def _sliced(network: Network, image: NDArray[Any], view: View) -> Iterator[Band]:
    """Probabilities of a volume that a 2D network sees slice by slice, some slices at a time."""
    axis = view.geometry.slice_axis
    assert axis is not None
    sides = [side for ax, side in enumerate(view.geometry.target) if ax != axis]
    step = network.at_once(prod(sides)) if network.window(sides) is None else 1
    for start in range(0, view.geometry.source[axis], step):
        stop = min(view.geometry.source[axis], start + step)
        geometry = of_slices(view.geometry, start, stop)
        box = tuple(slice(start, stop) if ax == axis else slice(None) for ax in range(len(view.geometry.source)))
        grid = forward_image(image[(slice(None), *box)], network.preprocess, geometry, view.intensity.within(box))
        probabilities = probabilities_of(_logits_of_slices(network, grid, geometry), network.task)
        if network.task.kind == "segmentation":
            probabilities = inverse(probabilities, geometry, background_of(network.task))
        yield start, stop, probabilities


def logits_of(network: Network, images: Iterable[tuple[Item, Floats, Geometry]]) -> Iterator[tuple[Item, Floats]]:
    """Logits (K, *target) of preprocessed images (C, *target) on the network's grid, in order."""
    pending: list[tuple[Item, Floats]] = []

    def together() -> Iterator[tuple[Item, Floats]]:
        yield from zip([item for item, _ in pending], run(network, [image for _, image in pending]), strict=True)
        pending.clear()

    for item, image, geometry in images:
        if pending and pending[0][1].shape != image.shape:
            yield from together()
        if geometry.slice_axis is not None:
            yield item, _logits_of_slices(network, image, geometry)
        elif network.window(image.shape[1:]) is not None:
            yield item, _logits_of_windows(network, image)
        else:
            pending.append((item, image))
            if len(pending) == network.at_once(prod(image.shape[1:])):
                yield from together()
    yield from together()


def _logits_of_windows(network: Network, image: Floats) -> Floats:
    bands = _windows(network, lambda box: image[(slice(None), *box)], image.shape[1:], 0)
    return np.concatenate([part for _, _, part in bands], 1)


def _logits_of_slices(network: Network, image: Floats, geometry: Geometry) -> Floats:
    """(C, *target) with a slice axis -> logits (K, *target), or (K, slices)."""
    axis = geometry.slice_axis
    assert axis is not None
    slices = to_slices(image, axis, lead=1)
    if network.window(slices.shape[2:]) is None:
        logits = np.stack(list(run(network, map(np.ascontiguousarray, slices))))
    else:
        logits = np.stack([_logits_of_windows(network, part) for part in slices])
    return from_slices(logits, axis if logits.ndim > 2 else 0, lead=1)


def _windows(
    network: Network, crop: Callable[[tuple[slice, ...]], Floats], shape: Sequence[int], axis: int
) -> Iterator[Band]:
    window = network.window(shape)
    assert window is not None
    return predict_windows(lambda parts: run(network, parts), crop, shape, window, axis)


def _mean(members: Sequence[Iterator[Band]], axis: int) -> Iterator[Band]:
    """The mean of several networks' probabilities; their bands need not be cut at the same places."""
    if len(members) == 1:
        yield from members[0]
        return
    heads = [next(member) for member in members]
    while True:
        start, stop = heads[0][0], min(head[1] for head in heads)
        parts = [part[rows(axis, 0, stop - start)] if head_stop > stop else part for _, head_stop, part in heads]
        yield start, stop, np.mean(parts, axis=0, dtype=np.float32)
        rest = [
            (stop, head_stop, part[rows(axis, stop - start, head_stop - start)]) if head_stop > stop else next(member, None)
            for member, (_, head_stop, part) in zip(members, heads, strict=True)
        ]
        heads = [head for head in rest if head is not None]
        if not heads:
            return
