"""Whether an exported file gives what the network gives: the largest difference of logits, and Dice of the masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.data.preprocess import forward_image, geometry_of, normalisation_of, slice_axis_of
from segkit.evaluation.confusion import overlap, tabulate
from segkit.models.input_size import padded_size
from segkit.settings import Preprocess
from segkit.task import Task

Floats = NDArray[np.float32]
TOLERANCES = {False: (1e-3, 0.999), True: (2e-2, 0.99)}  # half precision: relative difference, Dice
SIDES = {2: 256, 3: 64}  # of what is compared on where no size is set


@dataclass(frozen=True)
class Parity:
    """A comparison.

    Args:
        difference: largest difference of two logits, over the largest logit of the network.
        dice: of the masks, pooled over everything; of a classification the share of equal classes.
        threshold: "0" (or argmax), or "median" where both masks were empty, which would prove nothing.
        sizes, batches: that were compared.
        largest_difference, least_dice: what is allowed.
    """

    difference: float
    dice: float
    threshold: str
    sizes: tuple[tuple[int, ...], ...]
    batches: tuple[int, ...]
    largest_difference: float
    least_dice: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.largest_difference and self.dice >= self.least_dice

    def __str__(self) -> str:
        at = " and ".join(" x ".join(map(str, size)) for size in self.sizes)
        return (
            f"largest difference {self.difference:.1e} of the largest logit (allowed {self.largest_difference:g}), "
            f"Dice of masks {self.dice:.5f} (at least {self.least_dice:g}), "
            f"batches of {' and '.join(map(str, self.batches))} at {at}"
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "sizes": [list(size) for size in self.sizes], "batches": list(self.batches)}


def compare(
    reference: Callable[[Floats], Floats],
    artefact: Callable[[Floats], Floats],
    cases: Sequence[Floats],
    sizes: Sequence[Sequence[int]],
    batches: Sequence[int],
    task: Task,
    half: bool,
) -> Parity:
    """Run both on cases at every size, in batches of every size.

    Args:
        reference, artefact: (B, C, *S) -> logits.
        cases: (C, *S) normalised; tiled or cut to each size.
        sizes, batches: to compare at.
        task: of the network.
        half: the artefact calculates in 16 bits, so more is allowed.
    """
    pairs = []
    for size in sizes:
        images = [_tiled(case, size) for case in cases]
        for batch in batches:
            stack = np.stack([images[index % len(images)] for index in range(max(batch, len(images)))])
            for start in range(0, len(stack) - batch + 1, batch):
                part = stack[start : start + batch]
                pairs.append((reference(part), artefact(part)))
    largest = max(float(np.abs(ours).max()) for ours, _ in pairs)
    difference = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs) / max(largest, 1e-6)
    if not all(np.isfinite(theirs).all() for _, theirs in pairs):
        difference = float("inf")
    dice, threshold = _dice(pairs, task)
    allowed, least = TOLERANCES[half]
    return Parity(difference, dice, threshold, tuple(map(tuple, sizes)), tuple(batches), allowed, least)


def _dice(pairs: Sequence[tuple[Floats, Floats]], task: Task) -> tuple[float, str]:
    """Dice of the masks of both sides, foreground pooled; where there is none, of what lies above the median logit."""
    if task.kind == "classification":
        equal = [ours.argmax(axis=1) == theirs.argmax(axis=1) for ours, theirs in pairs]
        return float(np.concatenate(equal).mean()), "0"
    dice = _agreement([(_masks(ours, task), _masks(theirs, task)) for ours, theirs in pairs])
    if dice is not None:
        return dice, "0"
    middles = [np.median(ours) for ours, _ in pairs]
    dice = _agreement([(ours > middle, theirs > middle) for (ours, theirs), middle in zip(pairs, middles, strict=True)])
    return (1.0 if dice is None else dice), "median"


def _agreement(masks: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]) -> float | None:
    return overlap(np.sum([tabulate(ours, theirs, 2) for ours, theirs in masks], axis=0))


def _masks(logits: Floats, task: Task) -> NDArray[np.bool_]:
    """(B, K, *S) logits -> masks of the foreground classes."""
    if task.mode != "multiclass":
        return np.asarray(logits > 0)
    best = logits.argmax(axis=1)
    return np.stack([best == value for value in range(1, logits.shape[1])], axis=1)


def _tiled(case: Floats, size: Sequence[int]) -> Floats:
    """(C, *S) -> (C, *size): repeated where it is too small, its middle where it is too large."""
    for axis, side in enumerate(size, start=1):
        first = max(0, (case.shape[axis] - side) // 2)
        case = case.take((first + np.arange(side)) % case.shape[axis], axis)
    return case


def size_of(settings: Preprocess, dims: int, stride: Sequence[int], minimum: int) -> tuple[int, ...]:
    """The size to compare at: the network's input size where it is known, rounded up to its stride."""
    wanted = settings.size if isinstance(settings.size, tuple) else (settings.size or SIDES[dims],) * dims
    return padded_size([max(side, 2 * step) for side, step in zip(wanted, stride, strict=True)], stride, minimum)


def synthetic_cases(task: Task, settings: Preprocess, dims: int, size: Sequence[int], count: int = 3) -> list[Floats]:
    """Smooth noise in stored units, preprocessed."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(count):
        rough = draw.normal(size=(task.channels, *size))
        smooth = ndimage.gaussian_filter(rough, (0, *(max(1, side / 16) for side in size)))
        stored = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
        found += preprocess_case(stored, replace(settings, spacing=None), dims, None)
    return found


def preprocess_case(
    image: NDArray[Any], settings: Preprocess, dims: int, spacing: tuple[float, ...] | None, slices: int = 2
) -> list[Floats]:
    """(C, *S) in stored units -> (C, *S) as a network of `dims` sees it; of a volume in slices, some from its middle."""
    axis = slice_axis_of(settings, image.shape[1:], spacing) if image.ndim - 1 > dims else None
    geometry = geometry_of(image.shape[1:], settings, dims, spacing)
    seen = forward_image(image, settings, geometry, normalisation_of(image, settings, spacing))
    if axis is None:
        return [seen]
    middle = seen.shape[axis + 1] // 2
    chosen = range(middle, min(middle + slices, seen.shape[axis + 1]))
    return [np.asarray(seen.take(number, axis + 1)) for number in chosen]
