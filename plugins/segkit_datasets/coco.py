"""A COCO annotation file, read with care: what belongs together, what is missing, and outlines drawn as masks.

An annotation that cannot be used is named with its file, its number and what is wrong; nothing is skipped in silence.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import SegkitError

Annotation = Mapping[str, Any]
SHAPES = {"bbox": "bbox", "polygon": "segmentation"}  # dataset.mask -> the key of an annotation that it is drawn from


@dataclass(frozen=True)
class CocoFile:
    """An annotation file.

    Args:
        path: of the file.
        images: as they stand there.
        categories: name by id.
        annotations: by the id of their image, each with its `category` by name.
        faults: by the id of an image, why an annotation of it cannot be used.
        problems: what belongs to no image.
    """

    path: Path
    images: Sequence[Mapping[str, Any]]
    categories: Mapping[str, str]
    annotations: Mapping[str, Sequence[Annotation]]
    faults: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file; ids are compared as text, so that "7" is 7.

    Raises:
        SegkitError: it is no COCO file, an image or a category lacks a key, or an id stands there twice.
    """
    document = _read_json(path)
    images = [
        _with_keys(image, ("id", "file_name"), f"{path}: image {number}") for number, image in enumerate(document["images"])
    ]
    categories = [
        _with_keys(one, ("id", "name"), f"{path}: category {number}") for number, one in enumerate(document["categories"])
    ]
    for what, entries in (("image", images), ("category", categories)):
        id, count = Counter(id_of(entry["id"]) for entry in entries).most_common(1)[0] if entries else ("", 0)
        if count > 1:
            raise SegkitError(f"{path}: the {what} id {id} stands there {count} times: its annotations could be of any.")
    names = {id_of(category["id"]): str(category["name"]) for category in categories}
    known = {id_of(image["id"]) for image in images}
    annotations: dict[str, list[Annotation]] = {}
    faults, strangers, nowhere, unlisted = dict[str, str](), list[str](), list[str](), list[str]()
    for number, annotation in enumerate(document["annotations"]):
        called = f"annotation {annotation['id']}" if _has(annotation, "id") else f"annotation number {number + 1}"
        if not _has(annotation, "image_id"):
            nowhere.append(called)
        elif id_of(annotation["image_id"]) not in known:
            strangers.append(f"image_id {annotation['image_id']!r}")
        elif not _has(annotation, "category_id"):
            faults.setdefault(id_of(annotation["image_id"]), f"{path}: {called} has no category_id.")
        else:
            id = id_of(annotation["category_id"])
            unlisted += [] if id in names else [f"category_id {annotation['category_id']!r}"]
            named = {**annotation, "category": names.get(id, f"category {id}"), "called": called}
            annotations.setdefault(id_of(annotation["image_id"]), []).append(named)
    problems = [f"{path}: {len(nowhere)} annotations have no image_id: {_some(nowhere)}"] if nowhere else []
    if strangers:
        problems.append(f"{path}: {len(strangers)} annotations belong to no image of the file: {_some(strangers)}")
    if problems and not annotations and not faults:
        raise SegkitError(f"{'; '.join(problems)}. No other annotation is there.", "Do the ids of its images match?")
    if unlisted:
        problems.append(
            f"{path}: {len(unlisted)} annotations are of a category that the file does not list: {_some(unlisted)}"
        )
    return CocoFile(path, images, names, annotations, faults, tuple(problems))


def id_of(value: Any) -> str:
    """An id as text: 7, 7.0 and "7" are one.

    >>> id_of(7), id_of(7.0), id_of(" 7")
    ('7', '7', '7')
    """
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def draw_annotation(annotation: Annotation, size: Sequence[int], shape: str) -> NDArray[np.bool_]:
    """The pixels (H, W) of one annotation.

    Args:
        annotation: from `read_coco`.
        size: (H, W) of its image.
        shape: bbox, or polygon (outlines and run lengths).

    Raises:
        ValueError: it cannot be drawn; says why, and whether the other shape could.
    """
    draw, other = (_box, "polygon") if shape == "bbox" else (_outline, "bbox")
    try:
        return draw(annotation.get(SHAPES[shape]), size)
    except ValueError as error:
        hint = f"; dataset.mask={other} would use its {SHAPES[other]}" if annotation.get(SHAPES[other]) else ""
        raise ValueError(f"{error}{hint}") from None


def _box(box: Any, size: Sequence[int]) -> NDArray[np.bool_]:
    """Pixels whose centre is in the box [x, y, width, height]."""
    x, y, width, height = _numbers(box, "bbox", 4)
    if width <= 0 or height <= 0:
        raise ValueError(f"its bbox {[x, y, width, height]} has no area")
    _check_inside([x, x + width], [y, y + height], size, "bbox")
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside_rows, inside_columns = (rows >= y) & (rows < y + height), (columns >= x) & (columns < x + width)
    return inside_rows[:, None] & inside_columns


def _outline(outline: Any, size: Sequence[int]) -> NDArray[np.bool_]:
    """Polygons or a run-length code, drawn by COCO's own code."""
    from pycocotools import mask as coco

    height, width = int(size[0]), int(size[1])
    if isinstance(outline, dict):
        code = _run_lengths(outline, (height, width))
    else:
        code = coco.merge(coco.frPyObjects(_polygons(outline, size), height, width))
    try:
        drawn = coco.decode(code).astype(bool)
    except Exception:  # whatever pycocotools makes of a damaged code
        raise ValueError("its run lengths cannot be decoded: they are damaged or cut short") from None
    return np.asarray(drawn)


def _polygons(outline: Any, size: Sequence[int]) -> list[list[float]]:
    if not isinstance(outline, list) or not outline:
        raise ValueError(
            "it has no outline (its segmentation is " + (f"{outline!r})" if outline is not None else "missing)")
        )
    polygons = [_numbers(part, "outline") for part in (outline if isinstance(outline[0], list) else [outline])]
    for points in polygons:
        if len(points) % 2:
            raise ValueError(f"its outline has {len(points)} numbers, an odd count: they are pairs of x and y")
        if len(points) < 6:
            raise ValueError(f"its outline has {len(points) // 2} points; an area has at least three")
        corners = np.array(points, float).reshape(-1, 2)
        if np.linalg.matrix_rank(corners - corners[0]) < 2:
            raise ValueError("the points of its outline lie on one line: they enclose no area")
    xs, ys = ([value for points in polygons for value in points[start::2]] for start in (0, 1))
    _check_inside(xs, ys, size, "outline")
    return polygons


def _run_lengths(outline: Mapping[str, Any], size: tuple[int, int]) -> Any:
    from pycocotools import mask as coco

    counts, stated = outline.get("counts"), outline.get("size")
    if counts is None or stated is None:
        raise ValueError(f"its run lengths have no {'counts' if counts is None else 'size'}")
    if stated != [*size]:
        raise ValueError(f"its run lengths are for the size {stated}, the image's is {[*size]}")
    if isinstance(counts, str):
        return outline
    runs = _numbers(counts, "list of run lengths")
    if min(runs) < 0 or sum(runs) != size[0] * size[1]:
        raise ValueError(f"its run lengths add up to {sum(runs):g} pixels; the image has {size[0] * size[1]}")
    return coco.frPyObjects({"counts": [int(run) for run in runs], "size": [*size]}, *size)


def _numbers(values: Any, what: str, count: int | None = None) -> list[float]:
    if values is None or values == []:
        raise ValueError(f"it has no {what}")
    if not isinstance(values, list):
        raise ValueError(f"its {what} is {str(values)[:40]!r}, not a list of numbers")
    strange = [value for value in values if isinstance(value, bool) or not isinstance(value, (int, float))]
    strange += [value for value in values if isinstance(value, float) and not math.isfinite(value)]
    if strange:
        raise ValueError(f"its {what} holds {strange[0]!r}, which is no number")
    if count is not None and len(values) != count:
        raise ValueError(f"its {what} has {len(values)} numbers; it takes {count}")
    return values


def _check_inside(xs: Sequence[float], ys: Sequence[float], size: Sequence[int], what: str) -> None:
    """Nothing would be drawn of a shape beside the image, or of one in shares of its size."""
    span = f"x {min(xs):g} to {max(xs):g}, y {min(ys):g} to {max(ys):g}"
    if max(xs) <= 0 or max(ys) <= 0 or min(xs) >= size[1] or min(ys) >= size[0]:
        raise ValueError(f"its {what} ({span}) lies outside the image of {size[1]} x {size[0]} pixels")
    if min(xs) >= 0 and min(ys) >= 0 and max(xs) <= 1 and max(ys) <= 1 and min(size) > 1:
        raise ValueError(f"its {what} ({span}) is less than a pixel: are these shares of the image's size?")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(document, dict):
            raise ValueError("it is no object")
        for key in ("images", "annotations", "categories"):
            if not isinstance(document[key], list) or not all(isinstance(entry, dict) for entry in document[key]):
                raise ValueError(f"{key} must be a list of objects")
    except KeyError as error:
        raise SegkitError(f"{path} is not a COCO annotation file: it has no {error}.") from None
    except (OSError, ValueError, TypeError) as error:
        raise SegkitError(f"{path} is not a COCO annotation file: {error}.") from None
    return document


def _with_keys(entry: Mapping[str, Any], keys: Sequence[str], where: str) -> Mapping[str, Any]:
    missing = [key for key in keys if not _has(entry, key)]
    if missing:
        raise SegkitError(f"{where} has no {' and no '.join(missing)}.")
    return entry


def _has(entry: Mapping[str, Any], key: str) -> bool:
    return entry.get(key) is not None


def _some(items: Sequence[str]) -> str:
    different = list(dict.fromkeys(items))
    return ", ".join(different[:5]) + (", ..." if len(different) > 5 else "")
