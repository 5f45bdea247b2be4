"""What Müller & Wolf look at before training (section IV.A), by subset side by side: pictures and one HTML page.

Pixel values after normalisation, target sizes, aspect ratios, where targets lie, the balance of the classes, and some cases
with their masks.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from segkit import reporter
from segkit.cpus import usable_cpus
from segkit.errors import SegkitError
from segkit.files import write_text
from segkit.reports.exploration import EDGES, CaseLook, Gathered, look_at
from segkit.reports.exploration_pictures import TITLES, draw_all
from segkit.settings import Preprocess
from segkit.task import Case, Dataset
from segkit.words import counted

EXAMPLES = 4  # cases of a subset that are drawn


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
    draw_all(ordered, dataset.task.classes, EDGES, out)
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
            return case, look_at(dataset, case, settings, drawn=case.id in examples)
        except SegkitError as error:
            return case, error.message

    with ThreadPoolExecutor(usable_cpus()) as pool, reporter.progress("exploring", len(cases)) as bar:
        for found in pool.map(look, cases):
            bar.advance()
            yield found


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
