"""The figures of a cross-validation: every case as the fold predicted it that had not seen it, all folds together.

Folds share no group and no batch, so means over cases, groups and batches are those of all of them; what is pooled is
counted through all folds.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.config.complete import Config
from segkit.errors import SegkitError
from segkit.evaluation.aggregate import (
    CaseScore,
    Figure,
    add,
    build_metrics,
    figures_over,
    finish,
    with_background,
    with_means,
)
from segkit.evaluation.evaluate import LOSS
from segkit.evaluation.loss import loss_metric
from segkit.evaluation.result import Evaluation, write_evaluation
from segkit.evaluation.spread import spread_of
from segkit.task import Dataset

TEST = "test"


def pool_folds(folder: Path, folds: Sequence[Path], config: Config, dataset: Dataset) -> Evaluation:
    """Write FOLDER/test/cases.csv and metrics.json, as `segkit evaluate` would of all held-out cases.

    Args:
        folder: of all folds.
        folds: the folders with the figures of each one's test.
        config, dataset: of the trainings.

    Raises:
        SegkitError: a file of a fold cannot be read.
    """
    task = dataset.task.learned_by(config.model.spec.kind)
    documents = [_read(fold) for fold in folds]
    scores = tuple(score for fold in folds for score in _scores(fold))
    failed = {case: reason for document in documents for case, reason in document["failed"].items()}
    metrics = build_metrics(config.metrics, task) | {LOSS: loss_metric(config.loss, task, config.train.batch_size or 1)}
    counts = add(_counts(document) for document in documents)
    pooled = finish(metrics, counts)
    figures = {"per_case": figures_over([score.values for score in scores], task)}
    for how in ("per_group", "per_batch"):
        parts = [document["figures"][how] for document in documents]
        figures[how] = with_means(_over_parts(parts, list(pooled)), task)
    figures["pooled"] = figures_over([pooled], task)
    known = ("kind", "classes", "foreground", "metrics", "dataset", "root", "options", "data", "subset")
    about = {
        "weights": [document["weights"] for document in documents],
        "folds": len(folds),
        **{key: documents[0][key] for key in known},
        "holds_training_data": False,
    }
    directions = {name: own["higher_is_better"] for name, own in about["metrics"].items()}
    spent = [(document["inference_ms"], document["cases"]) for document in documents]
    milliseconds = sum(one * cases for one, cases in spent) / max(1, len(scores))
    figures = {how: with_background(own, task) for how, own in figures.items()}
    spread = spread_of(scores, task, directions)
    evaluation = Evaluation(scores, failed, figures, counts, spread, milliseconds, about=about, folder=folder / TEST)
    write_evaluation(evaluation, folder / TEST)
    return evaluation


def _read(fold: Path) -> dict[str, Any]:
    path = fold / "metrics.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SegkitError(f"{path} cannot be read: {error}") from error
    return document


def _scores(fold: Path) -> list[CaseScore]:
    """The cases of a fold with their values; their counts are not kept one by one."""
    path = fold / "cases.csv"
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.DictReader(lines) if not row.get("error")]
    except (OSError, csv.Error) as error:
        raise SegkitError(f"{path} cannot be read: {error}") from error
    found = []
    for row in rows:
        facts = {key.removeprefix("case."): _fact(cell) for key, cell in row.items() if key.startswith("case.") and cell}
        numbers = {key: cell for key, cell in row.items() if key not in ("case", "group", "error") and "case." not in key}
        values = {key: float(cell) if cell else math.nan for key, cell in numbers.items()}
        found.append(CaseScore(row["case"], row["group"], {}, values, facts))
    return found


def _fact(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def _counts(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        owner: {key: np.asarray(value) if isinstance(value, list) else value for key, value in own.items()}
        for owner, own in document["counts"].items()
    }


def _over_parts(folds: Sequence[Mapping[str, Mapping[str, Any]]], keys: Sequence[str]) -> dict[str, Figure]:
    """The mean over the groups or batches of all folds, from the mean of each."""
    found = {}
    for key in keys:
        parts = [fold[key] for fold in folds if key in fold]
        n = sum(part["n"] for part in parts)
        total = math.fsum(part["mean"] * part["n"] for part in parts if part["n"])
        found[key] = Figure(total / n if n else math.nan, n, sum(part["undefined"] for part in parts))
    return found
