"""The model card of an exported model (Mitchell 2019): model, data, performance, limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from segkit.evaluation.statistics.bootstrap import interval_of_mean
from segkit.options import in_words
from segkit.runs.weights import Header
from segkit.words import counted

FEW = 50  # cases, below which an interval says little (Jurdi 2023)


def card(
    name: str,
    header: Header,
    config: Mapping[str, Any],
    manifest: Mapping[str, Any],
    split: Mapping[str, Sequence[str]],
    scores: Sequence[Mapping[str, str]],
    runtime: str = "",
) -> str:
    """Markdown.

    Args:
        name: of the exported file.
        header: its header.
        config, manifest, split: of its run; empty where it has none.
        scores: rows of test/cases.csv.
        runtime: what runs the exported file, in words.
    """
    parts = [
        f"# {name}",
        _facts(header),
        "## Data",
        _data(config, manifest, split),
        "## Performance",
        _scores(scores),
        "## The exported file",
        _export(header, runtime),
        "## Intended use",
        f"Research on data like that above: {_input(header)}. It is no medical device.",
        "## Limits",
        _limits(header, scores),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(header: Header) -> str:
    task, seen = header.task, header.preprocess
    outputs = ", ".join(task.classes)
    options = ", ".join(f"{key}={in_words(value)}" for key, value in header.options.items())
    intensity = f"intensity {seen.intensity}" + (f" per {seen.intensity_per}" if seen.intensity_per != "case" else "")
    return "\n".join(
        [
            f"- model: {header.model} of {header.distribution} {header.version} ({options or 'no options'})",
            f"- takes: {_input(header)}",
            f"- gives: {task.kind}, {task.mode}: {outputs}",
            f"- preprocessing: fit {seen.fit}, size {in_words(seen.size)}, spacing {in_words(seen.spacing)}, {intensity}",
            f"- written by segkit {header.segkit}",
        ]
    )


def _input(header: Header) -> str:
    task = header.task
    names = f" ({', '.join(task.channel_names)})" if task.channel_names else ""
    what = "volumes" if task.dims == 3 else "images"
    return f"{what} of {counted(task.channels, 'channel')}{names}" + (
        ", seen slice by slice" if header.dims < task.dims else ""
    )


def _data(config: Mapping[str, Any], manifest: Mapping[str, Any], split: Mapping[str, Sequence[str]]) -> str:
    if not config:
        return "Not known: these weights stand alone, without their run."
    data, how = manifest.get("data", {}), config.get("split", {})
    lines = [
        f"- dataset: {config['dataset']['name']}, {_cases(data)}, fingerprint {data.get('sha256', '?')}",
        "- split: " + ", ".join(f"{name} {len(ids)}" for name, ids in split.items()) + f" cases, by {how.get('by', '?')}",
        f"- trained on {manifest.get('created', '?')}, seed {manifest.get('seed', '?')}, loss {config['loss']['name']}",
        *(f"- {note}" for note in manifest.get("notes", [])),
    ]
    return "\n".join(lines)


def _cases(data: Mapping[str, Any]) -> str:
    return counted(data["cases"], "case") if "cases" in data else "? cases"


def _is_figure(column: str) -> bool:
    """Of cases.csv: not what is known of a case, and no detail."""
    return column not in ("case", "group", "error") and not column.startswith("case.") and column.count("/") < 2


def _scores(scores: Sequence[Mapping[str, str]]) -> str:
    names = [key for key in (scores[0] if scores else {}) if _is_figure(key)]
    rows = []
    for name in names:
        pairs = [(row["group"], float(row[name])) for row in scores if row.get(name)]
        defined = [(group, value) for group, value in pairs if not math.isnan(value)]
        if not defined:
            continue
        mean = sum(value for _, value in defined) / len(defined)
        span = interval_of_mean([value for _, value in defined], [group for group, _ in defined])
        shown = f"{span.low:.3f} to {span.high:.3f}" if span else "one group: none"
        rows.append(f"| {name} | {mean:.3f} | {shown} | {len(defined)} | {len({group for group, _ in defined})} |")
    if not rows:
        return "Not evaluated on held-out cases: `segkit evaluate RUN` does it, and writing the card again shows it."
    head = "| per case | mean | 95 % interval | cases | groups |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n\nHeld-out cases; intervals by bootstrap over groups (patients, sequences)."


def _export(header: Header, runtime: str) -> str:
    export, parity = header.export, header.export["parity"]
    size = " x ".join(map(str, export["size"])) if export["size"] else "any, in multiples of " + in_words(header.stride)
    sizes = " and ".join(" x ".join(map(str, size)) for size in parity["sizes"])
    return (
        f"- {export['format']}, {'16' if export['half'] else '32'} bit, size {size}, any batch\n"
        f"- runs in: {runtime or 'torch.export, torch ' + str(export['torch'])}\n"
        f"- beside the model it was made of: logits differ by at most {parity['difference']:.1e} of the largest, "
        f"Dice of the masks {parity['dice']:.5f} (sizes {sizes}, threshold {parity['threshold']})"
    )


def _limits(header: Header, scores: Sequence[Mapping[str, str]]) -> str:
    limits = ["- Other scanners, hospitals, protocols and patients than those of the data above were not tested."]
    if not scores:
        limits.append("- It was not evaluated, so its quality is not known.")
    elif len(scores) < FEW:
        limits.append(
            f"- {counted(len(scores), 'held-out case')}: few (fewer than {FEW}), so the intervals above say little."
        )
    if header.dims < header.task.dims:
        limits.append("- Slices are segmented one by one, so neighbouring ones may disagree.")
    return "\n".join(limits)
