"""Datasets laid out for nnU-Net v2 (Isensee 2021) or the Medical Segmentation Decathlon (Antonelli 2022)."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from segkit.api import (
    Case,
    Dataset,
    NoOptions,
    Sample,
    SegkitError,
    Task,
    UsageError,
    is_volume,
    missing_data,
)
from segkit_datasets.mask_labels import IGNORED, Coding, labels_in
from segkit_datasets.mask_values import infer_values
from segkit_datasets.nnunet_layout import find_cases, images_of
from segkit_datasets.phantom import draw_volume
from segkit_datasets.plugin import PhantomOptions
from segkit_datasets.reading import frames_of_masks, is_upright, match_orientation, read_any

LOOKED_AT = 200  # masks that classes are inferred from, evenly spaced


@dataclass(frozen=True)
class Labels:
    """What the mask values mean.

    Args:
        names: class names, background first.
        values: the mask value of each class.
        ignore: mask value that is left out, or None.
        regions: unions of classes.
        stated: by dataset.json; otherwise inferred.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore: int | None = None
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stated: bool = True


def open_nnunet(root: Path, options: NoOptions, labelled: bool = True) -> Dataset:
    """Open imagesTr/ with labelsTr/ and imagesTs/ with labelsTs/, which then is the official test subset.

    Unlabelled, labels need not be there, and a folder may hold the images themselves.

    Raises:
        UsageError: they are not there.
        SegkitError: dataset.json is damaged.
    """
    record = _read_json(root / "dataset.json")
    cases, left = find_cases(root, record.get("file_ending"), labelled)
    if not cases:
        raise missing_data("A case with its label", root, ["imagesTr/NAME_0000.nii.gz", "labelsTr/NAME.nii.gz"])
    labels, inferred = _labels(record, [case.files["mask"] for case in cases if "mask" in case.files])
    images = [images_of(case) for case in cases]
    dims = 3 if is_volume(images[0][0]) else 2
    channels = _channels(images)
    names = tuple(str(name) for name in (record.get("channel_names") or record.get("modality") or {}).values())
    task = Task(
        channels,
        labels.names,
        dims=dims,
        mode="binary" if len(labels.names) == 2 else "multiclass",
        channel_names=names if len(names) == channels and len(set(names)) == len(names) else (),
        ignore_index=None if labels.ignore is None else IGNORED,
        regions=labels.regions,
    )
    cases, turned = match_orientation(cases, frames_of_masks)
    return Dataset(task, tuple(cases), partial(_read, labels=labels), options, (*inferred, *left, *turned))


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write made-up volumes in nnU-Net v2's layout, two channels, with nested regions."""
    options = PhantomOptions(dims=3, size=20, classes=2, seed=seed)
    for number in range(cases):
        image, mask = draw_volume(number, options)
        affine = np.diag([-1.0, -1.0, 2.0, 1.0])
        for channel in range(2):
            file = out / "imagesTr" / f"case_{number:03d}_{channel:04d}.nii.gz"
            file.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(image[channel].astype(np.int16), affine), file)
        (out / "labelsTr").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), out / "labelsTr" / f"case_{number:03d}.nii.gz")
    record = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "whole": [1, 2], "rim": 1, "core": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (out / "dataset.json").write_text(json.dumps(record))


def _channels(cases: Iterable[Sequence[Path]]) -> int:
    """Channels of a case that can be read and has as many files as most."""
    cases, failed = list(cases), None
    usual = Counter(len(files) for files in cases).most_common(1)[0][0]
    for files in sorted(cases, key=lambda files: len(files) != usual):
        try:
            return sum(len(read_any(path).image) for path in files)
        except SegkitError as error:
            failed = failed or error
    assert failed is not None, "there is a case"
    raise failed


def _read_json(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(record, dict):
            raise ValueError("it is no object")
    except (OSError, ValueError) as error:
        raise SegkitError(f"{path} is damaged: {error}.") from None
    return record


def _labels(record: Mapping[str, Any], masks: Sequence[Path]) -> tuple[Labels, list[str]]:
    stated = record.get("labels")
    if not isinstance(stated, dict) or not stated:
        return _infer(masks) if masks else (Labels(("background", "class-1"), (0, 1)), [])
    if all(str(key).isdecimal() for key in stated):  # Decathlon: {"0": "background", "1": "liver"}
        stated = {str(name): int(value) for value, name in stated.items()}
    ignore = stated.get("ignore")
    single = {name: value for name, value in stated.items() if isinstance(value, int) and name != "ignore"}
    unions = {name: value for name, value in stated.items() if isinstance(value, list)}
    values = sorted({0, *single.values(), *(value for union in unions.values() for value in union)})
    named = {value: name for name, value in single.items()}
    names = {value: named.get(value, f"label-{value}").replace("/", " or ") for value in values}
    regions = {name: tuple(names[value] for value in union) for name, union in unions.items()}
    regions |= {name: (names[single[name]],) for name in single if unions and single[name] != 0}
    try:
        return Labels(tuple(names.values()), tuple(values), ignore, regions), []
    except (TypeError, KeyError) as error:
        raise SegkitError(f"The labels in dataset.json are not understood: {error}.") from None


def _infer(masks: Sequence[Path]) -> tuple[Labels, list[str]]:
    step = max(1, -(-len(masks) // LOOKED_AT))
    try:
        values, ignore = infer_values(masks[::step], None)
    except UsageError as error:
        ways = "or as --dataset folder, where the values can be typed: " + error.hint if error.hint else ""
        raise UsageError(error.message, f"Write a dataset.json with the labels{ways and ', ' + ways}") from None
    if any(value.startswith("#") for value in values):
        raise UsageError("The labels are colours; a label map holds numbers.", "As --dataset folder, colours can be typed.")
    names = ("background", *(f"class-{value}" for value in values[1:]))
    note = f"there is no dataset.json: {len(values) - 1} class(es) inferred from {len(masks[::step])} masks."
    return Labels(names, tuple(map(int, values)), ignore, stated=False), [note]


def _read(case: Case, labels: Labels) -> Sample:
    parts = [read_any(path, is_upright(case)) for path in images_of(case)]
    sizes = [part.image.shape[1:] for part in parts]
    if len(set(sizes)) > 1:
        raise SegkitError(f"The channels of case {case.id!r} differ in size: {sizes}.")
    sample = dataclasses.replace(parts[0], image=np.concatenate([part.image for part in parts]))
    if "mask" not in case.files:
        return sample
    named = "the labels of dataset.json" if labels.stated else "the labels that were inferred from some masks"
    remedy = "Write all labels into dataset.json: {values}."
    coding = Coding(tuple(map(str, labels.values)), labels.ignore, named, remedy)
    return dataclasses.replace(sample, mask=labels_in(case.files["mask"], coding, is_upright(case)))
