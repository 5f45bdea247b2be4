"""Kaggle's brain tumour images with COCO annotations (2,146 images in train, valid and test, exported by Roboflow).

Nearly every polygon is the tumour's bounding box, so the target is a box (Müller & Wolf train on boxes). Beside the two
categories, "0" and "1", the file lists an unused placeholder. No patients are known; images that Roboflow made of one
original ("NAME.rf.HASH.jpg") are one group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import Case, Dataset, Sample, SegkitError, Task, list_images, missing_data, read_image, write_image
from segkit_datasets.phantom import draw
from segkit_datasets.plugin import BrainCocoOptions, PhantomOptions

SUBSETS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
FILE = "_annotations.coco.json"

Annotation = Mapping[str, Any]


def open_brain_coco(root: Path, options: BrainCocoOptions, labelled: bool = True) -> Dataset:
    """Open train/, valid/ and test/, each with its _annotations.coco.json.

    Raises:
        UsageError: none of them is there.
        SegkitError: an annotation file is damaged.
    """
    folders = {name: root / name for name in SUBSETS if (root / name).is_dir()} or {"": root}
    if not labelled:
        images = [(SUBSETS.get(name), path) for name, folder in folders.items() for path in list_images(folder)]
        cases = [Case(*_names_of(path.name, subset), subset, files={"image": path}) for subset, path in images]
        categories: list[str] = []
    else:
        files = {name: folder / FILE for name, folder in folders.items() if (folder / FILE).exists()}
        documents = {name: _read_json(path) for name, path in files.items()}
        categories = _categories(documents)
        cases = [case for name, document in documents.items() for case in _cases(folders[name], SUBSETS.get(name), document)]
    if not cases:
        raise missing_data(FILE, root, [f"{name}/{FILE}" for name in ("train", "valid", "test")])
    names = tuple(categories) if options.target == "category" and categories else ("tumour",)
    task = Task(
        3, ("background", *names), mode="binary" if len(names) == 1 else "multiclass", channel_names=("red", "green", "blue")
    )
    label_of = {name: 1 if len(names) == 1 else names.index(name) + 1 for name in categories}
    return Dataset(task, tuple(cases), partial(_read, label_of=label_of, shape=options.mask), options)


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(document[key], list) for key in ("images", "annotations", "categories")):
            raise ValueError("images, annotations and categories must be lists")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SegkitError(f"{path} is not a COCO annotation file: {type(error).__name__}: {error}") from None
    return document


def _categories(documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the categories that any annotation uses, in the order of their ids; the placeholder drops out."""
    used: dict[str, int] = {}
    for document in documents.values():
        names = _names(document)
        for annotation in document["annotations"]:
            id = annotation["category_id"]
            used.setdefault(names.get(id, f"category {id}"), id)
    return sorted(used, key=lambda name: (used[name], name))


def _names(document: Mapping[str, Any]) -> dict[int, str]:
    return {category["id"]: str(category["name"]) for category in document["categories"]}


def _cases(folder: Path, subset: str | None, document: Mapping[str, Any]) -> list[Case]:
    names = _names(document)  # ids of categories may differ between the subsets' files
    annotations: dict[Any, list[Annotation]] = {}
    for annotation in document["annotations"]:
        named = {**annotation, "category": names.get(annotation["category_id"], f"category {annotation['category_id']}")}
        annotations.setdefault(annotation["image_id"], []).append(named)
    cases = []
    for image in document["images"]:
        path, name = folder / image["file_name"], image["file_name"]
        inside = path.resolve().is_relative_to(folder.resolve())
        files = {"image": path, "annotations": folder / FILE} if inside and path.is_file() else {}
        problem = "names no file" if inside else "leads out of its folder"
        cases.append(
            Case(
                *_names_of(name, subset),
                subset,
                files=files,
                problem="" if files else f"{folder / FILE}: the file_name {name!r} {problem}.",
                metadata={
                    "annotations": annotations.get(image["id"], []),
                    "size": (image.get("height"), image.get("width")),
                },
            )
        )
    return cases


def _names_of(file_name: str, subset: str | None) -> tuple[str, str]:
    """Id and group. Roboflow calls its exports of one image ORIGINAL.rf.HASH.jpg: these are one group."""
    name = Path(file_name)
    id = f"{subset}/{name.stem}" if subset else name.stem
    original, exported, _ = name.name.partition(".rf.")
    return id, original if exported else id


def _read(case: Case, label_of: Mapping[str, int], shape: str) -> Sample:
    image = read_image(case.files["image"])
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
            inside = _box(annotation, mask.shape) if shape == "bbox" else _outline(annotation, mask.shape)
        except Exception as error:
            where = f"annotation {annotation.get('id')} of {case.files['image']}"
            raise SegkitError(f"The {where} cannot be drawn: {type(error).__name__}: {error}") from None
        mask[inside] = label_of[annotation["category"]]
    return Sample(image, mask)


def _box(annotation: Annotation, size: Sequence[int]) -> NDArray[np.bool_]:
    """Pixels whose centre is in the box [x, y, width, height]."""
    x, y, width, height = annotation["bbox"]
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside_rows, inside_columns = (rows >= y) & (rows < y + height), (columns >= x) & (columns < x + width)
    return inside_rows[:, None] & inside_columns


def _outline(annotation: Annotation, size: Sequence[int]) -> NDArray[np.bool_]:
    """Polygons or a run-length code, drawn by COCO's own code."""
    from pycocotools import mask as coco

    outline = annotation["segmentation"]
    height, width = int(size[0]), int(size[1])
    if isinstance(outline, list):
        code = coco.merge(coco.frPyObjects(outline, height, width))
    elif isinstance(outline["counts"], list):
        code = coco.frPyObjects(outline, height, width)
    else:
        code = outline
    drawn = coco.decode(code).astype(bool)
    if drawn.shape != (height, width):
        raise ValueError(f"its size {drawn.shape} is not the image's {(height, width)}")
    return np.asarray(drawn)
