"""Phantoms: generated images for trying things out, tests and tutorials.

A soft, noisy background with darker distractors; the targets are wobbly bright blobs, one hue (or gray level) per class.
Each case is drawn from the seed and its number alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from segkit.api import Case, Dataset, Sample, Task, write_image
from segkit_datasets.plugin import PhantomOptions

TISSUE = np.array([0.62, 0.36, 0.32])
HUES = np.array(
    [
        [0.95, 0.72, 0.45],
        [0.55, 0.75, 0.90],
        [0.60, 0.85, 0.50],
        [0.85, 0.55, 0.85],
        [0.95, 0.95, 0.55],
        [0.45, 0.90, 0.85],
        [0.98, 0.60, 0.60],
        [0.90, 0.90, 0.95],
    ]
)


def open_phantom(root: Path | None, options: PhantomOptions, labelled: bool = True) -> Dataset:
    targets = ("target",) if options.classes == 1 else tuple(f"target-{k}" for k in range(1, options.classes + 1))
    task = Task(
        dims=options.dims,
        channels=3 if options.colour else 1,
        classes=("background", *targets),
        mode="binary" if options.classes == 1 else "multiclass",
        channel_names=("red", "green", "blue") if options.colour else ("gray",),
    )
    names = [f"phantom-{number:04d}" for number in range(options.cases)]
    cases = tuple(Case(name, group=name, metadata={"number": number}) for number, name in enumerate(names))

    def read(case: Case) -> Sample:
        image, mask = (draw if options.dims == 2 else draw_volume)(case.metadata["number"], options)
        return Sample(image, mask if labelled else None, spacing=(1.0, 1.0, 1.0) if options.dims == 3 else None)

    return Dataset(task, cases, read, options)


def draw(number: int, options: PhantomOptions) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Image (C, size, size) and mask (size, size) of one case."""
    random = np.random.default_rng([options.seed, number])
    size = options.size
    shade = 1 + 0.25 * _clouds(random, size, 4) + 0.12 * _clouds(random, size, 12)
    for _ in range(3):  # distractors: dark, not in the mask
        shade = np.where(_blob(random, size, 0.04, 0.10), shade * 0.6, shade)
    colours = HUES if options.colour else np.linspace(0.75, 1.0, options.classes)[:, None]
    tissue = TISSUE if options.colour else TISSUE.mean(keepdims=True)
    pixels = shade[..., None] * tissue
    mask = np.zeros((size, size), np.int32)
    for label in [] if _is_empty(number, options.empty) else range(1, options.classes + 1):
        inside = _blob(random, size, 0.10, 0.24)
        texture = 1 + 0.12 * _clouds(random, size, 8)
        pixels = np.where(inside[..., None], texture[..., None] * colours[label - 1], pixels)
        mask[inside] = label
    noisy = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), size / 180).reshape(pixels.shape)
    noisy = noisy + random.normal(0, 0.04, pixels.shape)
    image = np.clip(np.moveaxis(noisy, -1, 0) * 255, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image), mask


def draw_volume(number: int, options: PhantomOptions) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Volume (C, size, size, size) and mask (size, size, size): ellipsoids, each class inside the one before it."""
    random = np.random.default_rng([options.seed, number])
    size = options.size
    places = np.mgrid[:size, :size, :size] / (size - 1) * 2 - 1  # -1 to 1 along each axis
    head = (places**2).sum(axis=0) < 0.9**2
    centre, radii = random.uniform(-0.3, 0.3, 3), random.uniform(0.25, 0.45, 3)
    distance = np.sqrt((((places - centre[:, None, None, None]) / radii[:, None, None, None]) ** 2).sum(axis=0))
    mask = np.zeros((size,) * 3, np.int32)
    for label in [] if _is_empty(number, options.empty) else range(1, options.classes + 1):
        mask[distance < 1 - (label - 1) / (options.classes + 0.5)] = label
    coarse = random.normal(0, 0.05, (6, 6, 6))
    clouds = _enlarged(coarse, size)
    colours = HUES[: options.classes] if options.colour else np.linspace(0.7, 1.0, options.classes)[:, None]
    tissue = TISSUE if options.colour else TISSUE.mean(keepdims=True)
    tints = np.concatenate([tissue[None], colours])
    values = np.where(head, tints[mask].transpose(3, 0, 1, 2) + clouds, 0.02) + random.normal(
        0, 0.04, (len(tissue), *mask.shape)
    )
    return np.clip(values * 255, 0, 255).astype(np.uint8), mask


def _enlarged(coarse: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """(n, n, n) -> (size, size, size), linear."""
    places = np.linspace(0, len(coarse) - 1, size)
    for axis in range(3):
        below = np.minimum(places.astype(int), coarse.shape[axis] - 2)
        share = (places - below).reshape([-1 if ax == axis else 1 for ax in range(3)])
        coarse = coarse.take(below, axis) * (1 - share) + coarse.take(below + 1, axis) * share
    return coarse


def synthesize(out: Path, cases: int, seed: int, **options: Any) -> None:
    """Write phantoms as a tree for the dataset `folder`: out/images/*.png and out/masks/*.png (0 and 255, or labels)."""
    settings = PhantomOptions(cases=cases, seed=seed, **options)
    for number in range(cases):
        image, mask = draw(number, settings)
        pixels = np.moveaxis(image, 0, -1) if len(image) == 3 else image[0]
        write_image(out / "images" / f"phantom-{number:04d}.png", pixels)
        values = mask * 255 if settings.classes == 1 else mask
        write_image(out / "masks" / f"phantom-{number:04d}.png", values.astype(np.uint8))


def _is_empty(number: int, share: float) -> bool:
    """Spread evenly: of the first n cases, floor(n * share) are empty."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def _clouds(random: np.random.Generator, size: int, cells: int) -> NDArray[np.float64]:
    """Smooth noise about 0 with details of 1 / cells of the image, (size, size)."""
    return cv2.resize(random.normal(0, 1, (cells, cells)), (size, size), interpolation=cv2.INTER_CUBIC)


def _blob(random: np.random.Generator, size: int, smallest: float, largest: float) -> NDArray[np.bool_]:
    """A wobbly ellipse with radii between two shares of the image, wholly inside it."""
    radii = random.uniform(smallest, largest, 2)
    centre = random.uniform(1.25 * radii.max(), 1 - 1.25 * radii.max(), 2)
    turn, phase = random.uniform(0, np.pi), random.uniform(0, 2 * np.pi, 2)
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size - centre[:, None, None]
    along = (np.cos(turn) * columns + np.sin(turn) * rows) / radii[0]
    across = (np.cos(turn) * rows - np.sin(turn) * columns) / radii[1]
    angle = np.arctan2(across, along)
    edge = 1 + 0.12 * np.sin(3 * angle + phase[0]) + 0.06 * np.sin(5 * angle + phase[1])
    return np.hypot(along, across) < edge
