"""BraTS 2020 (Menze 2015, Bakas 2018): multimodal brain MR of glioma; the file names of 2021 and 2023 are understood too.

Labels: 1 necrotic core, 2 edema, 4 (in 2023: 3) enhancing tumour; here 4 becomes 3. The challenge scores three nested
regions: whole tumour WT, tumour core TC, enhancing tumour ET. The public copy of 2020 ships the mask of case 355 under
another name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from segkit.api import (
    Case,
    Dataset,
    Sample,
    SegkitError,
    Task,
    UsageError,
    list_files,
    missing_data,
    natural_order,
    read_label_volume,
    read_volume,
    volume_stem,
)
from segkit_datasets.phantom import draw_volume
from segkit_datasets.plugin import BratsOptions, PhantomOptions
from segkit_datasets.reading import left_out

ROLES = {"flair": "flair", "t2f": "flair", "t1": "t1", "t1n": "t1", "t1ce": "t1ce", "t1c": "t1ce", "t2": "t2", "t2w": "t2"}
MODALITIES = ("flair", "t1", "t1ce", "t2")
ENDING = re.compile(r"[-_](flair|t2f|t1|t1n|t1ce|t1c|t2|t2w|seg)$", re.I)
ENDINGS = (".nii", ".nii.gz")
PLACEHOLDER = "zeros"
VISIT = re.compile(r"-\d{3}$")  # 2023: BraTS-GLI-00001-000, patient and visit


def open_brats(root: Path, options: BratsOptions, labelled: bool = True) -> Dataset:
    """Open all folders below root that hold the modalities of a case.

    Raises:
        UsageError: there are none, or an option names what does not exist.
    """
    unknown = set(options.modalities) - {*MODALITIES, PLACEHOLDER}
    if unknown or not set(options.modalities) & set(MODALITIES):
        raise UsageError(
            f"dataset.modalities = {','.join(options.modalities)}.", f"Allowed: {', '.join(MODALITIES)}, zeros."
        )
    found = [_case(folder) for folder in _find_folders(root)]
    cases = [case for case in found if "mask" in case.files or not labelled]
    if not cases:
        raise missing_data("A BraTS case", root, ["*/*_flair.nii.gz", "*_seg.nii.gz"])
    task = Task(
        len(options.modalities),
        ("background", "NCR", "edema", "ET"),
        dims=3,
        mode="multiclass",
        channel_names=_unique(options.modalities),
        regions={"WT": ("NCR", "edema", "ET"), "TC": ("NCR", "ET"), "ET": ("ET",)},
    )
    notes = left_out("case(s) without a mask", [case.id for case in found if case not in cases])
    return Dataset(task, tuple(cases), partial(_read, options=options, labelled=labelled), options, notes)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write synthetic cases in this layout, with the labels 1, 2 and 4; one mask is misnamed as in the public copy."""
    options = PhantomOptions(dims=3, size=24, classes=3, colour=True, seed=seed)
    for number in range(cases):
        name = f"BraTS20_Training_{number + 1:03d}"
        folder = out / "MICCAI_BraTS2020_TrainingData" / name
        folder.mkdir(parents=True)
        image, nested = draw_volume(number, options)
        labels = np.array([0, 2, 1, 4], np.uint8)[nested]  # edema outside, then core, then enhancing
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        volumes = dict(zip(MODALITIES, [*image.astype(np.int16), image[0].astype(np.int16) // 2], strict=True))
        for modality, array in volumes.items():
            nib.save(nib.Nifti1Image(array, affine), folder / f"{name}_{modality}.nii.gz")
        mask = "W39_1998.09.19_Segm.nii.gz" if number == cases - 1 else f"{name}_seg.nii.gz"
        nib.save(nib.Nifti1Image(labels, affine), folder / mask)


def _find_folders(root: Path) -> list[Path]:
    """Folders that hold a FLAIR volume, in natural order."""
    files = (path for path in list_files(root, ENDINGS) if _role(path) == "flair")
    return sorted({path.parent for path in files}, key=lambda path: natural_order(str(path)))


def _role(path: Path) -> str | None:
    """Which modality, or "mask", a file is."""
    stem = volume_stem(path)
    match = ENDING.search(stem)
    if match is None:
        return "mask" if stem.lower().endswith("segm") else None
    return ROLES.get(match.group(1).lower(), "mask")


def _case(folder: Path) -> Case:
    files: dict[str, Path] = {}
    for path in sorted(list_files(folder, ENDINGS)):
        role = _role(path) if path.parent == folder else None
        if role is not None:
            files.setdefault(role, path)  # .nii before .nii.gz of the same name: either is whole
    return Case(folder.name, VISIT.sub("", folder.name) if "-" in folder.name else folder.name, files=files)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}-{index}" if list(names).count(name) > 1 else name for index, name in enumerate(names))


def _read(case: Case, options: BratsOptions, labelled: bool) -> Sample:
    missing = [name for name in options.modalities if name != PLACEHOLDER and name not in case.files]
    if missing:
        raise SegkitError(f"case {case.id!r} has no {' and no '.join(missing)} volume; it has {', '.join(case.files)}.")
    volumes = {name: read_volume(case.files[name]) for name in options.modalities if name != PLACEHOLDER}
    first = next(iter(volumes.values()))
    for name, volume in volumes.items():
        if volume.array.shape != first.array.shape or not np.allclose(volume.affine, first.affine, atol=1e-3):
            raise SegkitError(f"case {case.id!r}: {case.files[name]} lies on another grid than {next(iter(volumes))}.")
    empty = np.zeros_like(first.array)
    image = np.concatenate([volumes[name].array if name in volumes else empty for name in options.modalities])
    mask = _labels(case.files["mask"]) if labelled and "mask" in case.files else None
    if options.slices is not None:
        start, count = options.slices
        if count < 1 or start + count > image.shape[-1]:
            raise SegkitError(f"dataset.slices = {start},{count}, but case {case.id!r} has {image.shape[-1]} axial slices.")
        image = image[..., start : start + count]
        mask = None if mask is None else mask[..., start : start + count]
    return Sample(image, mask, first.spacing, first.affine)


def _labels(path: Path) -> NDArray[np.int32]:
    labels, _ = read_label_volume(path)
    strange = set(np.unique(labels).tolist()) - {0, 1, 2, 3, 4}
    if {3, 4} <= set(np.unique(labels).tolist()):
        raise SegkitError(f"{path} holds the labels 3 and 4; one of them means the enhancing tumour, depending on the year.")
    if strange:
        raise SegkitError(f"{path} holds the labels {sorted(strange)}; 0, 1, 2 and 4 (or 3) are expected.")
    return np.where(labels == 4, 3, labels).astype(np.int32)
