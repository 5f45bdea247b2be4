"""ACDC (Bernard 2018): cardiac MR of 150 patients in five diagnosis groups, at end of diastole (ED) and of systole (ES).

Which frames these are stands in each patient's Info.cfg; they are not always the first and the smallest (patient090 has ED 4
and ES 11). Where a frame's own file is missing it is cut out of the 4D file.
"""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np

from segkit.api import (
    Case,
    Dataset,
    NoOptions,
    Sample,
    SegkitError,
    Task,
    list_folders,
    missing_data,
    read_label_volume,
    read_volume,
)
from segkit_datasets.phantom import draw_volume
from segkit_datasets.plugin import PhantomOptions
from segkit_datasets.reading import left_out

PATIENT = re.compile(r"patient\d{3}")
SUBSETS = {"training": "train", "testing": "test"}
PHASES = ("ED", "ES")
ENDINGS = (".nii.gz", ".nii")


def open_acdc(root: Path, options: NoOptions, labelled: bool = True) -> Dataset:
    """Open training/ and testing/, or the patients' folders at once.

    Raises:
        UsageError: there are none.
    """
    patients = _find_patients(root)
    both = len({path.parent.name for path in patients} & set(SUBSETS)) == 2
    cases, unmasked = [], []
    for patient in patients:
        subset = SUBSETS.get(patient.parent.name) if both else None
        for case in _cases(patient, subset):
            if labelled and case.files and "mask" not in case.files:
                unmasked.append(case.id)
            else:
                cases.append(case)
    if not cases:
        raise missing_data("A frame with its mask", root, ["patientNNN/patientNNN_frameNN.nii.gz", "_gt"])
    task = Task(1, ("background", "RV", "myocardium", "LV"), dims=3, mode="multiclass", channel_names=("cine MR",))
    notes = left_out("frame(s) without a mask", unmasked)

    def read(case: Case) -> Sample:
        return _read(case, labelled)

    return Dataset(task, tuple(cases), read, options, notes)


def synthesize(out: Path, cases: int, seed: int) -> None:
    """Write made-up volumes in this layout, two frames a patient; the last patient is for testing."""
    patients = max(1, cases // 2)
    options = PhantomOptions(dims=3, size=24, classes=3, colour=False, seed=seed)
    for number in range(patients):
        name = f"patient{number + 1:03d}"
        folder = out / ("testing" if number == patients - 1 and patients > 1 else "training") / name
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: 7\nGroup: {('NOR', 'DCM')[number % 2]}\nNbFrame: 12\n")
        for frame in (1, 7):
            image, mask = draw_volume(2 * number + (frame > 1), options)
            affine = np.diag([1.5, 1.5, 5.0, 1.0])
            for array, end in ((image[0].astype(np.int16), ""), (mask.astype(np.uint8), "_gt")):
                file = folder / f"{name}_frame{frame:02d}{end}.nii.gz"
                nib.save(nib.Nifti1Image(array[:, :, ::3], affine), file)


def _find_patients(root: Path) -> list[Path]:
    """The patients' folders in root, its subsets, or one folder deeper; or root itself, if it is one."""
    if PATIENT.fullmatch(root.name):
        return [root]
    level = [root]
    for _ in range(3):
        found = [path for folder in level for path in list_folders(folder) if PATIENT.fullmatch(path.name)]
        if found:
            return found
        level = [path for folder in level for path in list_folders(folder)]
    raise missing_data("ACDC", root, ["training/patientNNN/", "patientNNN/"])


def _cases(patient: Path, subset: str | None) -> list[Case]:
    """Its ED and ES frames; one case that says what is wrong where Info.cfg does not name them."""
    try:
        facts = _read_facts(patient / "Info.cfg")
        frames = {phase: int(facts[phase]) for phase in PHASES}
    except (OSError, KeyError, ValueError) as error:
        problem = f"{patient / 'Info.cfg'} does not name the ED and ES frames: {type(error).__name__} {error}."
        return [Case(patient.name, patient.name, subset, problem=problem)]
    cases = []
    for phase, frame in frames.items():
        image, mask = (_file(patient, f"{patient.name}_frame{frame:02d}{end}") for end in ("", "_gt"))
        image = image or _file(patient, f"{patient.name}_4d")
        files = {role: path for role, path in (("image", image), ("mask", mask)) if path is not None}
        problem = "" if image else f"{patient} holds neither frame {frame:02d} nor a 4D file."
        metadata = {"phase": phase, "frame": frame}
        name = f"{patient.name}_{phase}"
        cases.append(Case(name, patient.name, subset, facts.get("Group"), {} if problem else files, problem, metadata))
    return cases


def _read_facts(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _file(folder: Path, name: str) -> Path | None:
    return next((folder / f"{name}{end}" for end in ENDINGS if (folder / f"{name}{end}").is_file()), None)


def _read(case: Case, labelled: bool) -> Sample:
    path, frame = case.files["image"], case.metadata["frame"]
    volume = read_volume(path)
    image = volume.array
    if path.name.rpartition("_")[2].startswith("4d."):
        if not 1 <= frame <= len(image):
            raise SegkitError(f"{path} has {len(image)} frames; Info.cfg names frame {frame}.")
        image = image[frame - 1 : frame]
    mask = read_label_volume(case.files["mask"])[0] if labelled and "mask" in case.files else None
    return Sample(image, mask, volume.spacing, volume.affine)
