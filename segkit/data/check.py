"""Looking at every case of a dataset before training on it: what there is, and what would make a training fail or lie."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit import reporter
from segkit.config.complete import FLIPS_EXCHANGE
from segkit.cpus import usable_cpus
from segkit.data.reading import read_case
from segkit.data.split import find_leaks
from segkit.data.value_range import FIXED, INSTEAD, ValueRange, misfit_of, range_of
from segkit.errors import SegkitError
from segkit.sides import flips_exchange
from segkit.task import Case, Dataset
from segkit.words import counted

MOSTLY = 0.9  # share of masks that are rectangles from which the target is taken for a box


@dataclass(frozen=True)
class CaseFacts:
    """What one case holds.

    Args:
        case: whose facts these are.
        error: why it cannot be used, empty if it can.
        size: of the image.
        spacing: mm, where the file says so.
        pixels: how many pixels each label has.
        digest: of the image's content, empty for a blank one.
        values: range of the image's values.
        boxes: every target is a filled rectangle; None where there is no target.
    """

    case: Case
    error: str = ""
    size: tuple[int, ...] = ()
    spacing: tuple[float, ...] | None = None
    pixels: Mapping[int, int] = field(default_factory=dict)
    digest: str = ""
    values: ValueRange | None = None
    boxes: bool | None = None


@dataclass(frozen=True)
class Report:
    """What was found.

    Args:
        facts: case by case.
        problems: what makes a training fail or lie; one makes the command exit with 1.
        warnings: what the user should know.
    """

    facts: tuple[CaseFacts, ...]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def check_dataset(dataset: Dataset, intensity: str = "scale255") -> Report:
    """Read every case, several at a time, keeping only its facts; `intensity` is how its images would be normalised."""
    facts = tuple(_look_at_all(dataset))
    good = [fact for fact in facts if not fact.error]
    problems = [*dataset.problems, *(f"{fact.case.id}: {fact.error}" for fact in facts if fact.error)]
    if not dataset.cases:
        problems.append("it holds no cases")
    leaks = find_leaks(dataset.cases, _official(dataset.cases))
    problems += [f"group {group} is in the official subsets {' and '.join(names)}" for group, names in leaks.items()]
    twins, copies = _duplicates(good)
    problems += [f"{' and '.join(ids)} are the same image in different groups" for ids in twins]
    warnings = [*dataset.notes, *(f"{' and '.join(ids)} are the same image in one group" for ids in copies)]
    with_target = [fact for fact in good if fact.boxes is not None]
    boxes = sum(bool(fact.boxes) for fact in with_target)
    if with_target and boxes >= MOSTLY * len(with_target):
        warnings.append(f"{boxes} of {len(with_target)} masks with a target are filled rectangles: the target is a box")
    missing = [name for label, name in enumerate(dataset.task.classes) if not any(fact.pixels.get(label) for fact in good)]
    if good and missing:
        warnings.append(f"no mask holds {', '.join(missing)}")
    warnings += _doubts_of_ranges(good, intensity)
    exchanged = flips_exchange(dataset.task)
    if exchanged:
        warnings.append(f"{FLIPS_EXCHANGE.format(exchanged)}: train with -o augment.flip=0")
    return Report(facts, tuple(problems), tuple(warnings))


def _doubts_of_ranges(facts: Sequence[CaseFacts], intensity: str) -> list[str]:
    """What a scaling by the type of the files would make of images that do not use it."""
    ranges = {fact.case.id: fact.values for fact in facts if fact.values is not None and intensity in FIXED}
    usual = misfit_of(list(ranges.values()))
    if usual is not None:
        return [f"the images' values go {usual.in_words()}: a training takes intensity={INSTEAD} where none is asked for"]
    few = [id for id, values in ranges.items() if not values.fits()]
    shown = ", ".join(few[:5]) + (", ..." if len(few) > 5 else "")
    return [f"{counted(len(few), 'image')} of another range of values than the rest: {shown}"] if few else []


def summarize_check(dataset: Dataset, report: Report) -> dict[str, Any]:
    """Counts, sizes, spacings and class balance, over everything and by official subset."""
    subsets: dict[str, list[CaseFacts]] = {"all": [fact for fact in report.facts if not fact.error]}
    for fact in subsets["all"]:
        if fact.case.subset:
            subsets.setdefault(fact.case.subset, []).append(fact)
    return {
        "cases": len(report.facts),
        "unusable": sum(bool(fact.error) for fact in report.facts),
        "subsets": {name: _summary_of(facts, dataset) for name, facts in subsets.items()},
        "problems": list(report.problems),
        "warnings": list(report.warnings),
    }


def _summary_of(facts: Sequence[CaseFacts], dataset: Dataset) -> dict[str, Any]:
    total: Counter[int] = Counter()
    for fact in facts:
        total.update(fact.pixels)
    known = sum(total[label] for label in range(len(dataset.task.classes)))
    names = dict(enumerate(dataset.task.classes))
    sizes = Counter(" x ".join(map(str, fact.size)) for fact in facts)
    spacings = Counter(" x ".join(f"{mm:.3g}" for mm in fact.spacing) for fact in facts if fact.spacing)
    return {
        "cases": len(facts),
        "groups": len({fact.case.group for fact in facts}),
        "without_target": sum(fact.boxes is None for fact in facts),
        "labels": Counter(fact.case.label for fact in facts if fact.case.label),
        "sizes": dict(sizes.most_common(10)),
        "spacings": dict(spacings.most_common(10)),
        "class_balance": {name: total[label] / known if known else None for label, name in names.items()},
        "cases_with": {name: sum(bool(fact.pixels.get(label)) for fact in facts) for label, name in names.items()},
    }


def _look_at_all(dataset: Dataset) -> Iterator[CaseFacts]:
    with ThreadPoolExecutor(usable_cpus()) as pool, reporter.progress("checking", len(dataset.cases)) as bar:
        for facts in pool.map(lambda case: _look_at(dataset, case), dataset.cases):
            bar.advance()
            yield facts


def _look_at(dataset: Dataset, case: Case) -> CaseFacts:
    try:
        sample = read_case(dataset, case)
        assert sample.mask is not None, "read_case saw to it"
    except SegkitError as error:
        return CaseFacts(case, error=f"{error.message} {error.hint}".rstrip())
    if dataset.task.mode == "multilabel":
        pixels = {index: int(layer.sum()) for index, layer in enumerate(sample.mask, start=1)}
        target = np.asarray(sample.mask.any(axis=0))
    else:
        pixels = {int(label): int(count) for label, count in zip(*np.unique(sample.mask, return_counts=True), strict=True)}
        target = np.asarray((sample.mask > 0) & (sample.mask < len(dataset.task.classes)))
    boxes = _are_boxes(target) if target.any() else None
    return CaseFacts(
        case, "", sample.image.shape[1:], sample.spacing, pixels, _digest(sample.image), range_of(sample.image), boxes
    )


def _digest(image: NDArray[Any]) -> str:
    """Of an image's content; none for a blank one, which counts as no duplicate."""
    if image.min() == image.max():
        return ""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def _are_boxes(target: NDArray[Any]) -> bool:
    """Whether every connected target fills its bounding box, and is larger than a line."""
    labels, _ = ndimage.label(target)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if min(side.stop - side.start for side in box) < 2 or not (labels[box] == number).all():
            return False
    return True


def _official(cases: Sequence[Case]) -> dict[str, list[str]]:
    subsets: dict[str, list[str]] = {}
    for case in cases:
        if case.subset:
            subsets.setdefault(case.subset, []).append(case.id)
    return subsets


def _duplicates(facts: Sequence[CaseFacts]) -> tuple[list[list[str]], list[list[str]]]:
    """Ids of equal images: those of different groups, and those within one."""
    same: dict[str, list[Case]] = {}
    for fact in facts:
        if fact.digest:
            same.setdefault(fact.digest, []).append(fact.case)
    across: list[list[str]] = []
    within: list[list[str]] = []
    for cases in same.values():
        if len(cases) > 1:
            kind = across if len({case.group for case in cases}) > 1 else within
            kind.append([case.id for case in cases])
    return across, within
