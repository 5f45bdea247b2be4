"""The user's own images and masks, paired by name; what the mask values mean is inferred, shown and recorded."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    is_volume,
    missing_data,
    pair_files,
)
from segkit_datasets.mask_labels import Coding, labels_in
from segkit_datasets.mask_values import infer_values, is_lossy
from segkit_datasets.plugin import FolderOptions
from segkit_datasets.reading import left_out, read_any, readable

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
LOOKED_AT = 200  # masks that classes are inferred from, evenly spaced

Pair = tuple[str, Path, Path | None]


def open_folder(root: Path, options: FolderOptions, labelled: bool = True) -> Dataset:
    """Open images/ and masks/ below root, or below train, val and test.

    Raises:
        UsageError: the folders are not there, nothing pairs, or the masks' meaning cannot be inferred.
    """
    found = _pair_subsets(root, options, labelled)
    pairs = {subset: [pair for pair in part.pairs if pair[2] or not labelled] for subset, part in found.items()}
    everything = [pair for part in pairs.values() for pair in part]
    if not everything:
        what = "An image with a mask" if labelled else "An image"
        raise missing_data(what, root, ["images/NAME.*", "masks/NAME.*"])
    options, inferred = _infer(options, everything, labelled)
    task = _task(options, dims=_dims([image for _, image, _ in everything]))
    coding = Coding(options.values or (), options.ignore)
    cases = tuple(_case(pair, subset, options.group) for subset, part in pairs.items() for pair in part)

    def read(case: Case) -> Sample:
        sample = read_any(case.files["image"])
        image = _with_channels(sample.image, task.channels, case.files["image"])
        mask = labels_in(case.files["mask"], coding) if "mask" in case.files else None
        return dataclasses.replace(sample, image=image, mask=mask)

    return Dataset(task, cases, read, options, notes=(*inferred, *_unpaired(found.values(), labelled)))


def _pair_subsets(root: Path, options: FolderOptions, labelled: bool) -> dict[str | None, Pairs]:
    """Pairs by official subset where root holds at least two of train, val and test; else all under None."""
    subsets = {name: find_folder(root, names) for name, names in SUBSETS.items()}
    there: dict[str | None, Path] = {name: folder for name, folder in subsets.items() if folder is not None}
    if find_folder(root, IMAGE_FOLDERS) or options.images or not there:
        there = {None: root}
    elif len(there) == 1:
        there = {None: next(iter(there.values()))}
    found: dict[str | None, Pairs] = {}
    for name, folder in there.items():
        images = _find(folder, options.images, IMAGE_FOLDERS, "images")
        masks = _find(folder, options.masks, MASK_FOLDERS, "masks") if labelled else None
        found[name] = pair_files(images, masks)
    return found


def _find(root: Path, given: str | None, names: Sequence[str], what: str) -> Path:
    folder = root / given if given else find_folder(root, names)
    if folder is None or not folder.is_dir():
        looked_for = [given] if given else [f"{name}/" for name in names]
        raise missing_data(f"The folder of the {what}", root, looked_for)
    return folder


def _case(pair: Pair, subset: str | None, group: str | None) -> Case:
    key, image, mask = pair
    id = f"{subset}/{key}" if subset else key
    return Case(id, _group(key, group) if group else id, subset, files={"image": image} | ({"mask": mask} if mask else {}))


def _infer(options: FolderOptions, pairs: Sequence[Pair], labelled: bool) -> tuple[FolderOptions, list[str]]:
    """Options with channels, classes and values filled in, and what to tell the user about it."""
    looked_at = [mask for _, _, mask in _spaced(pairs, LOOKED_AT) if mask is not None]
    ours: dict[str, Any] = {}
    if options.channels is None:
        ours["channels"] = max(
            readable((image for _, image, _ in _spaced(pairs, 20)), lambda path: len(read_any(path).image))
        )
    if options.values is None and labelled:
        ours["values"], ignored = infer_values(looked_at, options.ignore)
        ours["ignore"] = options.ignore if ignored is None else ignored
    inferred = "values" in ours
    notes = [] if inferred or not labelled else _lossy_note(looked_at, options)
    options = dataclasses.replace(options, **ours)
    values = ("0", "255") if options.values is None else options.values
    if options.classes is None:
        names = ["foreground"] if len(values) == 2 else [f"class-{value.removeprefix('#')}" for value in values[1:]]
        options = dataclasses.replace(options, classes=("background", *names))
    assert options.classes is not None
    if not values or len(set(values)) != len(values):
        raise UsageError(f"dataset.values ({', '.join(values)}) must name each class's own value.")
    if len(options.classes) != len(values):
        raise UsageError(
            f"dataset.classes names {len(options.classes)} classes ({', '.join(options.classes)}), "
            f"but the masks hold {len(values)} values ({', '.join(values)}).",
            "Give both: -o dataset.classes=background,tumour -o dataset.values=0,255",
        )
    options = dataclasses.replace(options, values=values)
    return options, [_meaning(options, len(looked_at))] if inferred else notes


def _meaning(options: FolderOptions, looked_at: int) -> str:
    assert options.values is not None and options.classes is not None
    words = ", ".join(f"{value} = {name}" for value, name in zip(options.values, options.classes, strict=True))
    words += "; values between are rounded to the nearer one" if Coding(options.values, options.ignore).is_threshold else ""
    words += f"; {options.ignore} is ignored" if options.ignore is not None else ""
    return f"mask values, inferred from {looked_at} masks: {words}. To change: -o dataset.classes=... -o dataset.values=..."


def _lossy_note(looked_at: Sequence[Path], options: FolderOptions) -> list[str]:
    lossy = sum(map(is_lossy, looked_at))
    if not lossy:
        return []
    values = ", ".join(options.values or ())
    return [f"{lossy} of {len(looked_at)} masks are JPEG files, which is lossy: each pixel takes the nearest of {values}."]


def _dims(images: Sequence[Path]) -> int:
    volumes = [path for path in images if is_volume(path)]
    if volumes and len(volumes) < len(images):
        flat = next(path for path in images if not is_volume(path))
        raise UsageError(f"{volumes[0]} is a volume, {flat} an image; a dataset is one or the other.")
    return 3 if volumes else 2


def _task(options: FolderOptions, dims: int) -> Task:
    classes = options.classes or ()
    try:
        mode = "binary" if len(classes) == 2 else "multiclass"
        return Task(options.channels or 1, classes, dims, mode, ignore_index=None if options.ignore is None else 255)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(f"dataset.classes: {error}.") from None


def _with_channels(image: NDArray[Any], channels: int, path: Path) -> NDArray[Any]:
    if len(image) == channels:
        return image
    if len(image) == 1:
        return np.repeat(image, channels, axis=0)
    raise SegkitError(f"{path} has {len(image)} channels, the dataset {channels}.", f"-o dataset.channels={len(image)}")


def _group(key: str, pattern: str) -> str:
    try:
        match = re.search(pattern, key)
    except re.error as error:
        raise UsageError(f"dataset.group = {pattern} is not a regular expression: {error}.") from None
    group = match and (match.group(1) if match.groups() else match.group(0))
    if not group:
        raise UsageError(f"dataset.group = {pattern} matches nothing in the name {key!r}.")
    return group


def _unpaired(found: Any, labelled: bool) -> list[str]:
    images = [path for part in found for path in part.unpaired_images] if labelled else []
    masks = [path for part in found for path in part.unpaired_masks]
    named = [(images, "image(s) without a mask"), (masks, "mask(s) without an image")]
    return [note for paths, what in named for note in left_out(what, [path.name for path in paths])]


def _spaced(items: Sequence[Pair], most: int) -> list[Pair]:
    step = max(1, -(-len(items) // most))
    return list(items[::step])
