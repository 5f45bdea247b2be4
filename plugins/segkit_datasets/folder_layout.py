"""Where images and masks lie below a user's folder, by official subset, and which of them are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segkit.api import Pairs, UsageError, find_folder, list_images, missing_data, pair_files
from segkit_datasets.plugin import FolderOptions
from segkit_datasets.reading import left_out

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "original", "frames")
MASK_FOLDERS = (
    *(
        "masks",
        "labels",
        "label",
        "annotations",
        "ground truth",
        "ground_truth",
        "groundtruth",
        "gt",
        "1st_manual",
        "manual",
    ),
    "mask",  # last: beside 1st_manual (DRIVE) it is the field of view
)
SUBSETS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}

Pair = tuple[str, Path, tuple[Path, ...]]


@dataclass(frozen=True)
class Layout:
    """The images that are used, with their masks, by official subset (None: there is no official split).

    Args:
        pairs: (key, image, masks) by subset; without masks where these are not asked for.
        notes: what is united or left out.
    """

    pairs: dict[str | None, list[Pair]]
    notes: tuple[str, ...]


def find_pairs(root: Path, options: FolderOptions, labelled: bool) -> Layout:
    """Pairs by official subset where root holds at least two of train, val and test; else all under None.

    A subset without masks is left out where another one has some.

    Raises:
        UsageError: a folder is not there, or nothing pairs.
    """
    subsets = {name: folder for name, names in SUBSETS.items() if (folder := find_folder(root, names))}
    places: dict[str | None, Path] = {**subsets} if len(subsets) > 1 else {None: next(iter(subsets.values()), root)}
    notes: list[str] = []
    if find_folder(root, IMAGE_FOLDERS) or options.images:
        places = {None: root}
        unused = [folder for folder in subsets.values() if find_folder(folder, IMAGE_FOLDERS)]
        notes += left_out("folder(s) of images beside the one that is used", [folder.name for folder in unused])
    found: dict[str | None, Pairs] = {}
    for name, place in places.items():
        images = _find(place, options.images, IMAGE_FOLDERS)
        masks = _find(place, options.masks, MASK_FOLDERS)
        if images is not None and (masks is not None or not labelled):
            found[name] = _pair(images, masks, labelled)
        elif images is not None and len(places) > 1:
            notes += left_out(f"image(s) of {place.name}/, which has no folder of masks,", _names(list_images(images)))
    if not found:
        found, told = _side_by_side(next(iter(places.values())), options, labelled)
        notes += told
    pairs = {subset: [pair for pair in part.pairs if pair[2] or not labelled] for subset, part in found.items()}
    pairs = _by_subset(pairs[None]) if None in pairs else pairs
    if not any(pairs.values()):
        what = "An image with a mask" if labelled else "An image"
        raise missing_data(what, root, ["images/NAME.*", "masks/NAME.*"])
    if not labelled:
        return Layout({subset: [(key, image, ()) for key, image, _ in part] for subset, part in pairs.items()}, ())
    notes += _united(pair for part in pairs.values() for pair in part)
    notes += left_out("image(s) without a mask", _names(path for part in found.values() for path in part.unpaired_images))
    notes += left_out("mask(s) without an image", _names(path for part in found.values() for path in part.unpaired_masks))
    return Layout(pairs, tuple(notes))


def _pair(images: Path, masks: Path | None, labelled: bool) -> Pairs:
    """Masks that lie among the images are no images, also where masks are not asked for."""
    among = masks is not None and (images.is_relative_to(masks) or masks.is_relative_to(images))
    return pair_files(images, masks if labelled or among else None)


def _find(place: Path, given: str | None, names: Sequence[str]) -> Path | None:
    folder = place / given if given else find_folder(place, names)
    return folder if folder is not None and folder.is_dir() else None


def _side_by_side(place: Path, options: FolderOptions, labelled: bool) -> tuple[dict[str | None, Pairs], list[str]]:
    """Images with their masks beside them, told by suffix, where no folder is called or said to be that of either.

    Raises:
        UsageError: the folder that is not there.
    """
    absent = [
        missing_data(f"The folder of the {what}", place, [given] if given else [f"{name}/" for name in names])
        for given, names, what in ((options.images, IMAGE_FOLDERS, "images"), (options.masks, MASK_FOLDERS, "masks"))
        if _find(place, given, names) is None
    ]
    if len(absent) < 2 or options.images or options.masks or not list_images(place):
        raise absent[0]
    try:
        pairs = pair_files(place, place)
    except UsageError:
        raise absent[0] from None
    return {None: pairs}, [
        "images and masks lie side by side: NAME_mask and the like are the masks of NAME"
    ] if labelled else []


def _by_subset(pairs: list[Pair]) -> dict[str | None, list[Pair]]:
    """Folders train, val and test inside that of the images are the subsets, if there are two and nothing beside them."""
    subset_of = {name: subset for subset, names in SUBSETS.items() for name in names}
    tops = {key.rpartition("/")[0].partition("/")[0].lower() for key, _, _ in pairs}
    if not tops <= set(subset_of) or len({subset_of[top] for top in tops}) < 2:
        return {None: pairs}
    found: dict[str | None, list[Pair]] = {subset: [] for subset in SUBSETS}
    for key, image, masks in pairs:
        top, _, rest = key.partition("/")
        found[subset_of[top.lower()]].append((rest, image, masks))
    return {subset: own for subset, own in found.items() if own}


def _united(pairs: Iterable[Pair]) -> tuple[str, ...]:
    several = [f"{image.name} ({', '.join(_names(masks))})" for _, image, masks in pairs if len(masks) > 1]
    shown = "; ".join(several[:3]) + ("; ..." if len(several) > 3 else "")
    return (f"{len(several)} image(s) have several masks, which are united: {shown}",) if several else ()


def _names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths]
