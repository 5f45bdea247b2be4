"""Which cases an evaluation is over: a subset of the run's own split, or of another dataset."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.migrate import migrate_settings
from segkit.config.resolve import Assignments, Choice, gather, resolve_data, resolve_loss
from segkit.data.cache import fingerprint
from segkit.data.reading import open_dataset
from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.files import read_toml
from segkit.options import plain
from segkit.plugins import Catalogue
from segkit.runs.folder import RunFolder, read_split
from segkit.runs.reference import is_own, referred_data, referred_folder, run_of, trained_on
from segkit.runs.weights import Header
from segkit.task import Case, Dataset, Task
from segkit.words import counted

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
        trained_on: the fingerprint of the data that the weights were trained on, None where nobody knows.
        loss: of the training, None where there is no run, or its plugin is missing.
        batch: of the training.
    """

    run: RunFolder | None
    own_data: bool
    dataset_choice: Choice
    root: Path | None
    dataset: Dataset
    fingerprint: Mapping[str, Any]
    metrics: tuple[Choice, ...]
    trained_on: str | None = None
    loss: Choice | None = None
    batch: int | None = None


def open_evaluation_data(
    weights: Path,
    header: Header,
    flags: Mapping[str, Any],
    assignments: Assignments,
    catalogue: Catalogue,
    run: Path | None = None,
) -> EvaluationData:
    """The run's own dataset and metrics, changed by what was typed.

    Other data than the run was trained on is opened with what was typed alone: what was inferred or chosen for the run's
    data (mask values, folder names) need not hold for it.

    Args:
        weights, header: the file, and what it says about itself.
        flags, assignments, catalogue: as `gather` takes them.
        run: that the weights were made in; None: that they lie in, or that their header refers to.

    Raises:
        UsageError: nobody knows the run, and no dataset was named.
    """
    folder = run_of(weights, header, run)
    if folder is not None and not is_own(folder, weights):
        logger.info(f"run folder  {folder.path}: its data and split are those of {weights.name}")
    known = trained_on(folder) if folder else referred_data(header)
    settings = read_toml(folder.config) if folder else {}
    own = {section: table for section, table in settings.items() if section in ("dataset", "metrics", "plugins")}
    base = migrate_settings(own, catalogue)
    if not base and not flags.get("dataset"):
        former = referred_folder(weights, header)
        where = f" {former}, which is not there any more" if former else ", which is not known"
        raise UsageError(
            f"The held-out cases of {weights} are in its run{where}.",
            "--run RUN names the run. Or --dataset NAME --data-dir DIR --subset all scores every case of a dataset; if that "
            "is the dataset of the training, most of them are training data.",
        )
    dataset, root, metrics = _resolve(base, flags, assignments, catalogue)
    of_training = {"loss": _loss(settings, catalogue), "batch": settings.get("train", {}).get("batch_size")}
    recorded = base.get("dataset", {})
    same_name = dataset.name == recorded.get("name")
    same_root = same_name and root is not None and str(root) == str(recorded.get("root"))
    opened = _open(dataset, root, must=same_root or not same_name)
    data = fingerprint(opened) if opened is not None else {}
    matches = folder is not None and bool(data) and data["sha256"] == known
    if opened is not None and (matches or same_root or not same_name):
        if same_root and not matches:
            logger.warning(
                "the data has changed since the training (its fingerprint differs); the split is taken by case id."
            )
        return EvaluationData(folder, same_name, dataset, root, opened, data, metrics, known, **of_training)
    logger.warning(
        "this is not the data that the run was trained on: its split, and what was inferred from its data, do not apply."
    )
    if root is not None:
        typed = {"dataset": recorded["name"], **{key: value for key, value in flags.items() if value is not None}}
        dataset, root, metrics = _resolve({"metrics": base.get("metrics", {})}, typed, assignments, catalogue)
    opened = open_dataset(dataset, root)
    return EvaluationData(folder, False, dataset, root, opened, fingerprint(opened), metrics, known, **of_training)


def _loss(settings: Mapping[str, Any], catalogue: Catalogue) -> Choice | None:
    """The loss that a run was trained with."""
    own = {section: table for section, table in settings.items() if section in ("loss", "plugins")}
    try:
        return resolve_loss(migrate_settings(own, catalogue), catalogue)
    except SegkitError as error:
        logger.warning(f"the loss is not scored: {error.message}")
        return None


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


def check_task(trained: Task, opened: Task, cases: Sequence[Case] = ()) -> None:
    """Refuse data that the weights cannot be scored on.

    Args:
        trained: what the weights were trained for.
        opened: what the data is for.
        cases: of the data; the first one is shown.

    Raises:
        UsageError: naming both sides of the difference.
    """
    for fact in ("kind", "dims", "channels", "mode"):
        ours, theirs = getattr(trained, fact), getattr(opened, fact)
        if ours != theirs:
            example = f" (for instance {cases[0].shown})" if cases else ""
            gray = (fact, ours, theirs, opened.dims) == ("channels", 3, 1, 2)
            raise UsageError(
                f"The weights were trained on {fact} = {ours}; this dataset has {fact} = {theirs}{example}.",
                "Of a folder, -o dataset.channels=3 gives gray images as three equal channels." if gray else "",
            )
    if len(trained.classes) != len(opened.classes):
        raise UsageError(
            f"The weights were trained on the classes {', '.join(trained.classes)}; "
            f"this dataset has {', '.join(opened.classes)}."
        )
    if trained.classes != opened.classes:
        logger.warning(f"classes are matched by position: {trained.classes} are scored as {opened.classes}.")


def check_members(others: Sequence[tuple[Path, Header]], holdout: EvaluationData, cases: Sequence[Case]) -> None:
    """Refuse a further member of an ensemble that has seen a case in training: its figures would be flattered.

    Args:
        others: all but the first.
        holdout: what is scored on; of other data than a member's own its split says nothing.
        cases: that are scored.

    Raises:
        UsageError: naming the member and a case.
    """
    for weights, header in others:
        run = run_of(weights, header, None)
        if run is None:
            logger.warning(f"the run of {weights} is not known: it may have been trained on cases that are scored here.")
            continue
        if trained_on(run) != holdout.fingerprint.get("sha256"):
            continue
        seen = {case for subset, ids in read_split(run).items() if subset != "test" for case in ids}
        leaked = [case.id for case in cases if case.id in seen]
        if leaked:
            raise UsageError(
                f"{weights} has seen {counted(len(leaked), 'case')} in its training or validation: {leaked[0]}, ...",
                "Score an ensemble whose members were split alike.",
            )


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
    if holdout.own_data and holdout.run is not None and subset != "all":
        about["holds_training_data"] = subset == "train"
        return _of_the_split(read_split(holdout.run), dataset, subset), about
    same = bool(holdout.trained_on) and holdout.fingerprint.get("sha256") == holdout.trained_on
    if subset == "all":
        about["holds_training_data"] = True if holdout.own_data or same else None  # None: nobody can know
        logger.warning(
            "--subset all includes training data: these figures say nothing about new cases."
            if holdout.own_data or same
            else "segkit cannot know whether the model was trained on these cases."
        )
        return list(dataset.cases), about
    cases = [case for case in dataset.cases if case.subset == subset]
    if not cases:
        raise UsageError(f"This dataset has no subset {subset!r}.", _instead(holdout, same))
    if same or holdout.trained_on is None:
        about["holds_training_data"] = None
        logger.warning(f"the split of the training is not known: cases of the subset {subset!r} may be training data.")
    return cases, about


def _instead(holdout: EvaluationData, same: bool) -> str:
    """What to type where a dataset has no such subset; never a way to training data that is not called so."""
    every = "--subset all scores every case"
    if same:
        every += "; this is the data of the training, so most of them are training data"
    elif holdout.trained_on is None:
        every += "; if the model was trained on this data, most of them are training data"
    held_out = "--run RUN, the run that the weights were made in, gives its held-out cases. "
    return f"{'' if holdout.run else held_out}{every}."


def _of_the_split(split: Mapping[str, Sequence[str]], dataset: Dataset, subset: str) -> list[Case]:
    wanted = split.get(subset, [])
    if not wanted:
        sizes = ", ".join(f"{name} {len(ids)}" for name, ids in split.items())
        raise SegkitError(
            f"The subset {subset!r} of this run is empty ({sizes}).",
            "Train on more cases. --subset all scores every case, training data too.",
        )
    by_id = {case.id: case for case in dataset.cases}
    missing = [id for id in wanted if id not in by_id]
    if missing:
        raise SegkitError(
            f"{len(missing)} of {counted(len(wanted), 'case')} of {subset!r} not in the data any more: "
            f"{', '.join(missing[:5])}.",
            "Point --data-dir at the data that the run was trained on.",
        )
    return [by_id[id] for id in wanted]
