"""What Müller & Wolf look at before training (section IV.A), by subset side by side: pictures and one HTML page.

Pixel values after normalisation, target sizes, aspect ratios, where targets lie, and the balance of the classes.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import reporter
from segkit.data.preprocess import forward_image, geometry_of
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.files import replacing, write_text
from segkit.settings import Preprocess
from segkit.task import Case, Dataset

BINS = 64  # of the histogram of pixel values
CELLS = 48  # of the map of target centres, along each side
LIMITS = (-4.0, 4.0)  # of pixel values shown; what lies outside is counted at the edges

TITLES = {
    "intensities": "Pixel values after normalisation",
    "sizes": "Target size, share of the image",
    "aspects": "Aspect ratio of targets: second axis over first (width over height) of the bounding box",
    "centres": "Where the targets' centres lie",
    "balance": "Class balance, share of all pixels",
}


@dataclass
class Gathered:
    """What is drawn of one subset."""

    intensities: NDArray[np.float64]
    centres: NDArray[np.float64]
    pixels: NDArray[np.float64]
    sizes: list[float]
    aspects: list[float]
    cases: int = 0


def explore_dataset(dataset: Dataset, out: Path, name: str, intensity: str) -> Path:
    """Read every case and draw; returns the page."""
    subsets: dict[str, Gathered] = {}
    failed = []
    for case, facts in _look_at_all(dataset, intensity):
        if isinstance(facts, str):
            failed.append(f"{case.id}: {facts}")
            continue
        subset = subsets.setdefault(case.subset or "all", _empty(len(dataset.task.classes)))
        _add(subset, facts)
    if not subsets:
        raise SegkitError(f"No case of {name} can be read.", f"'segkit data check {name}' names the reasons.")
    ordered: dict[str, Gathered] = {key: subsets[key] for key in ("all", "train", "val", "test") if key in subsets}
    drawers: dict[str, Callable[[Any, Gathered], None]] = {
        "intensities": _draw_intensities,
        "sizes": lambda axes, subset: _draw_histogram(axes, subset.sizes),
        "aspects": lambda axes, subset: _draw_histogram(axes, subset.aspects),
        "centres": lambda axes, subset: _draw_centres(axes, subset.centres),
        "balance": lambda axes, subset: _draw_balance(axes, subset.pixels, dataset.task.classes),
    }
    for picture, drawer in drawers.items():
        _draw(out / f"{picture}.png", TITLES[picture], ordered, drawer)
    write_text(out / "index.html", _page(name, ordered, (*dataset.problems, *dataset.notes, *failed)))
    return out / "index.html"


def _look_at_all(dataset: Dataset, intensity: str) -> Iterator[tuple[Case, dict[str, Any] | str]]:
    def look(case: Case) -> tuple[Case, dict[str, Any] | str]:
        try:
            return case, _look_at(dataset, case, intensity)
        except SegkitError as error:
            return case, error.message

    with ThreadPoolExecutor(os.cpu_count()) as pool, reporter.progress("exploring", len(dataset.cases)) as bar:
        for found in pool.map(look, dataset.cases):
            bar.advance()
            yield found


def _look_at(dataset: Dataset, case: Case, intensity: str) -> dict[str, Any]:
    sample = read_case(dataset, case)
    assert sample.mask is not None, "read_case saw to it"
    settings = Preprocess("native", None, intensity=intensity)  # type: ignore[arg-type]
    values = forward_image(sample.image, settings, geometry_of(sample.image.shape[1:], settings, dataset.task.dims))
    mask = sample.mask if sample.mask.ndim == dataset.task.dims else sample.mask.argmax(axis=0)
    classes = len(dataset.task.classes)
    facts: dict[str, Any] = {
        "intensities": np.histogram(np.clip(values, *LIMITS), BINS, LIMITS)[0] / values.size,
        "pixels": np.bincount(mask[mask < classes].ravel(), minlength=classes),
        "target": None,
    }
    inside = np.argwhere((mask > 0) & (mask < classes))
    if len(inside):
        low, high = inside.min(axis=0), inside.max(axis=0) + 1
        centre = (inside.mean(axis=0) + 0.5) / mask.shape
        facts["target"] = (len(inside) / mask.size, float((high[1] - low[1]) / (high[0] - low[0])), centre[:2])
    return facts


def _empty(classes: int) -> Gathered:
    return Gathered(np.zeros(BINS), np.zeros((CELLS, CELLS)), np.zeros(classes), [], [])


def _add(subset: Gathered, facts: Mapping[str, Any]) -> None:
    subset.cases += 1
    subset.intensities += facts["intensities"]
    subset.pixels += facts["pixels"]
    if facts["target"] is not None:
        size, aspect, centre = facts["target"]
        subset.sizes.append(size)
        subset.aspects.append(aspect)
        row, column = np.minimum((centre * CELLS).astype(int), CELLS - 1)
        subset.centres[row, column] += 1


def _draw(path: Path, title: str, subsets: Mapping[str, Gathered], drawer: Callable[[Any, Gathered], None]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(subsets), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, subset) in zip(figure.subplots(1, len(subsets), squeeze=False)[0], subsets.items(), strict=True):
        drawer(axes, subset)
        axes.set_title(f"{name} ({subset.cases} cases)")
    figure.suptitle(title)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _draw_intensities(axes: Any, subset: Gathered) -> None:
    edges = np.linspace(*LIMITS, BINS + 1)
    shown = np.nonzero(subset.intensities)[0]
    axes.stairs(subset.intensities / max(1, subset.cases), edges, fill=True)
    axes.set_xlim(edges[shown.min()], edges[shown.max() + 1])
    axes.set_yscale("log")
    axes.set_xlabel("value")
    axes.set_ylabel("share of pixels")


def _draw_histogram(axes: Any, values: Sequence[float]) -> None:
    axes.hist(values, bins=24)
    axes.set_ylabel("cases")


def _draw_centres(axes: Any, centres: NDArray[np.float64]) -> None:
    axes.imshow(centres, cmap="magma", extent=(0, 1, 1, 0))
    axes.set_xlabel("second axis")
    axes.set_ylabel("first axis")


def _draw_balance(axes: Any, pixels: NDArray[np.float64], classes: Sequence[str]) -> None:
    shares = pixels / max(1.0, pixels.sum())
    bars = axes.barh(list(classes), shares)
    axes.bar_label(bars, [f"{100 * share:.2f} %" for share in shares], padding=2)
    axes.set_xlim(0, 1.25)
    axes.invert_yaxis()


def _page(name: str, subsets: Mapping[str, Gathered], notes: Sequence[str]) -> str:
    counts = ", ".join(f"{key}: {subset.cases} cases, {len(subset.sizes)} with a target" for key, subset in subsets.items())
    pictures = "\n".join(
        f'<figure><figcaption>{html.escape(title)}</figcaption><img src="{key}.png" alt="{html.escape(title)}"></figure>'
        for key, title in TITLES.items()
    )
    listed = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(name)}</title>
<style>body {{ font: 16px sans-serif; margin: 2em auto; max-width: 80em }} img {{ max-width: 100% }}</style></head>
<body><h1>{html.escape(name)}</h1><p>{html.escape(counts)}</p><ul>{listed}</ul>
{pictures}
</body></html>
"""
