"""Which masks belong to which image: by stem, after the suffixes and numbers that people add to mask names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.data.images import SUFFIXES
from segkit.data.listing import list_files
from segkit.errors import MissingDataError, UsageError

SUFFIXES_OF_MASKS = "mask|masks|gt|label|labels|seg|segmentation|groundtruth|annotation"
MASK_SUFFIX = re.compile(rf"[_-]({SUFFIXES_OF_MASKS}|manual\d*)$", re.I)  # manual1 and manual2 are two people's
NUMBERED_MASK = re.compile(rf"([_-](?:{SUFFIXES_OF_MASKS}))[ _-]?\(?\d+\)?$", re.I)
IMAGE_SUFFIX = re.compile(r"[_-](image|img|training|test)$", re.I)  # DRIVE calls them 21_training and 21_manual1
NUMBER = re.compile(r"[ _-]\(?\d+\)?$")

ENDINGS = (*SUFFIXES, ".nii", ".nii.gz", ".hdr", ".mgz", ".mgh")


@dataclass(frozen=True)
class Pairs:
    """The outcome of pairing.

    Args:
        pairs: (key, image, masks), in natural order; the key is the stem below the image folder. An image has no mask, one,
            or several that are numbered (NAME_mask, NAME_mask_1) and are to be united.
        unpaired_images: images without a mask.
        unpaired_masks: masks without an image.
    """

    pairs: tuple[tuple[str, Path, tuple[Path, ...]], ...]
    unpaired_images: tuple[Path, ...]
    unpaired_masks: tuple[Path, ...]


def list_images(folder: Path, leave_out: Path | None = None) -> list[Path]:
    """All images and volumes below a folder, in natural order; links are followed, stray files left out."""
    left_out = leave_out and leave_out.resolve()
    return list_files(folder, ENDINGS, lambda below: left_out is not None and below.resolve() == left_out)


def pair_files(images: Path, masks: Path | None) -> Pairs:
    """Pair each image below `images` with its masks below `masks` (None: all images stand alone).

    Both may be one folder, or one may hold the other. In one folder a mask is known by its suffix: NAME.png, NAME_mask.png.

    Raises:
        UsageError: two images, or two masks, share a stem, or an image is its own mask: which belongs to which would be a
            guess.
    """
    if masks is not None and masks.resolve() == images.resolve():
        keys = {path: _key(path, images) for path in list_images(images)}
        marked = masks_by_name(keys.values())
        if keys and not marked:
            raise UsageError(
                f"Images and masks are both looked for in {images}, where no file is called as the mask of another: "
                "each image would be its own mask.",
                "In the same folder, masks are called NAME_mask, NAME_gt, ...; else give two folders.",
            )
        mask_keys = {path: key for path, key in keys.items() if key in marked}
        by_stem = _by_key({path: key for path, key in keys.items() if key not in marked})
    else:
        by_stem = _by_key({path: _key(path, images) for path in list_images(images, leave_out=masks)})
        mask_keys = {} if masks is None else {path: _key(path, masks) for path in list_images(masks, leave_out=images)}
    found = _masks_by_image(_by_key(mask_keys), by_stem)
    pairs = tuple((stem, path, tuple(found.get(stem, ()))) for stem, path in by_stem.items())
    for _, image, own in pairs:
        _refuse_own(image, own)
    return Pairs(
        pairs,
        tuple(image for _, image, own in pairs if not own),
        tuple(mask for stem, own in found.items() if stem not in by_stem for mask in own),
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


def _masks_by_image(masks: Mapping[str, Path], images: Mapping[str, Path]) -> dict[str, list[Path]]:
    """Masks by the key of their image; those that have none by their own key.

    NAME_1 is a further mask of NAME only where no image is called so: else it is the mask of an image that is missing.
    """
    plain = {IMAGE_SUFFIX.sub("", key): key for key in images}  # what an image is called without its own suffix
    frames = any(NUMBER.search(key) and NUMBER.sub("", key) in images for key in images)
    found: dict[str, list[Path]] = {}
    kinds: dict[str, str] = {}
    for key, path in masks.items():
        named = ((name if name in images else plain.get(name), kind) for name, kind in _names(key, numbered=not frames))
        image, kind = next(((image, kind) for image, kind in named if image), (key, ""))
        if kinds.setdefault(image, kind) != kind:
            raise UsageError(
                f"{found[image][0]} and {path} share the stem {image!r}: their partners cannot be told apart.",
                "Rename or remove one of them. Numbered masks of one image are united: NAME_mask_1, NAME_mask_2.",
            )
        found.setdefault(image, []).append(path)
    return found


def _names(mask: str, numbered: bool) -> Iterator[tuple[str, str]]:
    """Names that the image of a mask may have, likeliest first, and what is left of the mask's name beside its number."""
    yield mask, ""
    bare = NUMBERED_MASK.sub(r"\1", mask)
    for name in dict.fromkeys((mask, bare)):
        suffix = MASK_SUFFIX.search(name)
        if suffix:
            yield name[: suffix.start()], suffix.group().lower()
    if numbered:
        suffix = MASK_SUFFIX.search(bare)
        yield NUMBER.sub("", bare[: suffix.start()] if suffix else mask), suffix.group().lower() if suffix else ""
    if "/" in mask:
        yield mask.rpartition("/")[0], "/"  # a folder of masks that is called as its image


def masks_by_name(keys: Iterable[str]) -> set[str]:
    """Of files in one folder, the keys that are masks by their suffix, and not themselves the image of another one.

    Empty where none is called as the mask of another.

    >>> sorted(masks_by_name(["1", "1_mask", "1_mask_2", "2_mask", "scan_seg", "scan_seg_mask"]))
    ['1_mask', '1_mask_2', '2_mask', 'scan_seg_mask']
    """
    named = {key: [name for name, kind in _names(key, numbered=False) if kind not in ("", "/")] for key in keys}
    images = {name for names in named.values() for name in names} & set(named)
    return {key for key, names in named.items() if names and key not in images} if images else set()


def _refuse_own(image: Path, masks: Sequence[Path]) -> None:
    for mask in masks:
        if os.path.exists(mask) and os.path.exists(image) and os.path.samefile(image, mask):
            raise UsageError(f"{image} would be its own mask: {mask} is the same file.", "Give the folder of the masks.")


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
