"""What is written once for all inputs, from the record: classes, measures, polygons. Earlier calls' are included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.data.images import read_mask
from segkit.data.listing import natural_order
from segkit.errors import SegkitError
from segkit.files import write_csv, write_json
from segkit.prediction.coco import coco
from segkit.prediction.jobs import MEASURES, POLYGONS, TABLE
from segkit.task import Task

Entries = Mapping[str, Mapping[str, Any]]
MEASURED = ("file", "class", "count", "unit", "size", "size_unit", "components", "x", "y", "z", "confidence", "error")


def write_classes(out: Path, entries: Entries, task: Task) -> None:
    """predictions.csv: a row per image, or per slice of a volume."""
    columns = ["file", "slice", "class", *(f"probability_{name}" for name in task.classes), "error"]
    rows: list[dict[str, Any]] = []
    for key, entry in _in_order(entries):
        if entry["status"] == "failed":
            rows.append({"file": key, "error": entry["reason"]})
        if entry["status"] != "done" or set(entry.get("probabilities", ())) != set(task.classes):
            continue
        values = np.array([entry["probabilities"][name] for name in task.classes])
        for number, row in enumerate(values.reshape(len(values), -1).T):
            found = {"file": key, "class": task.classes[int(row.argmax())]} | ({"slice": number} if values.ndim > 1 else {})
            rows.append(found | {f"probability_{name}": own for name, own in zip(task.classes, row.tolist(), strict=True)})
    write_csv(out / TABLE, columns, rows)


def write_measures(out: Path, entries: Entries) -> None:
    """measures.csv: a row per input and class; size in mm2 or mm3 where the spacing is known, x, y, z as `measure` says."""
    rows: list[dict[str, Any]] = []
    for key, entry in _in_order(entries):
        if entry["status"] == "failed":
            rows.append({"file": key, "error": entry["reason"]})
        for name, own in entry.get("measures", {}).items() if entry["status"] == "done" else ():
            unit = "voxels" if "voxels" in entry else "pixels"
            size_unit = "" if own["size"] is None else "mm3" if unit == "voxels" else "mm2"
            place = dict(zip("xyz", own["centroid"] or (), strict=False))
            measured = {column: own[column] for column in ("count", "size", "components", "confidence")}
            rows.append({"file": key, "class": name, "unit": unit, "size_unit": size_unit, **measured, **place})
    write_csv(out / MEASURES, MEASURED, rows)


def write_polygons(out: Path, entries: Entries, task: Task) -> int:
    """polygons.json: COCO, of all masks of images that lie in the output folder. Returns how many others there are."""

    def masks() -> Iterator[tuple[str, NDArray[Any]]]:
        for key, entry in _in_order(entries):
            if entry["status"] != "done" or "pixels" not in entry:
                continue
            try:
                labels = read_mask(out / entry["outputs"][0])
            except SegkitError:  # of an earlier call, and gone; or a stack
                continue
            yield key, labels > 0 if task.mode == "binary" else labels

    write_json(out / POLYGONS, coco(masks(), task.classes))
    return sum("voxels" in entry for entry in entries.values() if entry["status"] == "done")


def _in_order(entries: Entries) -> list[tuple[str, Mapping[str, Any]]]:
    return [(key, entries[key]) for key in sorted(entries, key=natural_order)]
