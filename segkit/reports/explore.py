"""What Müller & Wolf look at before training (section IV.A), by subset side by side: pictures and one HTML page.

Pixel values after normalisation, target sizes, aspect ratios, where targets lie, the balance of the classes, and some cases
with their masks. A target is a connected part of one class: a lesion, or a filled box.
"""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit import reporter
from segkit.data.preprocess import forward_image, geometry_of, normalisation_of, slice_axis_of
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.files import write_text
from segkit.reports.exploration_pictures import TITLES, draw_all
from segkit.reports.overlay import overlay
from segkit.settings import Preprocess
from segkit.task import Case, Dataset, Sample
from segkit.words import counted

BINS = 64  # of the histogram of pixel values
LIMITS = (-4.0, 4.0)  # of pixel values shown; what lies outside is counted at the edges
EXAMPLES = 4  # cases of a subset that are drawn
DRAWN = 256  # pixels along their longer side, at least about


@dataclass(frozen=True)
class Target:
    """A connected part of one class: its share of the image, the aspect of its bounding box (second axis over first), and
    its centre as shares of the first two axes."""

    size: float
    aspect: float
    centre: tuple[float, float]


@dataclass(frozen=True)
class CaseLook:
    """What is drawn of one case: shares of pixel values and of classes, targets, and the case itself if it is an example."""

    case: Case
    intensities: NDArray[np.float64]
    pixels: NDArray[np.float64]
    targets: tuple[Target, ...]
    example: NDArray[np.uint8] | None


@dataclass
class Gathered:
    """What is drawn of one subset."""

    looks: list[CaseLook] = field(default_factory=list)

    @property
    def targets(self) -> list[Target]:
        return [target for look in self.looks for target in look.targets]

    @property
    def intensities(self) -> NDArray[np.float64]:
        return np.asarray(np.mean([look.intensities for look in self.looks], axis=0))

    @property
    def balance(self) -> NDArray[np.float64]:
        total = np.sum([look.pixels for look in self.looks], axis=0)
        return np.asarray(total / max(1.0, total.sum()))


def explore_dataset(
    dataset: Dataset, out: Path, name: str, settings: Preprocess, split: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """Read every case and draw.

    Args:
        dataset: opened.
        out: folder for the pictures.
        name: of the dataset or run, for the page.
        settings: how values are normalised; images keep their size.
        split: ids by subset, of a run; None: the dataset's own subsets.

    Returns:
        The page.

    Raises:
        SegkitError: no case can be read.
    """
    subset_of = {case.id: case.subset or "all" for case in dataset.cases}
    if split is not None:
        subset_of = {id: subset for subset, ids in split.items() for id in ids}
    cases = [case for case in dataset.cases if case.id in subset_of]
    examples = _examples(cases, subset_of)
    subsets: dict[str, Gathered] = {}
    left_out = len(dataset.cases) - len(cases)
    failed = [f"{counted(left_out, 'case')} in no subset of the split"] if left_out else []
    for case, found in _look_at_all(dataset, cases, settings, examples):
        if isinstance(found, str):
            failed.append(f"{case.id}: {found}")
        else:
            subsets.setdefault(subset_of[case.id], Gathered()).looks.append(found)
    if not subsets:
        raise SegkitError(f"No case of {name} can be read.", "'segkit data check' names the reasons.")
    ordered: dict[str, Gathered] = {key: subsets[key] for key in ("all", "train", "val", "test") if key in subsets}
    draw_all(ordered, dataset.task.classes, np.linspace(*LIMITS, BINS + 1), out)
    write_text(out / "index.html", _page(name, ordered, (*dataset.problems, *dataset.notes, *failed)))
    return out / "index.html"


def _examples(cases: Sequence[Case], subset_of: Mapping[str, str]) -> set[str]:
    """Ids of the cases that are drawn, evenly spaced over each subset."""
    by_subset: dict[str, list[str]] = {}
    for case in cases:
        by_subset.setdefault(subset_of[case.id], []).append(case.id)
    return {ids[place] for ids in by_subset.values() for place in np.linspace(0, len(ids) - 1, EXAMPLES).round().astype(int)}


def _look_at_all(
    dataset: Dataset, cases: Sequence[Case], settings: Preprocess, examples: set[str]
) -> Iterator[tuple[Case, CaseLook | str]]:
    def look(case: Case) -> tuple[Case, CaseLook | str]:
        try:
            return case, _look_at(dataset, case, settings, drawn=case.id in examples)
        except SegkitError as error:
            return case, error.message

    with ThreadPoolExecutor(os.cpu_count()) as pool, reporter.progress("exploring", len(cases)) as bar:
        for found in pool.map(look, cases):
            bar.advance()
            yield found


def _look_at(dataset: Dataset, case: Case, settings: Preprocess, drawn: bool) -> CaseLook:
    sample, task = read_case(dataset, case), dataset.task
    assert sample.mask is not None, "read_case saw to it"
    settings = replace(settings, fit="native", size=None, spacing=None)
    intensity = normalisation_of(sample.image, settings, sample.spacing)
    values = forward_image(sample.image, settings, geometry_of(sample.image.shape[1:], settings, task.dims), intensity)
    if task.mode == "multilabel":
        layers = [layer > 0 for layer in sample.mask]
    else:
        layers = [sample.mask == label for label in range(1, len(task.classes))]
    background = (sample.mask == 0).all(axis=0) if task.mode == "multilabel" else sample.mask == 0
    return CaseLook(
        case,
        np.histogram(np.clip(values, *LIMITS), BINS, LIMITS)[0] / values.size,
        np.array([background.sum(), *(layer.sum() for layer in layers)], float),
        tuple(target for layer in layers for target in _targets(layer)),
        _drawn(sample, layers, task.classes) if drawn else None,
    )


def _targets(layer: NDArray[Any]) -> Iterator[Target]:
    """The connected parts of (*S) booleans."""
    labels, count = ndimage.label(layer, np.ones((3,) * layer.ndim))
    numbers = range(1, count + 1)
    centres, sizes = ndimage.center_of_mass(layer, labels, numbers), np.bincount(labels.ravel(), minlength=count + 1)
    for number, box, centre in zip(numbers, ndimage.find_objects(labels), centres, strict=True):
        height, width = (side.stop - side.start for side in box[:2])
        row, column = ((centre[axis] + 0.5) / layer.shape[axis] for axis in (0, 1))
        yield Target(float(sizes[number] / layer.size), width / height, (float(row), float(column)))


def _drawn(sample: Sample, layers: Sequence[NDArray[Any]], classes: Sequence[str]) -> NDArray[np.uint8]:
    """A case with its mask; of a volume the slice that holds most of it, as radiologists look at it."""
    image: NDArray[Any] = sample.image
    masks: NDArray[Any] = np.stack(layers).astype(np.uint8)
    if image.ndim == 4:
        axis = slice_axis_of(Preprocess(), image.shape[1:], sample.spacing)
        held = masks.sum(axis=tuple(ax for ax in range(4) if ax != axis + 1))
        number = int(held.argmax()) if held.any() else len(held) // 2
        image, masks = (np.flip(part.take(number, axis + 1).swapaxes(1, 2), (1, 2)) for part in (image, masks))
    larger = max(1, DRAWN // max(image.shape[1:]))  # contours would cover a small one
    image, masks = (part.repeat(larger, axis=1).repeat(larger, axis=2) for part in (image, masks))
    return overlay(image, masks, classes)


def _page(name: str, subsets: Mapping[str, Gathered], notes: Sequence[str]) -> str:
    counts = "; ".join(
        f"{key}: {counted(len(subset.looks), 'case')}, {sum(bool(look.targets) for look in subset.looks)} with a target, "
        f"{counted(len(subset.targets), 'target')}"
        for key, subset in subsets.items()
    )
    pictures = "\n".join(
        f'<figure><figcaption>{html.escape(title)}</figcaption><img src="{key}.png" alt="{html.escape(title)}"></figure>'
        for key, title in TITLES.items()
    )
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title>
<style>body {{ font: 16px sans-serif; margin: 2em auto; max-width: 80em }} img {{ max-width: 100% }}</style></head>
<body><h1>{html.escape(name)}</h1><p>{html.escape(counts)}</p>{f"<ul>{listed}</ul>" if listed else ""}
{pictures}
</body></html>
"""
