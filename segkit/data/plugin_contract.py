"""What a dataset plugin must give: a Dataset, its cases, a Sample of each; anything else is refused with what was expected.

Only what every dataset must keep is looked at here; image and mask are checked against the task in `reading.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from segkit.data.split import SUBSETS
from segkit.errors import SegkitError
from segkit.task import Case, Dataset, Sample, Task

A_DATASET = "Its target(root, options, labelled=True) gives segkit.api.Dataset(task, cases, read)."
A_CASE = "A case is segkit.api.Case(id, group, files={'image': Path, 'mask': Path}): id and group are text."
A_SAMPLE = "A dataset's read(case) gives a segkit.api.Sample of NumPy arrays: image (C, *S), mask (*S) or None."
NUMBERS = "buif"  # NumPy's kinds of types that an image may have: truth values, whole numbers, floating point


def checked_dataset(given: Any, name: str) -> Dataset:
    """What the target of a dataset returned, with its cases as a tuple; `name` is for errors.

    Raises:
        SegkitError: it is no Dataset, holds what is no Case, or gives two cases one id.
    """
    if not isinstance(given, Dataset):
        raise SegkitError(f"The dataset {name} returned {type(given).__name__}, not a segkit.api.Dataset.", A_DATASET)
    if not isinstance(given.task, Task):
        raise SegkitError(
            f"The task of the dataset {name} is a {type(given.task).__name__}, not a segkit.api.Task.", A_DATASET
        )
    if not callable(given.read):
        raise SegkitError(f"The read of the dataset {name} is {given.read!r:.80}, not a function.", A_DATASET)
    if not isinstance(given.cases, Iterable):
        raise SegkitError(
            f"The cases of the dataset {name} are given as {type(given.cases).__name__}, not as a tuple.", A_CASE
        )
    try:
        dataset = replace(given, cases=tuple(given.cases))  # a generator can be gone through only once
    except Exception as error:
        raise SegkitError(f"The dataset {name} failed while listing: {type(error).__name__}: {error}", A_CASE) from error
    for case in dataset.cases:
        if words := _wrong_with(case):
            raise SegkitError(f"The dataset {name} listed {words}.", A_CASE)
    twice = [id for id, count in Counter(case.id for case in dataset.cases).items() if count > 1]
    if twice:
        raise SegkitError(f"The dataset {name} returned {len(twice)} case ids twice: {', '.join(twice[:5])}.")
    return dataset


def _wrong_with(case: Any) -> str:
    """What keeps a listed thing from being a case, in words; empty where nothing does."""
    if not isinstance(case, Case):
        return f"{case!r:.80}, which is a {type(case).__name__}, not a Case"
    for fact in ("id", "group"):
        value = getattr(case, fact)
        if not (isinstance(value, str) and value):
            return f"the case {case.id!r}, whose {fact} is {value!r:.80}, not text"
    if case.subset not in (None, *SUBSETS):
        return f"the case {case.id!r}, whose subset is {case.subset!r:.80}; known are {', '.join(SUBSETS)} and None"
    if not isinstance(case.files, Mapping):
        return f"the case {case.id!r}, whose files are a {type(case.files).__name__}, not a dictionary by role"
    strange = [(role, path) for role, path in case.files.items() if not isinstance(path, Path)]
    if strange:
        role, path = strange[0]
        return f"the case {case.id!r}, whose file {role!r} is {path!r:.80}, not a pathlib.Path"
    return ""


def checked_sample(given: Any, where: str) -> Sample:
    """What `read` returned for a case; `where` names that case.

    Raises:
        SegkitError: it is no Sample of finite numbers, or its spacing is none.
    """
    if not isinstance(given, Sample):
        raise SegkitError(f"{where}: the dataset gave a {type(given).__name__}, not a Sample.", A_SAMPLE)
    for role, array in (("image", given.image), ("mask", given.mask)):
        if array is None and role == "mask":
            continue
        if not isinstance(array, np.ndarray):
            raise SegkitError(f"{where}: its {role} is a {type(array).__name__}, not a NumPy array.", A_SAMPLE)
        if array.dtype.kind not in NUMBERS:
            raise SegkitError(f"{where}: its {role} is of type {array.dtype}, not of real numbers.", A_SAMPLE)
    if not given.image.size:
        raise SegkitError(f"{where}: its image of shape {given.image.shape} holds no pixels.", A_SAMPLE)
    if given.image.dtype.kind == "f" and not np.isfinite(given.image).all():
        raise SegkitError(f"{where}: its image holds values that are not finite numbers (NaN or infinite).")
    axes = given.image.ndim - 1
    if given.spacing is not None and not _is_spacing(given.spacing, axes):
        raise SegkitError(
            f"{where}: its spacing is {given.spacing!r:.80}.",
            f"A spacing is mm along each of the {axes} spatial axes, all above 0, or None where it is unknown.",
        )
    return given


def _is_spacing(spacing: Any, axes: int) -> bool:
    try:
        return len(spacing) == axes and all(math.isfinite(mm) and mm > 0 for mm in spacing)
    except TypeError:
        return False
