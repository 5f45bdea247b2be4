"""DICOM files and series, where `pydicom` is installed (pip install pydicom)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError, first_line

Array = NDArray[Any]
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark at byte 128; its name does not matter."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_slice(path: Path) -> Array:
    """One file: (C, H, W) in its rescaled units (Hounsfield units for CT), C = 1 or 3.

    Raises:
        SegkitError: pydicom is missing, or the file is damaged, encrypted or of several frames.
    """
    dataset = _read(path)
    pixels = _pixels(dataset, path)
    color = int(dataset.get("SamplesPerPixel", 1)) == 3 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if pixels.ndim != (3 if color else 2):
        raise SegkitError(f"{path} holds {pixels.shape[0]} frames; an image has one.", "Save each frame as a file.")
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if color else pixels[None])


def by_series(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Files by series; those that cannot be read are under the empty name."""
    found: dict[str, list[Path]] = {}
    for path in files:
        try:
            uid = str(_read(path, header_only=True).get("SeriesInstanceUID", ""))
        except SegkitError:
            uid = ""
        found.setdefault(uid, []).append(path)
    return found


def spacing_of(path: Path) -> tuple[float, float] | None:
    """mm from row to row and from column to column, where the file says so."""
    try:
        row_mm, column_mm = (float(mm) for mm in _read(path, header_only=True).PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        return None
    return (row_mm, column_mm) if row_mm > 0 and column_mm > 0 else None


def stack_slices(files: Sequence[Path]) -> tuple[Array, NDArray[np.float64]]:
    """All slices of one series: (columns, rows, slices) and its affine to RAS, mm.

    Raises:
        SegkitError: no series or several, slices that miss their place, or of different sizes, or unevenly spaced.
    """
    if not files:
        raise SegkitError("There are no DICOM files to make a volume of.")
    folder = files[0].parent
    datasets = [(path, _read(path)) for path in files]
    series = {str(dataset.get("SeriesInstanceUID", "")) for _, dataset in datasets}
    if len(series) != 1:
        raise SegkitError(
            f"{folder} holds {len(series)} DICOM series; a volume is one.", "Put each series into a folder of its own."
        )
    try:
        orientation = np.array(datasets[0][1].ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(orientation[0], orientation[1])
        places = [np.array(dataset.ImagePositionPatient, float) for _, dataset in datasets]
        row_mm, column_mm = (float(mm) for mm in datasets[0][1].PixelSpacing)
    except (AttributeError, TypeError, ValueError) as error:
        raise SegkitError(f"{folder}: its slices carry no positions ({error}).") from None
    order = sorted(range(len(places)), key=lambda index: float(places[index] @ normal))
    slices = [_pixels(datasets[index][1], datasets[index][0]) for index in order]
    if len({pixels.shape for pixels in slices}) != 1 or slices[0].ndim != 2:
        raise SegkitError(f"{folder}: its slices have the sizes {sorted({pixels.shape for pixels in slices})}.")
    steps = np.diff([float(places[index] @ normal) for index in order])
    if len(steps) and (steps.min() <= 0 or np.ptp(steps) > 0.02 * steps.mean()):
        raise SegkitError(f"{folder}: its slices lie {steps.min():.3g} to {steps.max():.3g} mm apart; some are missing.")
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = orientation[0] * column_mm, orientation[1] * row_mm
    affine[:3, 2] = normal * (steps.mean() if len(steps) else float(datasets[0][1].get("SliceThickness", 1) or 1))
    affine[:3, 3] = places[order[0]]
    return np.stack([pixels.T for pixels in slices], axis=-1), LPS_TO_RAS @ affine


def _read(path: Path, header_only: bool = False) -> Any:
    try:
        import pydicom
    except ImportError:
        raise SegkitError(f"{path} is a DICOM file; reading it needs pydicom.", "pip install pydicom") from None
    try:
        return pydicom.dcmread(path, stop_before_pixels=header_only)
    except Exception as error:  # whatever pydicom makes of damaged bytes
        raise SegkitError(f"{path} cannot be read as DICOM: {first_line(error)}") from None


def _pixels(dataset: Any, path: Path) -> Array:
    """In rescaled units; dark is always low."""
    try:
        stored = np.asarray(dataset.pixel_array)
        if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
            from pydicom.pixels import apply_color_lut

            colors = apply_color_lut(stored, dataset)
            return np.asarray(colors >> 8 if colors.dtype == np.uint16 else colors, np.uint8)
    except Exception as error:
        raise SegkitError(f"{path}: its pixels cannot be decoded: {first_line(error)}") from None
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        signed = int(dataset.get("PixelRepresentation", 0)) == 1
        stored = ((-1 if signed else 2 ** int(dataset.BitsStored) - 1) - stored.astype(np.int32)).astype(stored.dtype)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return (stored * slope + intercept).astype(np.float32)
