"""An image or a volume, whichever a file is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segkit.api import (
    Case,
    Frame,
    Sample,
    SegkitError,
    frame_of,
    is_volume,
    match_frames,
    read_image,
    read_label_volume,
    read_mask,
    read_volume,
)

Result = TypeVar("Result")

COLOUR = 1 << 30  # tells a colour from the number of a gray file


def read_any(path: Path, upright: bool = True) -> Sample:
    """(C, *S) with spacing and affine where the file has them; no mask. An image is turned upright as its file says."""
    if is_volume(path):
        volume = read_volume(path)
        return Sample(volume.array, None, volume.spacing, volume.affine)
    return Sample(read_image(path, upright))


def match_orientation(
    cases: Iterable[Case], masks: Callable[[Case], Iterable[Frame | None]]
) -> tuple[list[Case], tuple[str, ...]]:
    """Which images must stay as their files store them, so that their masks fit, though their orientation says to turn them.

    Args:
        cases: of images.
        masks: the frames of a case's masks; for outlines, of the image that they are for; None where that is not known.

    Returns:
        The cases; `is_upright` tells how each is read. And notes: of those, and of those that fit either way.
    """
    matched, stored, unsure = list[Case](), list[str](), list[str]()
    for case in cases:
        pictures = [path for role, path in case.files.items() if role.startswith("image") and not is_volume(path)]
        images = [frame for path in pictures if (frame := frame_of(path))]
        pairs = itertools.product(images, masks(case) if images else ())
        found = {match_frames(image, mask) if mask else image.orientation > 1 and "unsure" for image, mask in pairs}
        if "stored" in found:
            stored.append(case.id)
            case = dataclasses.replace(case, metadata={**case.metadata, "upright": False})
        elif "unsure" in found:
            unsure.append(case.id)
        matched.append(case)
    notes = []
    if stored:
        words = (
            f"{len(stored)} image(s) have masks of the size of the stored pixels, so EXIF (orientation) does not turn them"
        )
        notes.append(f"{words}: {_shown(stored)}")
    if unsure:
        words = f"{len(unsure)} image(s) are turned by EXIF (orientation) and their masks are not; masks that were drawn for"
        notes.append(f"{words} the unturned pixels would lie elsewhere, and the sizes do not tell: look at {_shown(unsure)}")
    return matched, tuple(notes)


def frames_of_masks(case: Case) -> list[Frame]:
    return [frame for path in masks_of(case) if not is_volume(path) and (frame := frame_of(path))]


def is_upright(case: Case) -> bool:
    return bool(case.metadata.get("upright", True))


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def left_out(what: str, names: Sequence[str]) -> tuple[str, ...]:
    """The note that names what is not used; none where nothing is left out."""
    return (f"{len(names)} {what} are left out: {_shown(names)}",) if names else ()


def by_role(masks: Sequence[Path]) -> dict[str, Path]:
    """The masks of one image as the files of its case: "mask", "mask-2", ..."""
    return {"mask" if number == 1 else f"mask-{number}": path for number, path in enumerate(masks, start=1)}


def masks_of(case: Case) -> list[Path]:
    return [path for role, path in case.files.items() if role.startswith("mask")]


def unite(masks: Sequence[NDArray[np.int32]], case: Case, ignore: int | None = None) -> NDArray[np.int32]:
    """Several masks of one image as one: each pixel has the class that any of them gives it; what one ignores is ignored.

    Raises:
        SegkitError: they differ in size, or give a pixel different classes.
    """
    names = ", ".join(path.name for path in masks_of(case))
    if len({mask.shape for mask in masks}) > 1:
        sizes = ", ".join(str(mask.shape) for mask in masks)
        raise SegkitError(f"The masks of {case.files['image']} ({names}) differ in size: {sizes}.")
    ignored = -1 if ignore is None else ignore
    united = masks[0]
    for mask in masks[1:]:
        clash = (united > 0) & (mask > 0) & (united != mask) & (united != ignored) & (mask != ignored)
        if clash.any():
            words = f"give {np.count_nonzero(clash)} pixels different classes"
            raise SegkitError(f"The several masks of {case.files['image']} ({names}) {words}; they cannot be united.")
        united = np.where((united == ignored) | (mask == ignored), np.int32(ignored), np.maximum(united, mask))
    return united


def readable(paths: Iterable[Path], read: Callable[[Path], Result]) -> list[Result]:
    """What can be read of several files; a damaged one is named later, when its case is used.

    Raises:
        SegkitError: none of them can be read.
    """
    found, failed = list[Result](), list[SegkitError]()
    for path in paths:
        try:
            found.append(read(path))
        except SegkitError as error:
            failed.append(error)
    if failed and not found:
        raise failed[0]
    return found


def read_binary(path: Path) -> NDArray[np.int32]:
    """(H, W) of 0 and 1 from a mask of 0 and 255, whose gray edges are rounded.

    Raises:
        SegkitError: it is coded otherwise (0 and 1, say) and would silently be empty.
    """
    stored = read_mask(path)
    if 0 < stored.max() < 64:
        raise SegkitError(f"{path} holds values up to {stored.max()} only; this dataset's masks are of 0 and 255.")
    return (stored > 127).astype(np.int32)


def read_labels(path: Path, upright: bool = True) -> NDArray[np.int32]:
    """(*S) integers; of a coloured image mask COLOUR + 0xRRGGBB, but for its grays, which are what gray files hold."""
    if is_volume(path):
        return read_label_volume(path)[0]
    try:
        return read_mask(path, upright=upright)
    except SegkitError:
        colours = read_mask(path, colours=True, upright=upright)  # raises the same where it is not the colours
    red, green, blue = colours >> 16, colours >> 8 & 255, colours & 255
    return np.where((red == green) & (green == blue), blue, colours + COLOUR).astype(np.int32)
