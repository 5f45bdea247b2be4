"""Formats of images that are not read here, by their endings: each is named, with what converts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segkit.words import counted

PICTURES = {
    ".heic": "HEIC",
    ".heif": "HEIF",
    ".avif": "AVIF",
    ".jp2": "JPEG 2000",
    ".j2k": "JPEG 2000",
    ".jpx": "JPEG 2000",
    ".jxl": "JPEG XL",
    ".svs": "Aperio slide",
    ".ndpi": "Hamamatsu slide",
    ".mrxs": "MIRAX slide",
}
VOLUMES = {
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
    ".mnc": "MINC",
    ".gipl": "GIPL",
    ".gipl.gz": "GIPL",
    ".brik": "AFNI",
    ".brik.gz": "AFNI",
    ".nii.bz2": "NIfTI packed with bzip2",
    ".nii.zst": "NIfTI packed with zstd",
    ".nii.zip": "NIfTI packed with zip",
}
FORMATS = PICTURES | VOLUMES


def foreign_format(name: str) -> str:
    """The format that a name's ending stands for; empty where it is read here, or is none of images.

    >>> foreign_format("a.seg.nrrd"), foreign_format("a.nii.gz")
    ('NRRD', '')
    """
    endings = sorted(FORMATS, key=len, reverse=True)
    return next((FORMATS[end] for end in endings if name.lower().endswith(end)), "")


def how_to_convert(name: str = "SCAN.nrrd") -> str:
    """What makes NIfTI of a volume, or a format that is read of a picture."""
    if foreign_format(name) in PICTURES.values():
        return "Save pictures as PNG, TIFF or JPEG, in any program that opens them."
    return (
        "Convert it to NIfTI: pip install SimpleITK, then python -c "
        f"\"import SimpleITK as s; s.WriteImage(s.ReadImage('{name}'), '{name.partition('.')[0]}.nii.gz')\"; "
        "or save it as .nii.gz in 3D Slicer."
    )


def count_foreign(names: Sequence[str]) -> str:
    """Of files that are not read, how many are of which format; empty if none is.

    >>> count_foreign(["a.heic", "b.heic", "c.nrrd", "d.txt"])
    '2 HEIC files (a.heic, ...), 1 NRRD file (c.nrrd)'
    """
    found = [(foreign_format(name), name) for name in names if foreign_format(name)]
    first = dict(reversed(found))
    counts = Counter(kind for kind, _ in found)
    return ", ".join(
        f"{counted(count, f'{kind} file')} ({first[kind]}{', ...' if count > 1 else ''})" for kind, count in counts.items()
    )


def refusal(path: Path) -> tuple[str, str]:
    """Message and hint for a file of another format."""
    kind = foreign_format(path.name)
    words = f"{path} is a file in the format {kind}, which is not read"
    if kind not in PICTURES.values():
        words += "; SimpleITK or 3D Slicer makes NIfTI (.nii.gz) of it"
    return f"{words}.", how_to_convert(path.name)
