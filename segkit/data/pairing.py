"""Which mask belongs to which image: by stem, after the suffixes that people add to mask names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.data.images import SUFFIXES
from segkit.errors import MissingDataError, UsageError

MASK_SUFFIX = re.compile(r"[_-](mask|masks|gt|label|labels|seg|segmentation|manual\d*|groundtruth|annotation)$", re.I)
IMAGE_SUFFIX = re.compile(r"[_-](image|img|training|test)$", re.I)  # DRIVE calls them 21_training and 21_manual1


ENDINGS = (*SUFFIXES, ".nii", ".nii.gz")


@dataclass(frozen=True)
class Pairs:
    """The outcome of pairing.

    Args:
        pairs: (key, image, mask or None), in natural order; the key is the stem below the image folder.
        unpaired_images: images without a mask.
        unpaired_masks: masks without an image.
    """

    pairs: tuple[tuple[str, Path, Path | None], ...]
    unpaired_images: tuple[Path, ...]
    unpaired_masks: tuple[Path, ...]


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 2 comes before 10.

    >>> sorted(["10", "1", "2"], key=natural_order)
    ['1', '2', '10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def list_images(folder: Path) -> list[Path]:
    """All images and volumes below a folder, in natural order; hidden files and folders are left out."""
    found = []
    for place, folders, names in os.walk(folder):  # links to folders are not followed: no loops
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(place, name) for name in names if name.lower().endswith(ENDINGS) and name[0] != "."]
    return [Path(path) for path in sorted(found, key=natural_order)]


def pair_files(images: Path, masks: Path | None) -> Pairs:
    """Pair each image below `images` with the mask of its stem below `masks` (None: all images stand alone).

    Raises:
        UsageError: two images, or two masks, share a stem: which belongs to which would be a guess.
    """
    by_stem = _by_key({path: _key(path, images) for path in list_images(images)})
    mask_keys = {path: _key(path, masks) for path in list_images(masks)} if masks is not None else {}
    plain = {IMAGE_SUFFIX.sub("", key): key for key in by_stem}  # what an image is called without its own suffix
    masks_by_stem = _by_key({path: _partner(key, by_stem, plain) for path, key in mask_keys.items()})
    pairs = tuple((stem, path, masks_by_stem.get(stem)) for stem, path in by_stem.items())
    return Pairs(
        pairs,
        tuple(image for _, image, mask in pairs if mask is None),
        tuple(mask for stem, mask in masks_by_stem.items() if stem not in by_stem),
    )


def find_folder(root: Path, names: Iterable[str]) -> Path | None:
    """The folder directly below root whose name, ignoring case, is one of `names`."""
    wanted = [name.lower() for name in names]
    folders = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    return next((folders[name] for name in wanted if name in folders), None)


def missing_data(what: str, root: Path, looked_for: Sequence[str]) -> MissingDataError:
    """The error of a dataset whose files are not there: what, where, and what was found instead.

    Whoever opens the dataset adds the expected tree and the homepage, which stand in its spec.
    """
    entries = sorted(path.name + ("/" if path.is_dir() else "") for path in root.iterdir())[:12]
    found = ", ".join(entries) if entries else "nothing"
    return MissingDataError(f"{what} was not found in {root}.\nLooked for: {', '.join(looked_for)}. Found there: {found}.")


def _partner(key: str, images: Mapping[str, Path], plain: Mapping[str, str]) -> str:
    """The key of the image that a mask belongs to: its own, else without the mask's suffix, else without the image's."""
    if key in images:
        return key
    stripped = MASK_SUFFIX.sub("", key)
    return stripped if stripped in images else plain.get(stripped, stripped)


def _key(path: Path, folder: Path) -> str:
    name = str(path)[len(str(folder)) + 1 :]
    return os.path.splitext(name[:-3] if name.lower().endswith(".nii.gz") else name)[0].replace(os.sep, "/")


def _by_key(keys: Mapping[Path, str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path, key in keys.items():
        if key in found:
            raise UsageError(
                f"{found[key]} and {path} share the stem {key!r}: their partners cannot be told apart.",
                "Rename or remove one of them.",
            )
        found[key] = path
    return found
