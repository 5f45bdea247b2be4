"""DICOM files as volumes: which files are one series, and whether they are slices of one grid.

A volume is made only of slices that agree in size, orientation and pixel spacing and lie at equal steps along a straight
line; its affine comes from their real positions, so that a tilted gantry gives a sheared one (PS3.3, section C.7.6.2).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.data.dicom import FRAMES, DicomFile, inspect, read_dataset, read_pixels
from segkit.errors import SegkitError

logger = logging.getLogger(__name__)

Array = NDArray[Any]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NAMED = 5  # files in one message
UNEVEN = 0.02  # of the step: more between two neighbours is a gap
ROUNDED = 0.01  # mm: what positions written with two decimals may be off
BESIDE = 0.1  # of a pixel: more is another place in the plane
STEEP = 1.0  # mm in the plane for each mm from slice to slice: 45 degrees, beyond any gantry
PHASES = (  # what tells two slices at one place apart
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "EchoNumbers",
    "EchoTime",
    "DiffusionBValue",
    "TriggerTime",
    "ImageType",
    "AcquisitionTime",
    "ContentTime",
    "InstanceNumber",
)


@dataclass(frozen=True)
class Grouped:
    """DICOM files of one folder, told apart.

    Args:
        series: the files of each image series, by series number.
        failed: files that cannot be read, and why.
        left: files that are no slices of a scan, in words, each once.
    """

    series: Mapping[str, list[Path]] = field(default_factory=dict)
    failed: Mapping[Path, str] = field(default_factory=dict)
    left: Sequence[str] = ()


def by_series(files: Sequence[Path]) -> Grouped:
    """Files by series. What holds no image is left out, and a localizer or a screenshot too where a scan lies beside it."""
    headers, failed = list[DicomFile](), dict[Path, str]()
    for path in files:
        try:
            headers.append(inspect(path))
        except SegkitError as error:
            failed[path] = error.message
    left = [f"{one.path.name} ({one.other})" for one in headers if one.other]
    images = [one for one in headers if not one.other]
    placed = {one.series for one in images if one.placed and not one.localizer}
    if placed:
        beside = [one for one in images if one.localizer or not (one.placed or one.series in placed)]
        left += [
            f"{one.path.name} ({'a localizer' if one.localizer else 'it does not say where it lies'})" for one in beside
        ]
        images = [one for one in images if one not in beside]
    found: dict[str, list[DicomFile]] = {}
    for one in images:
        found.setdefault(one.series, []).append(one)
    ordered = sorted(found, key=lambda uid: (found[uid][0].number is None, found[uid][0].number or 0, uid))
    return Grouped({uid: [one.path for one in found[uid]] for uid in ordered}, failed, left)


def say_left(folder: Path, left: Sequence[str]) -> None:
    """A note of what is no part of a scan, if anything."""
    if left:
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        logger.warning(f"{folder}: left alone, as no part of a scan: {', '.join(left[:NAMED])}{more}.")


def stack_slices(files: Sequence[Path]) -> tuple[Array, NDArray[np.float64]]:
    """All slices of one series: (columns, rows, slices) and its affine to RAS, mm. Copies of a slice are dropped.

    Raises:
        SegkitError: no series or several, slices that miss their place, that differ in size, orientation or pixel spacing,
            that lie at one place, beside each other, or unevenly spaced.
    """
    if not files:
        raise SegkitError("There are no DICOM files to make a volume of.")
    folder = files[0].parent
    datasets = _without_copies([(path, read_dataset(path)) for path in files])
    series = {str(dataset.get("SeriesInstanceUID", "")) for _, dataset in datasets}
    if len(series) != 1:
        raise SegkitError(
            f"{folder} holds {len(series)} DICOM series; a volume is one.", "Put each series into a folder of its own."
        )
    _check_alike(datasets)
    first = datasets[0][1]
    orientation = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(orientation[0], orientation[1])
    datasets.sort(key=lambda entry: float(np.array(entry[1].ImagePositionPatient, float) @ normal))
    places = np.array([dataset.ImagePositionPatient for _, dataset in datasets], float)  # (slices, 3)
    row_mm, column_mm = (float(mm) for mm in first.PixelSpacing)
    step = _step(datasets, places, normal, min(row_mm, column_mm))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[0] * column_mm, orientation[1] * row_mm
    affine[:3, 2], affine[:3, 3] = step, places[0]
    slices = [read_pixels(dataset, path) for path, dataset in datasets]
    return np.stack([pixels.T for pixels in slices], axis=-1), LPS_TO_RAS @ affine


Slices = list[tuple[Path, Any]]


def _without_copies(datasets: Slices) -> Slices:
    """Each slice once: files of one SOPInstanceUID are the same slice, if they hold the same."""
    kept: dict[str, tuple[Path, Any]] = {}
    copies = []
    for path, dataset in datasets:
        uid = str(dataset.get("SOPInstanceUID", "")) or str(path)
        if uid not in kept:
            kept[uid] = (path, dataset)
            continue
        original, other = kept[uid]
        if dataset.get("ImagePositionPatient") != other.get("ImagePositionPatient") or (
            dataset.get("PixelData") != other.get("PixelData")
        ):
            raise SegkitError(
                f"{original} and {path.name} have the same SOPInstanceUID but hold different slices.",
                "Export the series again, or take the wrong file away.",
            )
        copies.append(path)
    if copies:
        logger.warning(
            f"{copies[0].parent}: {_names(copies)} left out: a copy of a slice that is there (same SOPInstanceUID)."
        )
    return list(kept.values())


def _check_alike(datasets: Slices) -> None:
    """Refuse what differs from most of the series, by its name."""
    for path, dataset in datasets:
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            raise SegkitError(f"{path} holds {dataset.NumberOfFrames} frames; a slice of a series has one.", FRAMES)
        if int(dataset.get("SamplesPerPixel", 1)) != 1 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            raise SegkitError(f"{path} is in colours; the slices of a volume are gray.")
    for keyword, size in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        lost = [path for path, dataset in datasets if not _is_usable(dataset.get(keyword), size)]
        if lost:
            raise SegkitError(
                f"{lost[0].parent}: {_names(lost)} without a usable {keyword}: its slices do not say where they lie."
            )
    _refuse_odd(datasets, "size", lambda dataset: (dataset.get("Rows"), dataset.get("Columns")))
    _refuse_odd(datasets, "ImageOrientationPatient", lambda dataset: _rounded(dataset.ImageOrientationPatient, 6))
    _refuse_odd(datasets, "PixelSpacing", lambda dataset: _rounded(dataset.PixelSpacing, 6))
    _refuse_odd(datasets, "FrameOfReferenceUID", lambda dataset: str(dataset.get("FrameOfReferenceUID", "")))
    _refuse_odd(datasets, "rescaling", lambda dataset: "none" if dataset.get("RescaleIntercept") is None else "some")
    orientation = np.array(datasets[0][1].ImageOrientationPatient, float).reshape(2, 3)
    if not np.allclose(orientation @ orientation.T, np.eye(2), atol=0.01):
        raise SegkitError(f"{datasets[0][0]}: its rows and columns are not at right angles (ImageOrientationPatient).")


def _is_usable(value: Any, size: int) -> bool:
    try:
        numbers = np.array(value, float)
    except (TypeError, ValueError):
        return False
    return numbers.shape == (size,) and bool(np.isfinite(numbers).all()) and (size != 2 or bool((numbers > 0).all()))


def _rounded(numbers: Sequence[Any], digits: int) -> tuple[float, ...]:
    return tuple(round(float(number), digits) + 0.0 for number in numbers)


def _refuse_odd(datasets: Slices, what: str, value_of: Callable[[Any], Any]) -> None:
    values = [value_of(dataset) for _, dataset in datasets]
    usual, count = Counter(values).most_common(1)[0]
    odd = [(path, value) for (path, _), value in zip(datasets, values, strict=True) if not _same(value, usual)]
    if odd:
        raise SegkitError(
            f"{odd[0][0].parent}: {_names([path for path, _ in odd])} of another {what}, {odd[0][1]}, "
            f"than {count} other slices, {usual}.",
            "Take it out of the folder if it belongs to another scan, or convert the series to NIfTI with dcm2niix.",
        )


def _same(one: Any, other: Any) -> bool:
    """Equal, or numbers that differ by rounding alone."""
    if isinstance(one, tuple) and isinstance(one[0], float):
        return bool(np.abs(np.subtract(one, other)).max() <= 1e-3 * np.abs(other).max())
    return bool(one == other)


def _step(datasets: Slices, places: Array, normal: Array, pixel_mm: float) -> Array:
    """mm from slice to slice in space, by the real positions of the first and the last of them."""
    if len(places) == 1:
        return normal * float(datasets[0][1].get("SliceThickness", 0) or 1)
    folder, paths = datasets[0][0].parent, [path for path, _ in datasets]
    heights = places @ normal
    gaps = np.diff(heights)
    if gaps.min() <= max(1e-3, 0.01 * float(np.median(gaps))):
        raise _at_one_place(datasets, heights)
    if np.ptp(gaps) > UNEVEN * gaps.mean() + ROUNDED:
        widest = int(gaps.argmax())
        raise SegkitError(
            f"{folder}: its slices lie {gaps.min():.3g} to {gaps.max():.3g} mm apart; some are missing, such as between "
            f"{paths[widest].name} and {paths[widest + 1].name}.",
            "Export the whole series again, or resample it to equal steps.",
        )
    beside = places - heights[:, None] * normal  # (slices, 3), within the plane
    lean = np.median(np.diff(beside, axis=0), axis=0)
    offsets = beside - np.arange(len(beside))[:, None] * lean
    away = np.linalg.norm(offsets - np.median(offsets, axis=0), axis=1)
    odd = [paths[index] for index in np.flatnonzero(away > BESIDE * pixel_mm + 2 * ROUNDED)]
    if odd or np.linalg.norm(lean) > STEEP * gaps.mean():
        raise SegkitError(
            f"{folder}: {_names(odd or paths)} beside the line on which slices of one volume lie, "
            f"{max(away.max(), float(np.linalg.norm(lean))):.3g} mm in the plane.",
            "Take it out of the folder if it belongs to another reconstruction, or resample the series to one grid.",
        )
    return np.asarray((places[-1] - places[0]) / (len(places) - 1))


def _at_one_place(datasets: Slices, heights: Array) -> SegkitError:
    """Which slices share a place, and what tells them apart: phases, echoes, two acquisitions."""
    places = Counter(np.round(heights, 2).tolist())
    most, shared = places.most_common(1)[0][::-1]
    together = [entry for entry, height in zip(datasets, heights, strict=True) if abs(height - shared) < 0.02]
    folder, hint = together[0][0].parent, "Put each of them into a folder of its own."
    words = f"{folder}: {len(datasets)} slices lie at {len(places)} places, up to {most} at the same place"
    for keyword in PHASES:
        values = {str(dataset.get(keyword, "")) for _, dataset in together}
        if len(values) > 1:
            known = sorted({str(dataset.get(keyword, "")) for _, dataset in datasets}, key=lambda text: (len(text), text))
            shown = ", ".join(known[:6]) + (", ..." if len(known) > 6 else "")
            return SegkitError(f"{words}; they differ in {keyword} ({shown}): phases or acquisitions of one scan.", hint)
    return SegkitError(f"{words}, such as {_names([path for path, _ in together])}.", hint)


def _names(paths: Sequence[Path]) -> str:
    """IM3.dcm is, or: IM3.dcm, IM4.dcm and 7 others are."""
    shown = ", ".join(path.name for path in paths[:NAMED])
    more = f" and {len(paths) - NAMED} other(s)" if len(paths) > NAMED else ""
    return f"{shown}{more} {'is' if len(paths) == 1 else 'are'}"
