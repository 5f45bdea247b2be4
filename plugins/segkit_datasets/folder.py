"""The user's own images and masks, paired by name; what the mask values mean is inferred, shown and recorded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segkit.api import (
    Case,
    Dataset,
    Pairs,
    Sample,
    SegkitError,
    Task,
    UsageError,
    find_folder,
    missing_data,
    pair_files,
    read_image,
    read_mask,
)
from segkit_datasets.plugin import FOLDER_LAYOUT, FolderOptions

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "original", "frames")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "ground truth", "ground_truth", "groundtruth", "gt")
LOOKED_AT = 200  # masks that classes are inferred from, evenly spaced
LARGEST_LABEL = 63  # above, mask values are taken for gray levels
SOFT_EDGES = 0.05  # share of pixels between two values up to which they are soft edges of a binary mask


def open_folder(root: Path, options: FolderOptions, labelled: bool = True) -> Dataset:
    """Open images/ and masks/ below root.

    Raises:
        UsageError: the folders are not there, nothing pairs, or the masks' meaning cannot be inferred.
    """
    images = _find(root, options.images, IMAGE_FOLDERS, "images")
    masks = _find(root, options.masks, MASK_FOLDERS, "masks") if labelled else None
    found = pair_files(images, masks)
    pairs = [pair for pair in found.pairs if pair[2] is not None or not labelled]
    if not pairs:
        what = "An image with a mask" if labelled else "An image"
        raise missing_data(what, root, [f"{images}/NAME.*", f"{masks}/NAME.*"], FOLDER_LAYOUT)
    options, inferred = _infer(options, pairs, labelled)
    task = _task(options)
    cases = tuple(
        Case(key, _group(key, options.group), files={"image": image} | ({"mask": mask} if mask else {}))
        for key, image, mask in pairs
    )

    def read(case: Case) -> Sample:
        image = _with_channels(read_image(case.files["image"]), task.channels, case.files["image"])
        mask = _to_labels(case.files["mask"], options.values or ()) if labelled and "mask" in case.files else None
        return Sample(image, mask)

    return Dataset(task, cases, read, options, notes=(*inferred, *_unpaired(found, labelled)))


def _find(root: Path, given: str | None, names: Sequence[str], what: str) -> Path:
    folder = root / given if given else find_folder(root, names)
    if folder is None or not folder.is_dir():
        looked_for = [given] if given else [f"{name}/" for name in names]
        raise missing_data(f"The folder of the {what}", root, looked_for, FOLDER_LAYOUT)
    return folder


def _infer(
    options: FolderOptions, pairs: Sequence[tuple[str, Path, Path | None]], labelled: bool
) -> tuple[FolderOptions, list[str]]:
    """Options with channels, classes and values filled in, and what to tell the user about it."""
    notes = []
    if options.channels is None:
        sizes = {len(read_image(image)) for _, image, _ in _spaced(pairs, 20)}
        options = dataclasses.replace(options, channels=max(sizes))
    if options.values is None and labelled:
        looked_at = [mask for _, _, mask in _spaced(pairs, LOOKED_AT) if mask is not None]
        options = dataclasses.replace(options, values=_infer_values(looked_at))
        notes.append(f"mask values, inferred from {len(looked_at)} masks: ")
    values = options.values or (0, 255)
    if options.classes is None:
        names = ["foreground"] if len(values) == 2 else [f"class-{value}" for value in values[1:]]
        options = dataclasses.replace(options, classes=("background", *names))
    assert options.classes is not None
    if len(options.classes) != len(values):
        raise UsageError(
            f"dataset.classes names {len(options.classes)} classes ({', '.join(options.classes)}), "
            f"but the masks hold {len(values)} values ({', '.join(map(str, values))}).",
            "Give both: -o dataset.classes=background,tumour -o dataset.values=0,255",
        )
    if notes:
        meaning = ", ".join(f"{value} = {name}" for value, name in zip(values, options.classes, strict=True))
        rounding = "; values between are rounded to the nearer one" if len(values) == 2 else ""
        notes = [f"{notes[0]}{meaning}{rounding}. To change: -o dataset.classes=... -o dataset.values=..."]
    return dataclasses.replace(options, values=values), notes


def _infer_values(masks: Sequence[Path]) -> tuple[int, ...]:
    counts: dict[int, int] = {}
    for mask in masks:
        for value, number in zip(*np.unique(read_mask(mask), return_counts=True), strict=True):
            counts[int(value)] = counts.get(int(value), 0) + int(number)
    values = sorted(counts)
    if len(values) == 1:
        return (0, 255) if values[0] in (0, 255) else (0, 1)
    low, high = values[0], values[-1]
    between = sum(counts.values()) - counts[low] - counts[high]
    lossy = any(mask.suffix.lower() in (".jpg", ".jpeg") for mask in masks)
    if len(values) == 2 or lossy or (high > LARGEST_LABEL and between <= SOFT_EDGES * sum(counts.values())):
        return (0, 255) if high > LARGEST_LABEL else (low, high)
    if low == 0 and high <= LARGEST_LABEL:
        return tuple(range(high + 1))
    shown = ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "")
    raise UsageError(
        f"What the mask values mean cannot be inferred: {shown}.",
        "Say it: -o dataset.classes=background,tumour,organ -o dataset.values=0,128,255",
    )


def _task(options: FolderOptions) -> Task:
    classes = options.classes or ()
    try:
        return Task(options.channels or 1, classes, mode="binary" if len(classes) == 2 else "multiclass")
    except ValueError as error:
        raise UsageError(f"dataset.classes: {error}.") from None


def _to_labels(path: Path, values: Sequence[int]) -> NDArray[np.int32]:
    stored = read_mask(path)
    if len(values) == 2:
        return (stored * 2 > values[0] + values[1]).astype(np.int32)
    strange = sorted(set(np.unique(stored).tolist()) - set(values))
    if strange:
        raise SegkitError(f"{path} holds {strange[:8]}, which are none of dataset.values ({', '.join(map(str, values))}).")
    labels = np.zeros_like(stored)
    for label, value in enumerate(values):
        labels[stored == value] = label
    return labels


def _with_channels(image: NDArray, channels: int, path: Path) -> NDArray:  # type: ignore[type-arg]
    if len(image) == channels:
        return image
    if len(image) == 1:
        return np.repeat(image, channels, axis=0)
    raise SegkitError(f"{path} has {len(image)} channels, the dataset {channels}.", f"-o dataset.channels={len(image)}")


def _group(key: str, pattern: str | None) -> str:
    if pattern is None:
        return key
    try:
        match = re.search(pattern, key)
    except re.error as error:
        raise UsageError(f"dataset.group = {pattern!r} is no regular expression: {error}.") from None
    if match is None:
        raise UsageError(f"dataset.group = {pattern!r} matches nothing in the name {key!r}.")
    return match.group(1) if match.groups() else match.group(0)


def _unpaired(found: Pairs, labelled: bool) -> list[str]:
    notes = []
    if labelled and found.unpaired_images:
        names = ", ".join(path.name for path in found.unpaired_images[:5])
        notes.append(f"{len(found.unpaired_images)} image(s) without a mask are left out: {names}")
    if found.unpaired_masks:
        names = ", ".join(path.name for path in found.unpaired_masks[:5])
        notes.append(f"{len(found.unpaired_masks)} mask(s) without an image are left out: {names}")
    return notes


def _spaced(items: Sequence, most: int) -> list:  # type: ignore[type-arg]
    step = max(1, -(-len(items) // most))
    return list(items[::step])
