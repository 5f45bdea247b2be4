"""Which cases an evaluation is over: a subset of the run's own split, or of another dataset."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.migrate import migrate_settings
from segkit.config.resolve import Assignments, Choice, gather, resolve_data
from segkit.data.cache import fingerprint
from segkit.data.reading import open_dataset
from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.files import read_toml
from segkit.options import plain
from segkit.plugins import Catalogue
from segkit.runs.folder import RunFolder, find_run, read_split
from segkit.task import Case, Dataset, Task

logger = logging.getLogger(__name__)

SUBSETS = ("train", "val", "test", "all")
SECTIONS = ("dataset", "metrics", "model")  # what may be typed; model: options that may change after training


@dataclass(frozen=True)
class EvaluationData:
    """What to score on.

    Args:
        run: the run that the weights belong to, None for weights that stand alone.
        own_data: it is the data that the run was trained on (by its fingerprint), so the run's split applies.
        dataset_choice: the chosen spec, and its options.
        root: where the data lies.
        dataset: opened.
        fingerprint: of the dataset.
        metrics: the recorded ones and those that were typed.
    """

    run: RunFolder | None
    own_data: bool
    dataset_choice: Choice
    root: Path | None
    dataset: Dataset
    fingerprint: Mapping[str, Any]
    metrics: tuple[Choice, ...]


def open_evaluation_data(
    weights: Path, flags: Mapping[str, Any], assignments: Assignments, catalogue: Catalogue
) -> EvaluationData:
    """The run's own dataset and metrics, changed by what was typed.

    Other data than the run was trained on is opened with what was typed alone: what was inferred or chosen for the run's
    data (mask values, folder names) need not hold for it.

    Raises:
        UsageError: the weights stand alone and no dataset was named.
    """
    folder = find_run(weights)
    settings = read_toml(folder.config) if folder else {}
    own = {section: table for section, table in settings.items() if section in ("dataset", "metrics", "plugins")}
    base = migrate_settings(own, catalogue)
    if not base and not flags.get("dataset"):
        raise UsageError(f"{weights} is not part of a run folder.", "Type --dataset NAME --data-dir DIR --subset all.")
    dataset, root, metrics = _resolve(base, flags, assignments, catalogue)
    recorded = base.get("dataset", {})
    same_name = dataset.name == recorded.get("name")
    same_root = same_name and root is not None and str(root) == str(recorded.get("root"))
    opened = _open(dataset, root, must=same_root or not same_name)
    data = fingerprint(opened) if opened is not None else {}
    matches = folder is not None and bool(data) and data["sha256"] == _trained_on(folder)
    if opened is not None and (matches or same_root or not same_name):
        if same_root and not matches:
            logger.warning(
                "the data has changed since the training (its fingerprint differs); the split is taken by case id."
            )
        return EvaluationData(folder, same_name, dataset, root, opened, data, metrics)
    logger.warning(
        "this is not the data that the run was trained on: its split, and what was inferred from its data, do not apply."
    )
    if root is not None:
        typed = {"dataset": recorded["name"], **{key: value for key, value in flags.items() if value is not None}}
        dataset, root, metrics = _resolve({"metrics": base.get("metrics", {})}, typed, assignments, catalogue)
    opened = open_dataset(dataset, root)
    return EvaluationData(folder, False, dataset, root, opened, fingerprint(opened), metrics)


def _open(dataset: Choice, root: Path | None, must: bool) -> Dataset | None:
    """The dataset; None where it cannot be opened and need not be."""
    try:
        return open_dataset(dataset, root)
    except SegkitError:
        if must:
            raise
        return None


def _resolve(
    base: Mapping[str, Any], flags: Mapping[str, Any], assignments: Assignments, catalogue: Catalogue
) -> tuple[Choice, Path | None, tuple[Choice, ...]]:
    return resolve_data(gather(base, flags, assignments, SECTIONS), catalogue)


def _trained_on(folder: RunFolder) -> str | None:
    """The fingerprint of the run's data."""
    try:
        return str(json.loads(folder.manifest.read_text(encoding="utf-8"))["data"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_task(trained: Task, opened: Task) -> None:
    """Refuse data that the weights cannot be scored on.

    Raises:
        UsageError: naming both sides of the difference.
    """
    for fact in ("kind", "dims", "channels", "mode"):
        ours, theirs = getattr(trained, fact), getattr(opened, fact)
        if ours != theirs:
            raise UsageError(f"The weights were trained on {fact} = {ours}; this dataset has {fact} = {theirs}.")
    if len(trained.classes) != len(opened.classes):
        raise UsageError(
            f"The weights were trained on the classes {', '.join(trained.classes)}; "
            f"this dataset has {', '.join(opened.classes)}."
        )
    if trained.classes != opened.classes:
        logger.warning(f"classes are matched by position: {trained.classes} are scored as {opened.classes}.")


def select(holdout: EvaluationData, subset: str) -> tuple[list[Case], dict[str, Any]]:
    """The cases of a subset, and what metrics.json says about them.

    Raises:
        UsageError: no such subset.
        SegkitError: the subset is empty, or its cases are not on the disk any more.
    """
    if subset not in SUBSETS:
        raise UsageError(f"--subset {subset} is not allowed.", did_you_mean(subset, SUBSETS))
    dataset = holdout.dataset
    about: dict[str, Any] = {
        "dataset": holdout.dataset_choice.spec.name,
        "root": str(holdout.root) if holdout.root else None,
        "options": plain(dataset.options or holdout.dataset_choice.options),
        "data": dict(holdout.fingerprint),
        "subset": subset,
        "holds_training_data": False,
    }
    if subset == "all":
        about["holds_training_data"] = True if holdout.own_data else None  # None: nobody can know
        logger.warning(
            "--subset all includes training data: these figures say nothing about new cases."
            if holdout.own_data
            else "segkit cannot know whether the model was trained on these cases."
        )
        return list(dataset.cases), about
    if holdout.own_data and holdout.run is not None:
        about["holds_training_data"] = subset == "train"
        return _of_the_split(read_split(holdout.run), dataset, subset), about
    cases = [case for case in dataset.cases if case.subset == subset]
    if not cases:
        raise UsageError(f"This dataset has no subset {subset!r}.", "Type --subset all.")
    return cases, about


def _of_the_split(split: Mapping[str, Sequence[str]], dataset: Dataset, subset: str) -> list[Case]:
    wanted = split.get(subset, [])
    if not wanted:
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in split.items())
        raise SegkitError(f"The subset {subset!r} of this run is empty ({sizes}).", "Type --subset all, or train on more.")
    by_id = {case.id: case for case in dataset.cases}
    missing = [id for id in wanted if id not in by_id]
    if missing:
        raise SegkitError(
            f"{len(missing)} of {len(wanted)} cases of {subset!r} are not in the data any more: {', '.join(missing[:5])}.",
            "Point --data-dir at the data that the run was trained on.",
        )
    return [by_id[id] for id in wanted]
