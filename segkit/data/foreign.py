"""Formats of medical images that are not read here, by their endings: each is named, with what converts it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

FORMATS = {
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


def foreign_format(name: str) -> str:
    """The format that a name's ending stands for; empty where it is read here, or is none of images.

    >>> foreign_format("a.seg.nrrd"), foreign_format("a.nii.gz")
    ('NRRD', '')
    """
    endings = sorted(FORMATS, key=len, reverse=True)
    return next((FORMATS[end] for end in endings if name.lower().endswith(end)), "")


def how_to_convert(name: str = "SCAN.nrrd") -> str:
    """What makes NIfTI of a file."""
    return (
        "Convert it to NIfTI: pip install SimpleITK, then python -c "
        f"\"import SimpleITK as s; s.WriteImage(s.ReadImage('{name}'), '{name.partition('.')[0]}.nii.gz')\"; "
        "or save it as .nii.gz in 3D Slicer."
    )


def count_foreign(names: Sequence[str]) -> str:
    """Of files that are not read, how many are of which format: "2 NRRD file(s), such as b.nrrd"; empty if none is."""
    found = [(foreign_format(name), name) for name in names if foreign_format(name)]
    counts = Counter(kind for kind, _ in found)
    return ", ".join(
        f"{count} {kind} file(s), such as {next(name for other, name in found if other == kind)}"
        for kind, count in counts.items()
    )


def refusal(path: Path) -> tuple[str, str]:
    """Message and hint for a file of another format."""
    words = f"{path} is a file in the format {foreign_format(path.name)}, which is not read"
    return f"{words}; SimpleITK or 3D Slicer makes NIfTI (.nii.gz) of it.", how_to_convert(path.name)
