"""TCGA-LGG (Buda 2019): brain MR slices of 110 patients with lower-grade glioma, FLAIR abnormality masks.

Channels are pre-contrast, FLAIR, post-contrast; a missing sequence is replaced by FLAIR in the files. Slices of one patient
are neighbours, so the patient is the group. The public archive holds everything twice, the second copy one folder deeper.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segkit.api import (
    Case,
    Dataset,
    Sample,
    SegkitError,
    Task,
    list_files,
    list_folders,
    missing_data,
    read_image,
    write_image,
)
from segkit_datasets.phantom import draw
from segkit_datasets.plugin import LggOptions, PhantomOptions
from segkit_datasets.reading import left_out, read_binary

FOLDER = re.compile(r"(TCGA_[A-Z0-9]{2}_[A-Z0-9]{4})_\d{8}")
DEEPEST = 3  # folders below DATA_DIR in which the patients are looked for


def open_lgg(root: Path, options: LggOptions, labelled: bool = True) -> Dataset:
    """Open the patients' folders, TCGA_*/TCGA_*_N.tif and _mask.tif.

    Raises:
        UsageError: there are none.
        SegkitError: data.csv is damaged.
    """
    folders = _find_patients(root)
    facts = _read_facts(folders[0].parent / "data.csv")
    cases, unmasked = [], list[str]()
    for folder in folders:
        for image in list_files(folder, (".tif",)):
            if image.stem.endswith("_mask"):
                continue
            mask = image.with_name(f"{image.stem}_mask.tif")
            unmasked += [] if mask.exists() else [image.stem]
            if mask.exists() or not labelled:
                cases.append(_case(image, mask if mask.exists() and labelled else None, facts))
    if options.only_tumour and labelled:
        cases = [case for case in cases if _has_tumour(case)]
    if not cases:
        raise missing_data("A slice with its mask", root, ["TCGA_*/TCGA_*_N.tif", "_mask.tif"])
    task = Task(3, ("background", "tumour"), channel_names=("pre-contrast", "FLAIR", "post-contrast"))
    notes = left_out("slice(s) without a mask", unmasked) if labelled else ()
    return Dataset(task, tuple(cases), _read, options, notes)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write made-up slices in this layout: four to a patient, the first of each without tumour."""
    options = PhantomOptions(cases=cases, seed=seed)
    for number in range(cases):
        patient, slice_number = divmod(number, 4)
        name = f"TCGA_ZZ_{patient:04d}_20000101"
        image, mask = draw(number, options)
        values = (mask * 255 * (slice_number > 0)).astype(np.uint8)
        file = out / "kaggle_3m" / name / f"{name}_{slice_number + 1}.tif"
        write_image(file, np.moveaxis(image, 0, -1))
        write_image(file.with_name(f"{file.stem}_mask.tif"), values)
    patients = range(-(-cases // 4))
    rows = "".join(f"TCGA_ZZ_{patient:04d},{patient % 2 + 1}\n" for patient in patients)
    (out / "kaggle_3m" / "data.csv").write_text("Patient,neoplasm_histologic_grade\n" + rows)


def _find_patients(root: Path) -> list[Path]:
    """The patients' folders of the shallowest copy."""
    level = [root]
    for _ in range(DEEPEST + 1):
        for folder in level:
            found = [path for path in list_folders(folder) if FOLDER.fullmatch(path.name)]
            if found:
                return found
        level = [path for folder in level for path in list_folders(folder)]
    raise missing_data("TCGA-LGG", root, ["TCGA_*/", "kaggle_3m/TCGA_*/"])


def _read_facts(path: Path) -> dict[str, dict[str, str]]:
    """Rows of data.csv by patient; its keys lack the date, some copies are separated by semicolons."""
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SegkitError(f"{path} is not text: {error}.") from None
    delimiter = ";" if text.partition("\n")[0].count(";") else ","
    rows = csv.DictReader(text.splitlines(), delimiter=delimiter)
    return {
        row["Patient"]: {key: value for key, value in row.items() if key != "Patient" and value}
        for row in rows
        if row.get("Patient")
    }


def _case(image: Path, mask: Path | None, facts: Mapping[str, Mapping[str, Any]]) -> Case:
    match = FOLDER.fullmatch(image.parent.name)
    assert match is not None, "_find_patients saw to it"
    patient = match.group(1)
    files = {"image": image} | ({"mask": mask} if mask else {})
    return Case(image.stem, patient, files=files, metadata=dict(facts.get(patient, {})))


def _has_tumour(case: Case) -> bool:
    """A mask that cannot be read stays, so that it is named where it is used."""
    try:
        return bool(read_binary(case.files["mask"]).any())
    except SegkitError:
        return True


def _read(case: Case) -> Sample:
    mask = read_binary(case.files["mask"]) if "mask" in case.files else None
    return Sample(read_image(case.files["image"]), mask)
