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
    Sample,
    SegkitError,
    Task,
    UsageError,
    is_volume,
)
from segkit_datasets.folder_layout import Pair, find_pairs
from segkit_datasets.mask_labels import IGNORED, Coding, labels_in
from segkit_datasets.mask_values import infer_values, is_lossy
from segkit_datasets.plugin import FolderOptions
from segkit_datasets.reading import (
    by_role,
    frames_of_masks,
    is_upright,
    masks_of,
    match_orientation,
    read_any,
    readable,
    unite,
)

LOOKED_AT = 200  # masks that classes are inferred from, evenly spaced


def open_folder(root: Path, options: FolderOptions, labelled: bool = True) -> Dataset:
    """Open images/ and masks/ below root, or below train, val and test.

    Raises:
        UsageError: the folders are not there, nothing pairs, or the masks' meaning cannot be inferred.
    """
    layout = find_pairs(root, options, labelled)
    everything = [pair for part in layout.pairs.values() for pair in part]
    options, inferred = _infer(options, everything, labelled)
    task = _task(options, dims=_dims([image for _, image, _ in everything]))
    coding = Coding(options.values or (), options.ignore)
    cases, turned = match_orientation(
        (_case(pair, subset, options.group) for subset, part in layout.pairs.items() for pair in part), frames_of_masks
    )

    def read(case: Case) -> Sample:
        sample = read_any(case.files["image"], is_upright(case))
        image = _with_channels(sample.image, task.channels, case.files["image"])
        masks = [labels_in(path, coding, is_upright(case)) for path in masks_of(case)]
        return dataclasses.replace(sample, image=image, mask=unite(masks, case, IGNORED) if masks else None)

    return Dataset(task, tuple(cases), read, options, notes=(*inferred, *layout.notes, *turned))


def _case(pair: Pair, subset: str | None, group: str | None) -> Case:
    key, image, masks = pair
    id = f"{subset}/{key}" if subset else key
    return Case(id, _group(key, group) if group else id, subset, files={"image": image} | by_role(masks))


def _infer(options: FolderOptions, pairs: Sequence[Pair], labelled: bool) -> tuple[FolderOptions, list[str]]:
    """Options with channels, classes and values filled in, and what to tell the user about it."""
    looked_at = [mask for _, _, masks in _spaced(pairs, LOOKED_AT) for mask in masks]
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
    if len(image) == 1 and not is_volume(path):  # one modality does not stand for several
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


def _spaced(items: Sequence[Pair], most: int) -> list[Pair]:
    step = max(1, -(-len(items) // most))
    return list(items[::step])
