"""Score weights on a dataset: a table, cases.csv and metrics.json."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segkit import distributed
from segkit.config.complete import complete_metrics
from segkit.config.resolve import Assignments, gather
from segkit.errors import SegkitError, UsageError
from segkit.evaluation.aggregate import build_metrics
from segkit.evaluation.grid import OWN, check_grid
from segkit.evaluation.loss import loss_metric
from segkit.evaluation.regions import with_regions
from segkit.evaluation.result import Evaluation, facts_of, sum_up, write_evaluation
from segkit.evaluation.scoring import Watch, score_cases
from segkit.evaluation.subset import SECTIONS, EvaluationData, check_members, check_task, open_evaluation_data, select
from segkit.inference.load import load_networks, read_headers
from segkit.inference.network import with_flips
from segkit.inference.postprocess import Postprocess, options_of, read_postprocess
from segkit.plugins import Catalogue
from segkit.runs.reference import is_own
from segkit.settings import Preprocess
from segkit.task import Case, CaseResult, Metric, Sample, Task

logger = logging.getLogger(__name__)

LOSS = "loss"  # its name beside those of the metrics


@dataclass(frozen=True)
class HowPredicted:
    """How the predictions are made that are scored.

    Args:
        tta: mean over all flips.
        thresholds: as typed.
        post: what is done to labels.
        grid: that is scored on: "own", of the truth, or "model".
        batch_size: images, slices or windows at a time; None: chosen by their size.
        device: as --device.
    """

    tta: bool = False
    thresholds: tuple[str, ...] = ()
    post: Postprocess = field(default_factory=Postprocess)
    grid: str = OWN
    batch_size: int | None = None
    device: str = "auto"

    @property
    def plain(self) -> bool:
        """Whether labels are those that the run's own figures are of."""
        return not self.tta and not self.thresholds and self.post == Postprocess() and self.grid == OWN

    def to_dict(self) -> dict[str, Any]:
        """What metrics.json says of it: only what is not the default."""
        grid = self.grid if self.grid != OWN else ""
        named = {"tta": self.tta, "thresholds": list(self.thresholds), "grid": grid}
        return {key: value for key, value in named.items() if value} | dict(options_of(self.post))


Draw = Callable[[Path, str, Sample, CaseResult, Preprocess], None]  # a file of a case, by its id, below a folder


@dataclass(frozen=True)
class PerCase:
    """What is written for each case.

    Args:
        flag: that asked for it.
        folder: beside the figures.
        draw: writes it.
    """

    flag: str
    folder: str
    draw: Draw


def evaluate_weights(
    weights: Sequence[Path],
    catalogue: Catalogue,
    subset: str = "test",
    flags: Mapping[str, Any] | None = None,
    assignments: Assignments = (),
    how: HowPredicted | None = None,
    out: Path | None = None,
    run: Path | None = None,
    per_case: Sequence[PerCase] = (),
    by: Sequence[str] = (),
    regions: Sequence[str] = (),
) -> Evaluation:
    """Score a weights file, or an ensemble of several, on held-out cases and write the result, as `segkit evaluate` does.

    Args:
        weights: of a run, or standing alone, or exported; data and held-out cases are those of the first.
        catalogue: of the plugins.
        subset: train, val, test or all.
        flags, assignments: what was asked for: dataset, data_dir, metrics; settings of dataset, metrics and model.
        how: predictions are made.
        out: where to write; None: into the run, where these are its own weights, cases and options.
        run: that the weights were made in, where they do not lie in it.
        per_case: files of each case, beside the figures; one that fails is logged.
        by: figures of parts of the cases, too: "size", "label", or a name of the cases' metadata.
        regions: unions of classes that are scored as well, NAME=CLASS,CLASS.

    Raises:
        UsageError: data or options that do not fit the weights, or a member of an ensemble that was trained on the cases.
        SegkitError: the subset is empty, or a file cannot be used.
    """
    first, how, headers = weights[0], how or HowPredicted(), read_headers(weights)
    changes = gather({}, {}, assignments, SECTIONS).get("model", {})
    holdout = open_evaluation_data(first, headers[0], flags or {}, assignments, catalogue, run)
    learned = holdout.dataset.task.learned_by(headers[0].task.kind)
    check_task(headers[0].task, learned, holdout.dataset.cases)
    task = with_regions(learned, regions)
    dataset = replace(holdout.dataset, task=task) if regions else holdout.dataset
    post = read_postprocess(how.post, how.thresholds, task)
    chosen = complete_metrics(holdout.metrics, task, catalogue)
    cases, about = select(holdout, subset)
    if not about["holds_training_data"]:
        check_members(list(zip(weights[1:], headers[1:], strict=True)), holdout, cases)
    own_weights = holdout.run is not None and is_own(holdout.run, first) and len(weights) == 1
    # figures of a changed or exported model, or of other labels, are not the run's
    own_place = own_weights and holdout.own_data and not changes and how.plain
    folder = out or (holdout.run.path / subset if holdout.run and own_place else None)
    _check_per_case(per_case, folder, task, how)
    networks = load_networks(weights, how.device, how.batch_size, changes)
    networks = with_flips(networks) if how.tta else networks
    check_grid(how.grid, networks, task.kind)
    loss, metrics = _loss(holdout, learned), build_metrics(chosen, task)
    watch = None if folder is None else _writing(per_case, folder, networks[0].preprocess)
    scored = score_cases(networks, dataset, cases, metrics | loss, post, how.grid, watch)
    described = {"weights": [str(one) for one in weights] if len(weights) > 1 else str(first), "changes": changes}
    facts = facts_of(task, chosen)
    facts["metrics"] |= {name: {"higher_is_better": False, "unit": ""} for name in loss}
    batch = how.batch_size or holdout.batch
    about = {**described, "predicted": how.to_dict(), **facts, "batch": batch, **about}
    evaluation = sum_up(replace(scored, about=about, folder=folder), metrics | loss, task, by, batch)
    if folder and distributed.is_main():
        write_evaluation(evaluation, folder)
    return evaluation


def _loss(holdout: EvaluationData, task: Task) -> dict[str, Metric]:
    """The loss of the training, where it is known and torch is there."""
    if holdout.loss is None or importlib.util.find_spec("torch") is None:
        return {}
    return {LOSS: loss_metric(holdout.loss, task, holdout.batch or 1)}


def _check_per_case(per_case: Sequence[PerCase], folder: Path | None, task: Task, how: HowPredicted) -> None:
    for own in per_case:
        if task.kind == "classification":
            raise UsageError(f"{own.flag} is about masks; this model gives classes.", "Leave it out.")
        if folder is None:
            raise UsageError(
                f"{own.flag}: these are not the run's own cases and options, so there is no place.", "Add --out DIR."
            )
        if how.grid != OWN:
            raise UsageError(f"{own.flag} is about masks on the data's own grid.", "Leave out --grid model.")


def _writing(per_case: Sequence[PerCase], folder: Path, preprocess: Preprocess) -> Watch:
    """Write what is wanted of each case; a file that cannot be made stops nothing."""

    def watch(case: Case, sample: Sample, result: CaseResult) -> None:
        for own in per_case:
            try:
                own.draw(folder / own.folder, case.id, sample, result, preprocess)
            except (SegkitError, OSError) as error:
                logger.error(f"{case.id}: {own.flag}: its file could not be written: {error}")

    return watch
