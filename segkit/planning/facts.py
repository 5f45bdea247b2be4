"""What the training cases are like: sizes, spacings, how much of them each class fills."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit import reporter
from segkit.data.preprocess import slice_axis_of
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.task import Case, Dataset, Task

LOOKED_AT = {2: 200, 3: 40}  # cases, evenly spaced, by their dimensions: reading a volume takes as long as many images
ANISOTROPIC = 3.0  # times the next spacing, from which on an axis is coarse (nnU-Net)
COARSE_PERCENTILE = 10  # of the spacings of a coarse axis: its finer cases set the grid (nnU-Net)
WILD = 4.0  # ratio of spacings from which on they are mentioned
ALIKE = 1.05  # ratio of spacings below which nothing is resampled

Side = TypeVar("Side", int, float)


@dataclass(frozen=True)
class DataFacts:
    """What the training cases are like; all tuples have one item for each case that was looked at.

    Args:
        cases: all training cases.
        sizes: along each spatial axis.
        spacings: mm along each axis, None where a case has none.
        shares: of each case's voxels that each foreground class fills, between 0 and 1.
        reaches: how far from the middle the foreground reaches along each axis, as a share of half the side; 0 without any.
        groups: that each belongs to.
        boxes: how many masks are nothing but filled boxes.
        constant: how many images hold a single value.
    """

    cases: int
    sizes: tuple[tuple[int, ...], ...]
    spacings: tuple[tuple[float, ...] | None, ...]
    shares: tuple[tuple[float, ...], ...]
    reaches: tuple[tuple[float, ...], ...]
    groups: tuple[str, ...]
    boxes: int
    constant: int

    @property
    def complete(self) -> bool:
        """Whether every training case was looked at."""
        return len(self.sizes) == self.cases

    @property
    def median_size(self) -> tuple[int, ...]:
        return tuple(round(median(sides)) for sides in zip(*self.sizes, strict=True))

    @property
    def median_spacing(self) -> tuple[float, ...] | None:
        """Along each axis; None where a case has none."""
        known = [spacing for spacing in self.spacings if spacing is not None]
        if len(known) < len(self.spacings):
            return None
        return tuple(float(median(values)) for values in zip(*known, strict=True))

    @property
    def common_spacing(self) -> tuple[float, ...] | None:
        """The spacing that suits all: the median, on a coarse axis the 10th percentile (Isensee 2021); None if unknown."""
        middle = self.median_spacing
        if middle is None:
            return None
        coarse = coarse_axis(middle)
        if coarse is not None:
            values = [spacing[coarse] for spacing in self.spacings if spacing is not None]
            finer = float(np.percentile(values, COARSE_PERCENTILE))
            middle = tuple(finer if axis == coarse else value for axis, value in enumerate(middle))
        return middle

    @property
    def spacings_differ(self) -> bool:
        """Whether any axis' spacing differs by more than a few percent from case to case."""
        known = [spacing for spacing in self.spacings if spacing is not None]
        return any(max(values) > ALIKE * min(values) for values in zip(*known, strict=True))

    def sizes_at(self, spacing: tuple[float, ...] | None) -> list[tuple[int, ...]]:
        """The cases' sizes once they are resampled to a spacing."""
        if spacing is None:
            return list(self.sizes)
        return [
            tuple(max(1, round(side * own / want)) for side, own, want in zip(size, mm or spacing, spacing, strict=True))
            for size, mm in zip(self.sizes, self.spacings, strict=True)
        ]

    def seen_of(self, size: tuple[Side, ...], settings: Preprocess, dims: int) -> tuple[Side, ...]:
        """Of the sides of a case, or shares of them, those that a network of so many dimensions sees: all, or a slice's."""
        axis = self.slice_axis(settings) if dims < len(size) else None
        return tuple(side for own, side in enumerate(size) if own != axis)

    def slice_axis(self, settings: Preprocess) -> int:
        """The axis that a 2D network takes slices of a median volume along."""
        return slice_axis_of(settings, self.median_size, self.median_spacing)

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> DataFacts:
        """The other way round."""
        return cls(**{key: _as_tuple(value) for key, value in found.items()})

    def class_shares(self, task: Task) -> tuple[float, ...]:
        """How much of all voxels each class fills: the background first, of layers the layers alone."""
        voxels = np.array([float(np.prod(size)) for size in self.sizes])
        foreground = tuple(float(share) for share in voxels @ np.array(self.shares) / voxels.sum())
        return foreground if task.mode == "multilabel" else (1 - sum(foreground), *foreground)

    @property
    def all_boxes(self) -> bool:
        """Whether every mask that holds anything is of filled boxes."""
        held = sum(any(reach) for reach in self.reaches)
        return bool(held) and self.boxes == held

    def missing(self, task: Task) -> list[str]:
        """Foreground classes that no case holds."""
        return [
            name for name, shares in zip(task.foreground, zip(*self.shares, strict=True), strict=True) if not any(shares)
        ]


def doubts_of(facts: DataFacts, task: Task) -> list[str]:
    """What the user should know about the training cases, in whole sentences."""
    found = []
    missing = facts.missing(task) if facts.complete else []
    if missing:
        what = f"the class {missing[0]}" if len(missing) == 1 else f"the classes {', '.join(missing)}"
        found.append(f"no training case holds {what}: nothing can be learned about it.")
    if facts.constant:
        found.append(f"{facts.constant} of {len(facts.sizes)} training images hold a single value.")
    known = [spacing for spacing in facts.spacings if spacing is not None]
    for axis, values in enumerate(zip(*known, strict=True)):
        if max(values) > WILD * min(values):
            span = f"from {min(values):g} to {max(values):g} mm"
            found.append(f"spacings along axis {axis} go {span}; volumes are resampled to one spacing, slices are not.")
    return found


def coarse_axis(spacing: Sequence[float]) -> int | None:
    """The axis whose spacing is at least three times that of the next, if there is one."""
    first, second = sorted(spacing)[:-3:-1]
    return int(np.argmax(spacing)) if first >= ANISOTROPIC * second else None


def look_at(dataset: Dataset, cases: Sequence[Case]) -> DataFacts:
    """Read some of the training cases, evenly spaced; one that cannot be read is named when it is used.

    Raises:
        SegkitError: none of them can be read.
    """
    sizes, spacings, shares, reaches, groups, boxes, constant = [], [], [], [], [], 0, 0
    failure: SegkitError | None = None
    chosen = cases[:: max(1, -(-len(cases) // LOOKED_AT[dataset.task.dims]))]
    for case in _shown(chosen):
        try:
            sample = read_case(dataset, case)
        except SegkitError as error:
            failure = failure or error
            continue
        sizes.append(tuple(sample.image.shape[1:]))
        spacings.append(None if sample.spacing is None else tuple(float(mm) for mm in sample.spacing))
        shares.append(
            _shares(sample.mask, dataset.task) if sample.mask is not None else (0.0,) * len(dataset.task.foreground)
        )
        reaches.append(_reach(sample.mask, dataset.task) if sample.mask is not None else (1.0,) * dataset.task.dims)
        groups.append(case.group)
        boxes += sample.mask is not None and _is_boxes(sample.mask)
        constant += bool(np.all(sample.image == sample.image.flat[0]))
    if not sizes:
        raise failure or SegkitError("There is no training case to look at.")
    return DataFacts(
        len(cases), tuple(sizes), tuple(spacings), tuple(shares), tuple(reaches), tuple(groups), boxes, constant
    )


def _shown(cases: Sequence[Case]) -> Iterator[Case]:
    """One after the other, with progress."""
    with reporter.progress("looking at the data", len(cases)) as bar:
        for case in cases:
            bar.advance()
            yield case


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _shares(mask: NDArray[np.integer], task: Task) -> tuple[float, ...]:
    if task.mode == "multilabel":
        return tuple(float((layer == 1).mean()) for layer in mask)
    return tuple(float((mask == value).mean()) for value in range(1, len(task.classes)))


def _reach(mask: NDArray[np.integer], task: Task) -> tuple[float, ...]:
    held = (mask != 0) if task.ignore_index is None else (mask != 0) & (mask != task.ignore_index)
    held = held.any(axis=0) if task.mode == "multilabel" else held
    found = []
    for axis, side in enumerate(held.shape):
        places = np.flatnonzero(held.any(axis=tuple(other for other in range(held.ndim) if other != axis)))
        edges = (int(places[0]), int(places[-1]) + 1) if len(places) else (side / 2,)
        found.append(max(abs(2 * edge / side - 1) for edge in edges))
    return tuple(found)


def _is_boxes(mask: NDArray[np.integer]) -> bool:
    """Whether a mask (*S) holds something, and each connected part of it fills its bounding box; no layers."""
    from scipy import ndimage

    parts, count = ndimage.label(mask != 0)
    places = ndimage.find_objects(parts)
    return count > 0 and all(bool((parts[place] == number).all()) for number, place in enumerate(places, 1))
