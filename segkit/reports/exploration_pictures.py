"""The pictures of `segkit data explore`: a panel for each subset, all on the same axes, so that they can be compared."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.files import replacing
from segkit.reports.exploration import Gathered
from segkit.reports.overlay import palette
from segkit.words import counted

PANEL = 4.2, 3.4  # inches
LETTERS = 11  # of a title, in an inch
DOTS = 110  # in an inch
CELLS = 48  # of the map of target centres, along each side
STEPS = 24  # of a histogram
NAME = 26  # letters of a case's name

TITLES = {
    "intensities": "Pixel values after normalisation",
    "sizes": "Target size, share of the image",
    "aspects": "Aspect ratio of targets: second axis over first (width over height) of the bounding box",
    "centres": "Where the targets' centres lie",
    "balance": "Class balance, share of all pixels",
    "examples": "Some cases with their masks",
}

Subsets = Mapping[str, Gathered]
Drawer = Callable[[Any, Gathered], None]


def draw_all(subsets: Subsets, classes: Sequence[str], edges: NDArray[np.float64], out: Path) -> None:
    """Draw the pictures of `TITLES`; `edges` are those of the histogram of pixel values."""
    drawers: dict[str, Drawer] = {
        "intensities": _intensities(subsets, edges),
        "sizes": _histogram({key: [target.size for target in subset.targets] for key, subset in subsets.items()}, subsets),
        "aspects": _histogram({key: [target.aspect for target in part.targets] for key, part in subsets.items()}, subsets),
        "centres": _centres(subsets),
        "balance": _balance(classes),
    }
    for name, drawer in drawers.items():
        _draw(out / f"{name}.png", TITLES[name], subsets, drawer)
    _draw_examples(out / "examples.png", subsets, classes)


def _draw(path: Path, title: str, subsets: Subsets, drawer: Drawer) -> None:
    figure = _figure(PANEL[0] * len(subsets), PANEL[1], title)
    panels = figure.subplots(1, len(subsets), squeeze=False, sharex=True, sharey=True)[0]
    for axes, (name, subset) in zip(panels, subsets.items(), strict=True):
        drawer(axes, subset)
        axes.set_title(f"{name} ({counted(len(subset.looks), 'case')})")
        axes.label_outer()
    _save(figure, path)


def _figure(width: float, height: float, title: str) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(title, int(LETTERS * width)))
    return figure


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DOTS)


def _intensities(subsets: Subsets, edges: NDArray[np.float64]) -> Drawer:
    shown = np.nonzero(np.sum([subset.intensities for subset in subsets.values()], axis=0))[0]

    def draw(axes: Any, subset: Gathered) -> None:
        axes.stairs(subset.intensities, edges, fill=True)
        axes.set_xlim(edges[shown.min()], edges[shown.max() + 1])
        axes.set_yscale("log")
        axes.set_xlabel("value")
        axes.set_ylabel("share of pixels")

    return draw


def _histogram(values: Mapping[str, Sequence[float]], subsets: Subsets) -> Drawer:
    """Shares of the targets, so that a small subset can be compared with a large one; the same bins for all."""
    bins = np.histogram_bin_edges([value for own in values.values() for value in own] or [0.0, 1.0], STEPS)
    own_values = {id(subset): values[key] for key, subset in subsets.items()}

    def draw(axes: Any, subset: Gathered) -> None:
        own = own_values[id(subset)]
        axes.hist(own, bins=bins, weights=np.full(len(own), 1 / max(1, len(own))))
        axes.set_ylabel("share of targets")

    return draw


def _centres(subsets: Subsets) -> Drawer:
    """Shares of the targets, in the same colours for all."""

    def share(subset: Gathered) -> NDArray[np.float64]:
        places = np.array([target.centre for target in subset.targets]).reshape(-1, 2)
        counts = np.histogram2d(places[:, 0], places[:, 1], CELLS, ((0, 1), (0, 1)))[0]
        return np.asarray(counts / max(1, len(places)))

    most = max(float(share(subset).max()) for subset in subsets.values())

    def draw(axes: Any, subset: Gathered) -> None:
        axes.imshow(share(subset), cmap="magma", extent=(0, 1, 1, 0), vmin=0, vmax=most or 1)
        axes.set_xlabel("second axis")
        axes.set_ylabel("first axis")

    return draw


def _balance(classes: Sequence[str]) -> Drawer:
    names = [textwrap.shorten(name, NAME, placeholder="...") for name in classes]

    def draw(axes: Any, subset: Gathered) -> None:
        bars = axes.barh(range(len(names)), subset.balance)
        axes.bar_label(bars, [f"{100 * share:.2f} %" for share in subset.balance], padding=2)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0, 1.35)

    return draw


def _draw_examples(path: Path, subsets: Subsets, classes: Sequence[str]) -> None:
    """A row for each subset, and the colours of the classes below."""
    from matplotlib.patches import Patch

    drawn = {key: [look for look in subset.looks if look.example is not None] for key, subset in subsets.items()}
    across = max(1, *(len(looks) for looks in drawn.values()))
    figure = _figure(2.6 * across, 2.8 * len(drawn) + 0.8, TITLES["examples"])
    rows = figure.subplots(len(drawn), across, squeeze=False)
    for panels, (name, looks) in zip(rows, drawn.items(), strict=True):
        for axes in panels:
            axes.axis("off")
        for axes, look in zip(panels, looks, strict=False):
            axes.imshow(look.example)
            id = look.case.id if len(look.case.id) <= NAME else f"...{look.case.id[3 - NAME :]}"
            axes.set_title(f"{name}: {id}", fontsize=8)
    colours = [(red / 255, green / 255, blue / 255) for red, green, blue in palette(len(classes))[1:]]
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, classes[1:], strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(1, across), fontsize=8)
    _save(figure, path)
