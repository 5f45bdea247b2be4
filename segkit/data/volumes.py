"""The one reader and writer of volumes: NIfTI-1 and NIfTI-2 (.nii, .nii.gz, .hdr with .img); also
FreeSurfer's volumes (.mgz, .mgh), DICOM series and TIFF stacks, to read.

Inside segkit a volume's axes are those of the closest RAS orientation (first axis to the patient's right, second to the
front, third up), as (C, X, Y, Z); writing turns them back to the file's own.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from segkit.data.dicom import is_dicom
from segkit.data.foreign import foreign_format, refusal
from segkit.data.labels import whole_numbers
from segkit.data.tiff import read_pages
from segkit.errors import SegkitError, first_line
from segkit.files import replacing
from segkit.words import counted

Array = NDArray[Any]

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".mgz", ".mgh")
MM = {"micron": 0.001, "mm": 1.0, "meter": 1000.0}  # of a header's unit of length; without one it is mm
GZIP = b"\x1f\x8b"
LARGEST_VOLUME = 4_000_000_000  # voxels: more is taken for a damaged header


@dataclass(frozen=True)
class Volume:
    """A volume, read.

    Args:
        array: (C, X, Y, Z) in closest RAS, in stored units (scaled where the file says so).
        spacing: mm along X, Y, Z, by the header's pixdim and unit.
        affine: (4, 4) voxel of `array` to world, mm.
    """

    array: Array
    spacing: tuple[float, float, float]
    affine: NDArray[np.float64]


def is_volume(path: Path) -> bool:
    """Whether a file is a volume that is read here, by its name."""
    return path.name.lower().endswith(SUFFIXES)


def volume_stem(path: Path) -> str:
    """The name without .nii.gz or another ending.

    >>> volume_stem(Path("a/b.c.nii.gz"))
    'b.c'
    """
    ending = next(end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(end))
    return path.name[: -len(ending)]


def read_volume(path: Path) -> Volume:
    """Read a volume; a fourth axis becomes channels. A folder is read as a DICOM series, a TIFF as a stack of pages.

    Raises:
        SegkitError: missing, damaged, of more than four axes, of colours, with an unusable affine, or not finite.
    """
    if path.is_dir():
        return read_series(_scan_in(path))
    if path.suffix.lower() in (".tif", ".tiff"):
        return Volume(np.ascontiguousarray(read_pages(path)), (1.0, 1.0, 1.0), np.eye(4))  # no millimetres, no orientation
    image = _open(path)
    shape = _shape(image)
    if not 2 <= len(shape) <= 4 or 0 in shape:
        raise SegkitError(f"{path} has the shape {shape}; a volume has three axes, or one more for channels.")
    if int(np.prod(shape, dtype=np.float64)) > LARGEST_VOLUME:
        raise SegkitError(f"{path} declares {np.prod(shape, dtype=np.float64):,.0f} voxels; that is refused.")
    try:
        array = np.asanyarray(image.dataobj)
    except FileNotFoundError as error:
        raise SegkitError(f"{path} cannot be read: its other half, {error.filename}, is missing.") from None
    except Exception as error:  # whatever nibabel makes of damaged bytes
        raise SegkitError(f"{path} cannot be read: it is damaged or cut short ({first_line(error)}).") from None
    if array.dtype.kind not in "buif":
        raise SegkitError(f"{path} holds {array.dtype} values; gray values are expected.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise SegkitError(f"{path} holds values that are not finite numbers.")
    array = array.reshape(*shape, *[1] * (3 - len(shape)))
    orientation = _orientation(image, path)
    turned = apply_orientation(array, orientation)
    affine = _affine(image) @ inv_ornt_aff(orientation, array.shape[:3])
    channels = turned[None] if turned.ndim == 3 else np.moveaxis(turned, -1, 0)
    native = channels.astype(channels.dtype.newbyteorder("="), copy=False)
    return Volume(np.ascontiguousarray(native), _spacing(image, orientation), affine)


def _scan_in(folder: Path) -> list[Path]:
    """The DICOM files of a folder that are slices; of reports, structure sets and localizers nothing is read."""
    from segkit.data.dicom_series import by_series, say_left

    grouped = by_series([file for file in sorted(folder.iterdir()) if file.is_file() and is_dicom(file)])
    for reason in grouped.failed.values():
        raise SegkitError(reason)
    say_left(folder, grouped.left)
    return [file for files in grouped.series.values() for file in files]


def read_series(files: Sequence[Path]) -> Volume:
    """The slices of one DICOM series as a volume (1, X, Y, Z).

    Raises:
        SegkitError: they are of several series, miss their place, or have different sizes or uneven distances.
    """
    from segkit.data.dicom_series import stack_slices

    array, affine = stack_slices(files)
    orientation = io_orientation(affine)
    turned = affine @ inv_ornt_aff(orientation, array.shape)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    normal = np.cross(affine[:3, 0] / sizes[0], affine[:3, 1] / sizes[1])
    sizes[2] = abs(normal @ affine[:3, 2])  # from plane to plane, also where slices lean: so that volumes are right
    x, y, z = (float(size) for size in sizes[_inverse(orientation)[:, 0].astype(int)])
    spacing = (x, y, z)
    return Volume(np.ascontiguousarray(apply_orientation(array, orientation))[None], spacing, turned)


def write_pages(path: Path, array: Array) -> None:
    """Write (H, W, pages) of numbers as a TIFF of that many pages."""
    import tifffile

    with replacing(path) as temporary:
        pages = np.moveaxis(array, -1, 0)
        tifffile.imwrite(temporary, pages, photometric="minisblack", compression="zlib", metadata=None)


def read_label_volume(path: Path) -> tuple[NDArray[np.int32], Volume]:
    """(X, Y, Z) integers, and the volume as read.

    Raises:
        SegkitError: as `read_volume`, or it holds values between whole numbers, or several channels.
    """
    volume = read_volume(path)
    if len(volume.array) != 1:
        raise SegkitError(f"{path} has {counted(len(volume.array), 'channel')}; a mask has one.")
    return whole_numbers(volume.array[0], path), volume


def write_volume(path: Path, array: Array, like: Path | NDArray[np.float64], slope: float = 1.0) -> None:
    """Write a volume in closest RAS as NIfTI.

    Args:
        path: of the file.
        array: (X, Y, Z), or (X, Y, Z, K).
        like: a file on whose grid it is written, with its orientation, affine, spacing and codes; or an affine.
        slope: what the stored values are multiplied by to get the true ones.

    Raises:
        SegkitError: the array has another size than the file.
    """
    if isinstance(like, np.ndarray):
        written = nib.Nifti1Image(array, like)
        written.header.set_xyzt_units("mm")
    else:
        image = _open(like)
        stored = apply_orientation(array, _inverse(_orientation(image, like)))
        own = tuple(image.shape[:3])
        if stored.shape[:3] != own + (1,) * (3 - len(own)):
            raise SegkitError(f"A result of size {stored.shape[:3]} does not fit the grid of {like}, {own}.")
        nifti = isinstance(image, (nib.Nifti1Pair, nib.Nifti2Pair))
        header = image.header.copy() if nifti else nib.Nifti1Header()
        header.set_data_dtype(array.dtype)
        header["cal_min"] = header["cal_max"] = 0  # the window in which viewers would show the scan
        if not nifti:
            header.set_xyzt_units("mm")
        elif len(image.shape) > 4:
            header.set_intent("none")  # of vectors; the result is none
        kind = nib.Nifti2Image if isinstance(image, nib.Nifti2Pair) else nib.Nifti1Image  # one file also for a pair
        written = kind(np.ascontiguousarray(stored.reshape(own + array.shape[3:])), image.affine, header)
    written.header.set_slope_inter(slope, 0)
    with replacing(path) as temporary:
        nib.save(written, temporary)


def _open(path: Path) -> Any:
    try:
        packed = _is_gzipped(path)
        misnamed = path.name.lower().endswith((".nii", ".nii.gz")) and packed != path.name.lower().endswith(".gz")
        freesurfer = path.name.lower().endswith((".mgz", ".mgh"))
        image = _from_content(path, packed, freesurfer) if misnamed or freesurfer else nib.load(path)
    except FileNotFoundError:
        raise SegkitError(f"{path} cannot be read: No such file.") from None
    except Exception as error:
        if foreign_format(path.name):
            raise SegkitError(*refusal(path)) from None
        raise SegkitError(f"{path} cannot be read as a volume: {first_line(error)}") from None
    if not isinstance(image, (nib.Nifti1Pair, nib.Nifti2Pair, nib.MGHImage)):
        raise SegkitError(f"{path} is not a NIfTI file but {type(image).__name__}.", "Convert it to .nii.gz.")
    return image


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _from_content(path: Path, packed: bool, freesurfer: bool) -> Any:
    """A file whose name says that it is packed and which is not, or the other way round; FreeSurfer's, which nibabel would
    leave open."""
    content = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    if freesurfer:
        return nib.MGHImage.from_bytes(content)
    second = int.from_bytes(content[:4], "little") == 540 or int.from_bytes(content[:4], "big") == 540
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(content)


def _shape(image: Any) -> tuple[int, ...]:
    """Without axes of one element behind the third: ITK writes vectors as (X, Y, Z, 1, C)."""
    shape = tuple(image.shape)
    return shape[:3] + tuple(size for size in shape[3:] if size != 1)


def _affine(image: Any) -> NDArray[np.float64]:
    """In mm, whatever unit the header has."""
    return np.asarray(np.diag([_mm(image)] * 3 + [1.0]) @ image.affine)


def _mm(image: Any) -> float:
    """Of one unit of length of the header."""
    try:
        return MM.get(image.header.get_xyzt_units()[0], 1.0)
    except (AttributeError, KeyError):  # FreeSurfer's have none: mm
        return 1.0


def _orientation(image: Any, path: Path) -> Array:
    """From the file's axes to closest RAS."""
    sizes = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
    finite = np.isfinite(image.affine).all() and sizes.min() > 0
    usable = finite and abs(np.linalg.det(image.affine[:3, :3] / sizes)) >= 1e-6  # whatever the unit
    orientation: Array = io_orientation(image.affine) if usable else np.full((3, 2), np.nan)
    if np.isnan(orientation).any():  # also where two axes all but coincide
        raise SegkitError(f"{path} has an affine that cannot be inverted: {image.affine[:3].round(3).tolist()}.")
    return orientation


def _spacing(image: Any, orientation: Array) -> tuple[float, float, float]:
    """Voxel sizes by the header's pixdim, as ITK reads them: ACDC's affines say 1 mm where pixdim says 10 mm."""
    stated = () if isinstance(image, nib.MGHImage) else image.header.get_zooms()[:3]
    zooms = [float(size) * _mm(image) for size in stated]
    sizes = np.sqrt((_affine(image)[:3, :3] ** 2).sum(axis=0))
    spacing = [1.0, 1.0, 1.0]
    for own, (ras, _) in enumerate(orientation):
        known = own < len(zooms) and np.isfinite(zooms[own]) and zooms[own] > 0
        spacing[int(ras)] = zooms[own] if known else float(sizes[own])
    return spacing[0], spacing[1], spacing[2]


def _inverse(orientation: Array) -> Array:
    """From closest RAS back to the file's axes."""
    inverse = np.zeros_like(orientation)
    for own, (ras, flip) in enumerate(orientation):
        inverse[int(ras)] = own, flip
    return inverse


def distance_of_grids(one: Path, other: Path) -> tuple[float, float]:
    """How far apart the same voxel of two files lies at most, in mm and in voxels of the first, by their headers alone.

    Both are compared as they are read, in closest RAS: a grid that is stored in another order or direction of its axes is
    the same grid. Sizes that differ are infinitely far apart.
    """
    (size, affine), (other_size, other_affine) = _ras_grid(one), _ras_grid(other)
    if size != other_size:
        return float("inf"), float("inf")
    corners = np.array([(*corner, 1) for corner in itertools.product(*[(0, side - 1) for side in size])], float).T
    shift = (other_affine - affine) @ corners
    mm, voxels = shift[:3], (np.linalg.inv(affine) @ shift)[:3]
    return float(np.sqrt((mm**2).sum(axis=0)).max()), float(np.abs(voxels).max())


def _ras_grid(path: Path) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Size and affine of a file's first three axes, turned to closest RAS."""
    image = _open(path)
    orientation, own = _orientation(image, path), tuple(image.shape[:3])
    own += (1,) * (3 - len(own))
    size = tuple(own[int(axis)] for axis in _inverse(orientation)[:, 0])
    return size, _affine(image) @ inv_ornt_aff(orientation, own)
