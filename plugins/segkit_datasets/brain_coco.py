"""Kaggle's brain tumour images with COCO annotations (2,146 images in train, valid and test, exported by Roboflow).

Nearly every polygon is the tumour's bounding box, so the target is a box (Müller & Wolf train on boxes). Beside the two
categories, "0" and "1", the file lists an unused placeholder. No patients are known; images that Roboflow made of one
original ("NAME.rf.HASH.jpg") are one group.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segkit.api import (
    Case,
    Dataset,
    Frame,
    Sample,
    SegkitError,
    Task,
    list_images,
    missing_data,
    natural_order,
    read_image,
    write_image,
)
from segkit_datasets.coco import CocoFile, draw_annotation, id_of, read_coco
from segkit_datasets.phantom import draw
from segkit_datasets.plugin import BrainCocoOptions, PhantomOptions
from segkit_datasets.reading import is_upright, left_out, match_orientation

SUBSETS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
FILE = "_annotations.coco.json"


def open_brain_coco(root: Path, options: BrainCocoOptions, labelled: bool = True) -> Dataset:
    """Open train/, valid/ and test/, each with its _annotations.coco.json.

    Raises:
        UsageError: none of them is there.
        SegkitError: an annotation file is damaged.
    """
    folders = {name: root / name for name in SUBSETS if (root / name).is_dir()} or {"": root}
    files: dict[str, CocoFile] = {}
    if labelled:
        files = {name: read_coco(folder / FILE) for name, folder in folders.items() if (folder / FILE).exists()}
        cases = [case for name, file in files.items() for case in _cases(folders[name], SUBSETS.get(name), file)]
    else:
        images = [(SUBSETS.get(name), path) for name, folder in folders.items() for path in list_images(folder)]
        cases = [Case(*_names_of(path.name, subset), subset, files={"image": path}) for subset, path in images]
    if not cases:
        raise missing_data(FILE, root, [f"{name}/{FILE}" for name in ("train", "valid", "test")])
    categories = _categories(files.values())
    names = tuple(categories) if options.target == "category" and categories else ("tumour",)
    task = Task(
        3, ("background", *names), mode="binary" if len(names) == 1 else "multiclass", channel_names=("red", "green", "blue")
    )
    label_of = {name: 1 if len(names) == 1 else names.index(name) + 1 for name in categories}
    read = partial(_read, label_of=label_of, shape=options.mask)
    problems = tuple(problem for file in files.values() for problem in file.problems)
    cases, turned = match_orientation(cases, _frame_of_outlines)
    notes = (*_unnamed(folders, files), *turned) if labelled else ()
    return Dataset(task, tuple(cases), read, options, notes, problems)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write synthetic images in this layout, half of them for training; outlines are boxes, every fourth image has none."""
    options = PhantomOptions(cases=cases, seed=seed, empty=0.25)
    subsets = {"train": range(0, cases, 2), "valid": range(1, cases, 4), "test": range(3, cases, 4)}
    for name, numbers in subsets.items():
        document: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 0, "name": "Tumor"}, {"id": 1, "name": "0"}, {"id": 2, "name": "1"}],
        }
        for number in numbers:
            image, mask = draw(number, options)
            file = f"{number}_png.rf.{number:032x}.png"
            write_image(out / name / file, np.moveaxis(image, 0, -1))
            height, width = mask.shape
            document["images"].append({"id": number, "file_name": file, "height": height, "width": width})
            if mask.any():
                rows, columns = np.nonzero(mask)
                x, y, w, h = (int(v) for v in (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1))
                polygon = [x + w, y, x, y, x, y + h, x + w, y + h, x + w, y]
                annotation = {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [x, y, w, h]}
                document["annotations"].append({**annotation, "segmentation": [polygon], "iscrowd": 0})
        (out / name).mkdir(parents=True, exist_ok=True)
        (out / name / FILE).write_text(json.dumps(document))


def _categories(files: Iterable[CocoFile]) -> list[str]:
    """Names of the categories that are used, in the order of their ids."""
    used: dict[str, str] = {}
    for file in files:
        for annotation in (one for own in file.annotations.values() for one in own):
            used.setdefault(annotation["category"], id_of(annotation["category_id"]))
    return sorted(used, key=lambda name: (natural_order(used[name]), name))


def _cases(folder: Path, subset: str | None, file: CocoFile) -> list[Case]:
    cases = []
    for image in file.images:
        id, name = id_of(image["id"]), str(image["file_name"])
        path = folder / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts  # a link to elsewhere is the user's own
        files = {"image": path, "annotations": file.path} if inside and path.is_file() else {}
        wrong = "" if files else f"the file_name {name!r} {'names no file' if inside else 'leads out of its folder'}."
        problem = f"{file.path}: {wrong}" if wrong else file.faults.get(id, "")
        size = image.get("height"), image.get("width")
        metadata = {"annotations": file.annotations.get(id, []), "size": size}
        cases.append(Case(*_names_of(name, subset), subset, files=files, problem=problem, metadata=metadata))
    return cases


def _unnamed(folders: Mapping[str, Path], files: Mapping[str, CocoFile]) -> tuple[str, ...]:
    """What is left out: images that no annotation file names."""
    notes = list[str]()
    for name, folder in folders.items():
        named = {folder / str(image["file_name"]) for image in files[name].images} if name in files else set()
        unnamed = [path.name for path in list_images(folder) if path not in named]
        notes += left_out(f"image(s) of {folder.name}/ that no {FILE} names", unnamed)
    return tuple(notes)


def _names_of(file_name: str, subset: str | None) -> tuple[str, str]:
    """Id and group. Roboflow calls its exports of one image ORIGINAL.rf.HASH.jpg: these are one group."""
    name = Path(file_name)
    id = f"{subset}/{name.stem}" if subset else name.stem
    original, exported, _ = name.name.partition(".rf.")
    return id, original if exported else id


def _frame_of_outlines(case: Case) -> list[Frame | None]:
    """That of the image that the annotations of a case are for; None where the file states no size."""
    height, width = case.metadata.get("size", (None, None))
    annotated = bool(case.metadata.get("annotations"))
    if isinstance(height, int) and isinstance(width, int):
        return [Frame((height, width))] if annotated or height != width else []
    return [None] if annotated else []


def _read(case: Case, label_of: Mapping[str, int], shape: str) -> Sample:
    image = read_image(case.files["image"], is_upright(case))
    if len(image) == 1:
        image = np.repeat(image, 3, axis=0)
    if "annotations" not in case.metadata:
        return Sample(image)
    stated = case.metadata["size"]
    if None not in stated and tuple(stated) != image.shape[1:]:
        raise SegkitError(f"{case.files['image']} is {image.shape[1:]}, its annotations are for {tuple(stated)} pixels.")
    mask = np.zeros(image.shape[1:], np.int32)
    for annotation in case.metadata["annotations"]:
        try:
            inside = draw_annotation(annotation, mask.shape, shape)
        except ValueError as error:
            where = f"{case.id}: {annotation['called']} of {case.files['image']}"
            raise SegkitError(f"{where} cannot be drawn: {error}.") from None
        mask[inside] = label_of[annotation["category"]]
    return Sample(image, mask)
