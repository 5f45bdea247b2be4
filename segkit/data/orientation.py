"""The orientation tag of EXIF and TIFF: a camera that was held upright stores its picture lying, and says so.

Readers differ: some show the stored pixels, some turn them. segkit turns image and mask alike, each by its own tag. Where a
mask was drawn for the stored pixels its size tells, unless the picture is square or merely flipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

EXIF_TAG = 0x0112  # the same number in TIFF
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_START = b"\x89PNG\r\n\x1a\n"

Array = NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """How a picture lies in its file.

    Args:
        size: (H, W) of the stored pixels.
        orientation: the tag, 1 to 8; 1 is upright, from 5 on height and width change places.
    """

    size: tuple[int, int]
    orientation: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """(H, W) after turning."""
        return self.size if self.orientation < 5 else self.size[::-1]


def frame_of(path: Path) -> Frame | None:
    """The frame of an image file, by its header alone; None where it cannot be read, which its reader will say."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start[:4] in TIFF_STARTS:
            import tifffile

            with tifffile.TiffFile(path) as tiff:
                page = tiff.pages[0]
                return Frame((page.imagelength, page.imagewidth), tag_of(page))
        from PIL import Image

        with Image.open(path) as opened:
            tagged = start != PNG_START or _has_exif(path)  # a PNG without it would be decoded to look for it
            return Frame((opened.height, opened.width), exif_of(opened) if tagged else 1)
    except Exception:  # whatever a decoder makes of damaged bytes
        return None


def exif_of(opened: Any) -> int:
    """The orientation of an opened Pillow image; 1 where it states none, or one that does not exist."""
    return _valid(opened.getexif().get(EXIF_TAG))


def tag_of(page: Any) -> int:
    """The orientation of a TIFF's page; likewise."""
    tag = page.keyframe.tags.get(EXIF_TAG)
    return _valid(tag.value if tag else None)


def turn(pixels: Array, orientation: int) -> Array:
    """Stored pixels (H, W, ...) as they are to be shown.

    >>> turn(np.array([[1, 2, 3]]), 6).tolist()
    [[1], [2], [3]]
    """
    if orientation == 1:
        return pixels
    turned = pixels.swapaxes(0, 1) if orientation >= 5 else pixels
    rows, columns = (
        slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1),
        slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1),
    )
    return np.ascontiguousarray(turned[rows, columns])


def match_frames(image: Frame, mask: Frame) -> Literal["shown", "stored", "unsure"]:
    """Whether an image and its mask fit each other as shown, only as stored, or either way, so that nobody can know."""
    if image.orientation == mask.orientation or image.size != mask.size:
        return "shown"
    return "unsure" if image.shown == mask.shown else "stored"


def _valid(value: Any) -> int:
    try:
        return int(value) if 1 <= int(value) <= 8 else 1
    except (TypeError, ValueError):
        return 1


def _has_exif(path: Path) -> bool:
    """Whether a PNG has EXIF, before or after its pixels: a walk over the heads of its parts."""
    with path.open("rb") as file:
        file.seek(len(PNG_START))
        while len(head := file.read(8)) == 8:
            if head[4:] in (b"eXIf", b"zTXt", b"iTXt"):  # the texts may hold it too
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return False
