"""The cases of nnU-Net's tree: imagesTr with labelsTr, and, as the official test subset, imagesTs with labelsTs."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segkit.api import Case, is_volume, list_images, natural_order, volume_stem
from segkit_datasets.reading import left_out

CHANNEL = re.compile(r"_(\d{4})$")
FOLDERS = {"train": ("imagesTr", "labelsTr"), "test": ("imagesTs", "labelsTs")}


def find_cases(root: Path, ending: str | None, labelled: bool) -> tuple[list[Case], tuple[str, ...]]:
    """All cases in natural order, and notes of what is left out.

    Args:
        root: of the dataset.
        ending: of its files, where dataset.json states it; others are left out.
        labelled: cases without a label are left out; otherwise labels are.
    """
    found, notes = dict[str, list[Case]](), list[str]()
    for subset, (images, labels) in FOLDERS.items():
        files, unused = _files(root / images, ending)
        notes += left_out(f"file(s) of {images} that are not of the dataset's kind", unused)
        masks = {_stem(path): path for path in _files(root / labels, ending)[0]} if labelled else {}
        by_case = _by_case(files)
        paired = {name: own for name, own in by_case.items() if name in masks or not labelled}
        if labelled:
            notes += left_out(
                f"image(s) of {images} without a label in {labels}", [name for name in by_case if name not in masks]
            )
            notes += left_out(
                f"label(s) of {labels} without an image in {images}", [name for name in masks if name not in by_case]
            )
        found[subset] = [_case(name, own, masks.get(name)) for name, own in paired.items()]
    if not labelled and not any(found.values()):
        found["test"] = [_case(name, own, None) for name, own in _by_case(_files(root, ending)[0]).items()]
    twice = {case.id for case in found["train"]} & {case.id for case in found["test"]}
    found["test"] = [_renamed(case) if case.id in twice else case for case in found["test"]]
    if all(found.values()):
        found = {subset: [dataclasses.replace(case, subset=subset) for case in cases] for subset, cases in found.items()}
    cases = _checked([case for part in found.values() for case in part])
    return sorted(cases, key=lambda case: natural_order(case.id)), tuple(notes)


def images_of(case: Case) -> list[Path]:
    """Its files, one for each channel."""
    return [path for role, path in case.files.items() if role != "mask"]


def _files(folder: Path, ending: str | None) -> tuple[list[Path], list[str]]:
    """Images or volumes directly in a folder, and the names of what is left out; pictures beside volumes are previews."""
    if not folder.is_dir():
        return [], []
    known = list_images(folder)
    files = [path for path in known if path.parent == folder and (not ending or path.name.lower().endswith(ending.lower()))]
    if any(map(is_volume, files)):
        files = [path for path in files if is_volume(path)]
    strange = [path for path in folder.iterdir() if CHANNEL.search(path.name.partition(".")[0]) and path.name[0] != "."]
    unused = {*known, *(path for path in strange if path.suffix not in (".json", ".img"))} - {*files}
    return files, sorted(path.relative_to(folder).as_posix() for path in unused)


def _stem(path: Path) -> str:
    return volume_stem(path) if is_volume(path) else path.stem


def _by_case(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Case name -> its files, one for each channel; without channel numbers each file is a case."""
    cases: dict[str, list[Path]] = {}
    for path in files:
        cases.setdefault(CHANNEL.sub("", _stem(path)), []).append(path)
    return {name: sorted(own) for name, own in cases.items()}


def _case(name: str, images: Sequence[Path], mask: Path | None) -> Case:
    files: Mapping[str, Path] = {f"image-{index}": path for index, path in enumerate(images)}
    return Case(name, name, files={**files, **({"mask": mask} if mask else {})})


def _renamed(case: Case) -> Case:
    return dataclasses.replace(case, id=f"test/{case.id}", group=f"test/{case.group}")


def _checked(cases: Sequence[Case]) -> list[Case]:
    """Cases whose channels are not numbered as those of most are unreadable: one would stand in another's place."""
    numbers = {case.id: _numbers(case) for case in cases}
    usual = Counter(numbers.values()).most_common(1)[0][0] if cases else ()
    problems = {id: f"case {id!r} has the channels {_shown(own)}; most have {_shown(usual)}." for id, own in numbers.items()}
    return [case if numbers[case.id] == usual else dataclasses.replace(case, problem=problems[case.id]) for case in cases]


def _numbers(case: Case) -> tuple[str, ...]:
    found = (CHANNEL.search(_stem(path)) for path in images_of(case))
    return tuple(match.group(1) if match else "" for match in found)


def _shown(numbers: Sequence[str]) -> str:
    return ", ".join(f"_{number}" if number else "without a number" for number in numbers)
