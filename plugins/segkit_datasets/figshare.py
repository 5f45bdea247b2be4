"""Figshare brain tumours (Cheng 2015): 3,064 contrast-enhanced T1 slices of 233 patients, three tumour types.

The original is one MATLAB v7.3 file per slice (HDF5), in one folder or several. MATLAB stores columns first, so the arrays
come out of HDF5 transposed; the PNG copy was written from them as they came and is transposed too. Both are turned upright
here.
The PNG copy has lost the patients: each of its images is its own group, and the dataset says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
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
    read_image,
)
from segkit_datasets.phantom import draw
from segkit_datasets.plugin import FigshareOptions, PhantomOptions
from segkit_datasets.reading import left_out, read_binary

TYPES = ("meningioma", "glioma", "pituitary")  # labels 1, 2, 3
FOLDS = ("cvind.mat", "cvind5fold.mat")
NO_PATIENTS = (
    "The PNG copy of this dataset has lost the patients (233 for 3,064 images): slices of one patient are on both sides of "
    "the split, and scores look too good. The .mat files know the patients."
)


def open_figshare(root: Path, options: FigshareOptions, labelled: bool = True) -> Dataset:
    """Open N.mat anywhere below root, or else K.png with K_mask.png.

    Raises:
        UsageError: neither is there, or target=type is requested of PNGs, which have lost the type.
        SegkitError: the file of the folds is damaged.
    """
    files = sorted(list_files(root, (".mat",)), key=lambda path: natural_order(path.name))
    slices = [path for path in files if path.stem.isdecimal()]
    if slices:
        folds = _read_folds([path for path in files if path.name in FOLDS])
        cases, notes = _mat_cases(slices, folds, options.fold), tuple[str, ...]()
    else:
        cases, notes = _png_cases(root, labelled)
    if not cases:
        raise missing_data("The Figshare set", root, ["N.mat", "K.png and K_mask.png"])
    if options.target == "type" and not slices:
        raise UsageError("dataset.target = 'type' needs the .mat files: the PNG copy has lost the tumour type.")
    by_type = options.target == "type"
    task = Task(
        options.channels,
        ("background", *TYPES) if by_type else ("background", "tumour"),
        mode="multiclass" if by_type else "binary",
        channel_names=("T1-CE",) if options.channels == 1 else (),
    )

    def read(case: Case) -> Sample:
        image, mask = _read_mat(case) if case.files["image"].suffix == ".mat" else _read_png(case)
        image = np.repeat(image, options.channels, axis=0)
        if mask is None or not labelled:
            return Sample(image)
        label = case.metadata["type"] if by_type else 1
        return Sample(image, mask * np.int32(label))

    return Dataset(task, tuple(cases), read, options, notes)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write made-up slices as .mat files of version 7.3, two to a patient, and their folds."""
    out.mkdir(parents=True, exist_ok=True)
    options = PhantomOptions(cases=cases, seed=seed, colour=False)
    for number in range(cases):
        image, mask = draw(number, options)
        with h5py.File(out / f"{number + 1}.mat", "w", userblock_size=512, track_order=True) as file:
            group = file.create_group("cjdata")
            group["PID"] = np.frombuffer(f"P{number // 2:05d}".encode(), np.uint8).astype(np.uint16)[:, None]
            group["image"] = image[0].T.astype(np.int16) * 8
            group["label"] = np.array([[1 + number // 2 % 3]], np.float64)
            group["tumorMask"] = mask.T.astype(np.uint8)
    with h5py.File(out / "cvind.mat", "w", userblock_size=512) as file:
        file["cvind"] = np.array([[1 + number // 2 % 5 for number in range(cases)]], np.float64)


def _mat_cases(files: Sequence[Path], folds: NDArray[Any] | None, fold: int | None) -> list[Case]:
    cases = []
    for path in files:
        number = int(path.stem)
        subset = None
        if fold is not None:
            if folds is None or number > len(folds):
                raise UsageError(f"dataset.fold = {fold} needs cvind.mat beside the .mat files.", "Leave dataset.fold out.")
            subset = "test" if folds[number - 1] == fold else "train"
        try:
            patient, label = _read_facts(path)
        except SegkitError as error:
            cases.append(Case(path.stem, path.stem, subset, problem=error.message))
            continue
        cases.append(Case(path.stem, patient, subset, TYPES[label - 1], {"image": path}, metadata={"type": label}))
    return cases


def _png_cases(root: Path, labelled: bool) -> tuple[list[Case], tuple[str, ...]]:
    """K.png with K_mask.png beside it, and notes; K is the .mat file's number less one."""
    images = [path for path in list_files(root, (".png",)) if path.stem.isdecimal()]
    cases, unmasked = [], list[str]()
    for image in sorted(images, key=lambda path: natural_order(path.name)):
        mask = image.with_name(f"{image.stem}_mask.png")
        if mask.exists() or not labelled:
            files = {"image": image} | ({"mask": mask} if mask.exists() and labelled else {})
            cases.append(Case(image.stem, f"image-{image.stem}", files=files))
        else:
            unmasked.append(image.name)
    return cases, (NO_PATIENTS, *left_out("image(s) without a mask", unmasked))


def _read_folds(files: Sequence[Path]) -> NDArray[Any] | None:
    """Fold (1 to 5) of slice N at N - 1."""
    if not files:
        return None
    with _open_mat(files[0]) as file:
        return np.asarray(file["cvind"]).ravel().astype(int)


def _read_facts(path: Path) -> tuple[str, int]:
    """Patient and label (1 to 3)."""
    with _open_mat(path) as file:
        data = _data(file, path, ("PID", "label"))
        patient = "".join(chr(code) for code in np.asarray(data["PID"]).ravel())
        label = int(np.asarray(data["label"]).ravel()[0])
    if label not in (1, 2, 3):
        raise SegkitError(f"{path}: label {label} is none of 1, 2, 3 ({', '.join(TYPES)}).")
    return patient, label


def _read_mat(case: Case) -> tuple[NDArray[Any], NDArray[np.int32]]:
    path = case.files["image"]
    with _open_mat(path) as file:
        data = _data(file, path, ("image", "tumorMask"))
        image, mask = np.asarray(data["image"]).T, np.asarray(data["tumorMask"]).T
    return np.ascontiguousarray(image)[None], (np.ascontiguousarray(mask) > 0).astype(np.int32)


def _read_png(case: Case) -> tuple[NDArray[Any], NDArray[np.int32] | None]:
    image = read_image(case.files["image"])[:1]  # gray, stored as RGBA
    mask = read_binary(case.files["mask"]).T if "mask" in case.files else None
    return np.ascontiguousarray(image.transpose(0, 2, 1)), None if mask is None else np.ascontiguousarray(mask)


def _open_mat(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError:
        with path.open("rb") as file:
            start = file.read(20)
        if start.startswith(b"MATLAB 5.0"):
            words = "it is of version 5; this dataset's are of version 7.3 (HDF5)"
            raise SegkitError(f"{path} cannot be read: {words}.", "In MATLAB: save(..., '-v7.3').") from None
        raise SegkitError(f"{path} cannot be read: it is not an HDF5 file, or cut short.") from None


def _data(file: h5py.File, path: Path, names: Iterable[str]) -> Any:
    if "cjdata" not in file:
        raise SegkitError(f"{path} holds no 'cjdata'; it holds {', '.join(file) or 'nothing'}.")
    missing = [name for name in names if name not in file["cjdata"]]
    if missing:
        raise SegkitError(f"{path}: cjdata holds no {' and no '.join(missing)}.")
    return file["cjdata"]
