"""What an evaluation found, and its files: cases.csv, metrics.json, and confusion.json where the table was counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit.config.resolve import Choice
from segkit.evaluation.aggregate import CaseScore, Figure, add, all_figures
from segkit.evaluation.audit import Audit, audit
from segkit.evaluation.breakdown import breakdown
from segkit.evaluation.spread import Spread, spread_of
from segkit.files import write_csv, write_json
from segkit.task import Metric, Task


@dataclass(frozen=True)
class Evaluation:
    """Scores, and what they are of.

    Args:
        scores: of every case.
        failed: cases that could not be read -> reason.
        figures: by aggregation ("per_case", "per_group", "pooled") and name ("dice", "dice/polyp").
        counts: of the metrics, through all cases.
        spread: of the values of the cases, by name.
        inference_ms: milliseconds of an image on average, from its pixels to its probabilities, without reading; NaN where
            nothing was predicted.
        by: figures of parts of the cases, by what they were asked for, part and name.
        audits: of distances that were measured under several definitions.
        about: weights, dataset and subset, as metrics.json says them.
        folder: that holds metrics.json and cases.csv; None where nothing was written.
    """

    scores: tuple[CaseScore, ...]
    failed: Mapping[str, str]
    figures: Mapping[str, Mapping[str, Figure]] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)
    inference_ms: float = math.nan
    by: Mapping[str, Mapping[str, Mapping[str, Figure]]] = field(default_factory=dict)
    audits: Mapping[str, Audit] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """The document of metrics.json: plain values."""
        return {
            **self.about,
            "cases": len(self.scores),
            "groups": len({score.group for score in self.scores}),
            "failed": dict(self.failed),
            "inference_ms": self.inference_ms,
            "figures": {how: _plain(figures) for how, figures in self.figures.items()},
            "by": {key: {part: _plain(own) for part, own in parts.items()} for key, parts in self.by.items()},
            "spread": _plain(self.spread),
            **({"audits": _plain(self.audits)} if self.audits else {}),
            "counts": {
                owner: {key: value.tolist() if hasattr(value, "tolist") else value for key, value in own.items()}
                for owner, own in self.counts.items()
            },
        }


def _plain(figures: Mapping[str, Figure] | Mapping[str, Spread] | Mapping[str, Audit]) -> dict[str, Any]:
    return {key: asdict(figure) for key, figure in figures.items()}


def sum_up(
    evaluation: Evaluation, metrics: Mapping[str, Metric], task: Task, by: Sequence[str] = (), batch: int | None = None
) -> Evaluation:
    """With the figures of its scores.

    Args:
        evaluation: scores, and `about` with the directions of the metrics.
        metrics: that made them.
        task: of the data.
        by: what the cases are parted by, too.
        batch: images or slices of a batch, for the means over batches; None: there are none.
    """
    scores = evaluation.scores
    if not scores:
        return evaluation
    directions = {name: facts["higher_is_better"] for name, facts in evaluation.about["metrics"].items()}
    figures = all_figures(metrics, scores, task, batch)
    return replace(
        evaluation,
        figures=figures,
        audits=audit(scores, figures["per_case"], task.foreground),
        counts=add(score.counts for score in scores),
        spread=spread_of(scores, task, directions),
        by={key: breakdown(scores, key, metrics, task) for key in by},
    )


def facts_of(task: Task, chosen: Sequence[Choice]) -> dict[str, Any]:
    """What metrics.json says of the task and the metrics."""
    classes = {"classes": list(task.classes), "foreground": list(task.foreground)}
    specs = [metric.spec for metric in chosen]
    metrics = {spec.name: {"higher_is_better": spec.higher_is_better, "unit": spec.unit} for spec in specs}
    return {"kind": task.kind, **classes, "metrics": metrics}


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write its files."""
    columns = dict.fromkeys(key for score in evaluation.scores for key in score.values)
    known = dict.fromkeys(f"case.{key}" for score in evaluation.scores for key in score.facts)
    rows: list[dict[str, Any]] = [
        {"case": one.id, "group": one.group, **one.values, **{f"case.{key}": value for key, value in one.facts.items()}}
        for one in evaluation.scores
    ]
    rows += [{"case": case, "error": reason} for case, reason in evaluation.failed.items()]
    write_csv(folder / "cases.csv", ["case", "group", *columns, *known, "error"], rows)
    document = evaluation.to_dict()
    write_json(folder / "metrics.json", document)
    tables = [own["confusion"] for own in document["counts"].values() if "confusion" in own]
    if tables:
        write_json(folder / "confusion.json", {"classes": evaluation.about.get("classes"), "truth by prediction": tables[0]})
