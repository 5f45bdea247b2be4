"""DICOM files, each on its own, where `pydicom` is installed (pip install pydicom): what a file is, and its pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError, first_line

Array = NDArray[Any]

SUFFIXES = (".dcm", ".dicom", ".ima")
NO_SCANS = {"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "DOC", "SMR", "RWV"}
VALUE_TYPES = (b"UI", b"UL", b"OB", b"CS", b"DA", b"TM", b"LO", b"SH", b"PN", b"AE", b"ST", b"LT", b"DT", b"SQ", b"US")


@dataclass(frozen=True)
class DicomFile:
    """What the header of a file says about its place among others; no pixel is read.

    Args:
        path: of the file.
        series: its SeriesInstanceUID.
        other: what it is where it holds no image of a scan: a DICOMDIR, a report, a structure set.
        localizer: it is a scout image, from which the scan was planned.
        placed: it says where it lies.
        number: its SeriesNumber.
    """

    path: Path
    series: str = ""
    other: str = ""
    localizer: bool = False
    placed: bool = True
    number: int | None = None


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that starts so (132 bytes) is DICOM: with the mark at byte 128, or bare, without a preamble.

    A bare file begins with an element of group 0002 or 0008, in explicit or implicit little endian (PS3.5, section 7.1).
    """
    if start[128:132] == b"DICM":
        return True
    if len(start) < 16 or start[:2] not in (b"\x02\0", b"\x08\0"):
        return False
    element, length = struct.unpack_from("<HI", start, 2)
    explicit = start[4:6] in VALUE_TYPES
    return element <= 0x60 and (explicit or (length <= 64 and length % 2 == 0 and _is_text(start[8 : 8 + length])))


def _is_text(value: bytes) -> bool:
    return len(value) > 3 and all(32 <= byte < 127 or byte == 0 for byte in value)


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes; its name does not matter."""
    try:
        with path.open("rb") as file:
            return looks_like_dicom(file.read(132))
    except OSError:
        return False


def read_slice(path: Path) -> Array:
    """One file: (C, H, W) in its rescaled units (Hounsfield units for CT), C = 1 or 3.

    Raises:
        SegkitError: pydicom is missing, or the file is damaged, encrypted, of several frames, or holds no image.
    """
    dataset = read_dataset(path)
    pixels = read_pixels(dataset, path)
    with _named(path):
        color = int(dataset.get("SamplesPerPixel", 1)) == 3 or dataset.get("PhotometricInterpretation") == "PALETTE COLOR"
    if pixels.ndim != (3 if color else 2):
        raise SegkitError(f"{path} holds {pixels.shape[0]} frames; an image has one.", FRAMES)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0) if color else pixels[None])


FRAMES = "Save each frame as a file, or convert it to NIfTI: dcm2niix -z y FOLDER."


def inspect(path: Path) -> DicomFile:
    """What a file is, by its header.

    Raises:
        SegkitError: it cannot be read.
    """
    dataset = read_dataset(path, header_only=True)
    with _named(path):
        series = str(dataset.get("SeriesInstanceUID", ""))
        kinds = [str(kind).upper() for kind in _several(dataset.get("ImageType"))]
        placed = dataset.get("ImagePositionPatient") is not None or "PerFrameFunctionalGroupsSequence" in dataset
        number = _whole(dataset.get("SeriesNumber"))
        return DicomFile(path, series, _other(dataset), "LOCALIZER" in kinds, placed, number)


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _several(value: Any) -> Sequence[Any]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _other(dataset: Any) -> str:
    """What a file is that holds no image of a scan, in the words of the standard; else empty."""
    if "DirectoryRecordSequence" in dataset or str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == (
        "1.2.840.10008.1.3.10"
    ):
        return "DICOMDIR, a list of files"
    modality = str(dataset.get("Modality", ""))
    if "Rows" in dataset and modality not in NO_SCANS:
        return ""
    kind = getattr(dataset.get("SOPClassUID"), "name", "") or "without pixels"
    return f"{modality}, {kind}" if modality else str(kind)


def spacing_of(path: Path) -> tuple[float, float] | None:
    """mm from row to row and from column to column, where the file says so."""
    try:
        row_mm, column_mm = (float(mm) for mm in read_dataset(path, header_only=True).PixelSpacing)
    except (AttributeError, TypeError, ValueError):
        return None
    return (row_mm, column_mm) if row_mm > 0 and column_mm > 0 else None


def read_dataset(path: Path, header_only: bool = False) -> Any:
    """A file as pydicom reads it, without a preamble too.

    Raises:
        SegkitError: pydicom is missing, or the file is damaged.
    """
    try:
        import pydicom
    except ImportError:
        raise SegkitError(f"{path} is a DICOM file; reading it needs pydicom.", "pip install pydicom") from None
    # what is needed is checked where it is used; the rest may break the standard's rules
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    if path.is_file() and not is_dicom(path):
        raise SegkitError(
            f"{path} is not DICOM by its content: it has neither the mark DICM at byte 128 nor DICOM elements."
        )
    with _named(path):
        return pydicom.dcmread(path, stop_before_pixels=header_only, force=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever pydicom makes of damaged bytes, also where a value is read later, becomes an error that names the file."""
    try:
        yield
    except SegkitError:
        raise
    except Exception as error:
        raise SegkitError(f"{path} cannot be read as DICOM: {first_line(error)}") from None


def read_pixels(dataset: Any, path: Path) -> Array:
    """In rescaled units; dark is always low.

    Raises:
        SegkitError: there are none, or they cannot be decoded.
    """
    with _named(path):
        other = _other(dataset)
        if other:
            raise SegkitError(f"{path} holds no image: {other}.", "Give the files of the scan.")
        return _rescaled(_stored(dataset, path), dataset)


def _rescaled(stored: Array, dataset: Any) -> Array:
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        colors = apply_color_lut(stored, dataset)
        return np.asarray(colors >> 8 if colors.dtype == np.uint16 else colors, np.uint8)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        signed = int(dataset.get("PixelRepresentation", 0)) == 1
        stored = ((-1 if signed else 2 ** int(dataset.BitsStored) - 1) - stored.astype(np.int32)).astype(stored.dtype)
    if "ModalityLUTSequence" in dataset:
        from pydicom.pixels import apply_modality_lut

        return np.asarray(apply_modality_lut(stored, dataset))
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    if (slope, intercept) == (1.0, 0.0):
        return stored
    return (stored * slope + intercept).astype(np.float32)


def _stored(dataset: Any, path: Path) -> Array:
    """The pixels as stored, decoded by pydicom or, where it has no decoder, by imagecodecs."""
    from segkit.data.dicom_codecs import decode, syntax_of

    _complete(dataset)
    try:
        found = decode(dataset)
        return np.asarray(dataset.pixel_array) if found is None else found
    except Exception as error:
        name, compressed = syntax_of(dataset)
        words = first_line(error).rstrip(": ")
        hint = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg" if compressed else ""
        raise SegkitError(f"{path}: its pixels cannot be decoded: {words} ({name}).", hint) from None


def _complete(dataset: Any) -> None:
    """A bare file does not say how it is encoded; pydicom has found it out."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not hasattr(dataset, "file_meta"):
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
