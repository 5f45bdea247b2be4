"""One training per seed or per fold under one folder: each an ordinary run, resumable as a whole, with a summary over them.

FOLDER/seeds.json, folds.json           their numbers, and the settings that all of them share
FOLDER/seed-0/ ... or fold-0/ ...       runs, each tested as `segkit evaluate` does
FOLDER/summary.json, .csv               mean and standard deviation over them, when all is done
FOLDER/test/                            of folds: the figures of all held-out cases together (held_out.py)

Where a training stands is read from its own files, so nothing is lost whenever this is killed:
no state -> training -> over (its state says so) -> tested (test/metrics.json is newer than the state).
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from segkit import distributed
from segkit.config.complete import Config, to_toml
from segkit.errors import SegkitError, UsageError, first_line
from segkit.evaluation.aggregate import usual_aggregation
from segkit.evaluation.evaluate import HowPredicted, evaluate_weights
from segkit.experiments.held_out import pool_folds
from segkit.experiments.summary import NAMES, MemberResult, summary_of, trained_values, with_test, write_summary
from segkit.files import read_toml, write_json
from segkit.models.device import choose_device
from segkit.plugins import Catalogue
from segkit.runs.folder import SERIES, RunFolder, create_run, discard_run, read_split
from segkit.settings import Train
from segkit.task import Dataset
from segkit.training import checkpoint
from segkit.training.early_stopping import is_over
from segkit.training.signals import Terminated, terminable
from segkit.training.train import rebuild, resume, train
from segkit.words import command, counted

logger = logging.getLogger(__name__)


class Remaining(Enum):
    """What is left to do for one training."""

    TRAINING = "all of it"
    REST = "the rest of its training"
    TEST = "its test"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Series:
    """What is to be trained.

    Args:
        folder: of all.
        by: what the trainings differ in: "seed" (train.seed) or "fold" (split.fold).
        numbers: the seeds or folds, in this order.
        settings: that all of them share, as run.toml holds them.
        aggregate: of the test's figures that the summary is of; None: the usual one of the kind of task.
    """

    folder: Path
    by: str
    numbers: tuple[int, ...]
    settings: Mapping[str, Any]
    aggregate: str | None = None

    @property
    def file(self) -> Path:
        return self.folder / SERIES[self.by]

    @property
    def runs(self) -> list[RunFolder]:
        return [self.run(number) for number in self.numbers]

    def run(self, number: int) -> RunFolder:
        return RunFolder(self.folder / f"{self.by}-{number}")


@dataclass(frozen=True)
class Work:
    """A plan, with the configuration, dataset and plugins for all of its trainings."""

    plan: Series
    config: Config
    dataset: Dataset
    catalogue: Catalogue


Ended = tuple[dict[str, Any], int]  # the document of summary.json, and the exit code that a signal calls for, or 0


def train_series(
    config: Config,
    dataset: Dataset,
    catalogue: Catalogue,
    by: str,
    numbers: Sequence[int],
    out: Path | None = None,
    aggregate: str | None = None,
) -> Ended:
    """Train a model for each seed or fold, in a new folder.

    Raises:
        UsageError: settings that nothing can be trained with, or a folder that holds something; then nothing is written.
    """
    distributed.init_process_group(cpu=choose_device(config.train.device).type == "cpu")
    main, names = distributed.is_main(), (config.dataset.spec.name, config.model.spec.name)
    folder = distributed.broadcast_object(create_run(out, *names).path if main else Path())
    plan = Series(folder, by, tuple(numbers), to_toml(config), aggregate)
    _write(plan)
    try:
        return _run(Work(plan, config, dataset, catalogue))
    except BaseException:
        if main and not _begun(plan):
            plan.file.unlink()
            discard_run(RunFolder(folder))
        raise


def read_series(folder: Path) -> Series:
    """The plan of a folder.

    Raises:
        SegkitError: its file is damaged.
    """
    by = next(by for by, name in SERIES.items() if (folder / name).is_file())
    path = folder / SERIES[by]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        numbers = tuple(int(number) for number in document[f"{by}s"])
        return Series(folder, by, numbers, dict(document["settings"]), document.get("aggregate"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SegkitError(f"{path} cannot be read: {error}", "The file is damaged; the runs beside it are not.") from error


def all_begun(plan: Series) -> bool:
    """Whether every training has a state, so that none needs pretrained weights."""
    return all(run.state.is_file() for run in plan.runs)


def resume_series(config: Config, dataset: Dataset, catalogue: Catalogue, plan: Series) -> Ended:
    """Finish a plan: train and test what is not done yet.

    Args:
        config: the plan's, with what may change changed.
        dataset: opened as for the training.
        catalogue: of the plugins.
        plan: from `read_series`.

    Raises:
        UsageError: fewer epochs than one of them has done.
    """
    distributed.init_process_group(cpu=choose_device(config.train.device).type == "cpu")
    _check_epochs(plan, config.train.epochs or 0)
    settings = to_toml(config)
    settings["train"]["pretrained"] = plan.settings["train"]["pretrained"]
    plan = dataclasses.replace(plan, settings=settings)
    _write(plan)
    return _run(Work(plan, config, dataset, catalogue))


def _write(plan: Series) -> None:
    if distributed.is_main():
        document = {f"{plan.by}s": plan.numbers, "settings": plan.settings}
        write_json(plan.file, document | ({"aggregate": plan.aggregate} if plan.aggregate else {}))


def _begun(plan: Series) -> bool:
    return any(run.path.exists() for run in plan.runs)


def _check_epochs(plan: Series, epochs: int) -> None:
    for number in plan.numbers:
        done = _epochs_done(plan.run(number))
        if done > epochs:
            hint = f"Type --epochs {done} or more."
            raise UsageError(f"--epochs {epochs}: {plan.by} {number} has already done {done}.", hint)


def _epochs_done(run: RunFolder) -> int:
    try:
        return len(checkpoint.load(run)["progress"]["history"])
    except SegkitError:  # none yet, or damaged, which is said when its turn comes
        return 0


def _run(work: Work) -> Ended:
    """Train and test what is not done yet, then sum up. One that fails is named, and the others are trained."""
    plan, results, stopped = work.plan, list[MemberResult](), 0
    for name in NAMES if distributed.is_main() else ():  # of an earlier call, and out of date
        (plan.folder / name).unlink(missing_ok=True)
    try:
        with terminable():
            for count, number in enumerate(plan.numbers, 1):
                logger.info(f"\n{plan.by} {number}  ({count} of {len(plan.numbers)})")
                result, stopped = _run_member(work, number)
                if stopped:
                    break
                results.append(result)
    except KeyboardInterrupt as signal:
        stopped = 143 if isinstance(signal, Terminated) else 130
    except BaseException:
        if _begun(plan):
            logger.warning(f"what was trained so far is kept: {command('train', '--resume', plan.folder)}")
        raise
    about = _about(work)
    if stopped or not distributed.is_main():
        return summary_of(results, about), stopped
    document = write_summary(plan.folder, results, about)
    if plan.by == "fold" and not any(result.error for result in results):
        tests = [run.path / "test" for run in plan.runs]
        document["held_out"] = pool_folds(plan.folder, tests, work.config, work.dataset).to_dict()
    return document, stopped


def _run_member(work: Work, number: int) -> tuple[MemberResult, int]:
    """Do what is left for one seed or fold; returns the result, and the exit code if a signal came."""
    run = work.plan.run(number)
    result = MemberResult(number, run.path.name, {})
    try:
        stopped = _train(work, number, run)
        if stopped:
            return result, stopped
        result = dataclasses.replace(result, values=trained_values(checkpoint.load(run)["progress"]))
        return _test(work, run, result), 0
    except UsageError:  # it holds for all of them
        raise
    except Exception as error:
        if distributed.world_size() > 1:
            raise  # other processes wait for this one, and cannot go on without it
        reason = error.message if isinstance(error, SegkitError) else f"{type(error).__name__}: {first_line(error)}"
        logger.error(f"{work.plan.by} {number}: {reason}")
        logger.debug("", exc_info=error)
        return dataclasses.replace(result, error=reason), 0


def _train(work: Work, number: int, run: RunFolder) -> int:
    """Start or continue a training, or leave a finished one alone; returns the exit code if a signal came, else 0."""
    config, settings = work.config, dataclasses.replace(work.config.train, batch_size=_batch_size(work))
    if work.plan.by == "seed":
        settings = dataclasses.replace(settings, seed=number)
    else:
        config = dataclasses.replace(config, split=dataclasses.replace(config.split, fold=number))
    config = dataclasses.replace(config, train=settings)
    if settings.compile:
        torch.compiler.reset()  # it gives up on code that it has compiled for several models
    left = distributed.broadcast_object(_remaining(run, settings) if distributed.is_main() else Remaining.NOTHING)
    if left is Remaining.TRAINING:
        return train(config, work.dataset, run.path).signal
    document = checkpoint.load(run)
    if left is Remaining.REST:
        batch = document["description"].settings["train"]["batch_size"]
        held = dataclasses.replace(settings, pretrained="none", batch_size=batch)  # the state holds all weights
        return resume(dataclasses.replace(config, train=held), work.dataset, run, document).signal
    logger.info("done already" if left is Remaining.NOTHING else "trained already")
    if left is Remaining.TEST:
        rebuild(config, work.dataset, run, document)
    return 0


def _batch_size(work: Work) -> int | None:
    """The batch size of all; with `auto`, the one that the first training found."""
    begun = [run.config for run in work.plan.runs if run.config.is_file()]
    if work.config.train.batch_size is not None or not begun:
        return work.config.train.batch_size
    return int(read_toml(begun[0])["train"]["batch_size"])


def _remaining(run: RunFolder, settings: Train) -> Remaining:
    if not run.state.is_file():
        _clear(run)
        return Remaining.TRAINING
    if not is_over(checkpoint.load(run), settings):
        return Remaining.REST
    return Remaining.NOTHING if _is_tested(run) else Remaining.TEST


def _clear(run: RunFolder) -> None:
    """Remove what a training left behind that was killed before its first save.

    Raises:
        SegkitError: there is more than that.
    """
    if run.path.exists() and not run.weights.exists():
        discard_run(run)
    if run.path.exists():
        raise SegkitError(
            f"{run.path} holds files, but no resume/state.pt to continue from.",
            f"Remove it, then: {command('train', '--resume', run.path.parent)}",
        )


def _test(work: Work, run: RunFolder, result: MemberResult) -> MemberResult:
    """The result with the figures of its test subset, if there is one."""
    if not read_split(run)["test"]:
        return result
    if not distributed.broadcast_object(_is_tested(run)):
        evaluate_weights([run.weights], work.catalogue, how=HowPredicted(device=work.config.train.device))
    distributed.barrier()
    tested = with_test(result, _metrics(run), work.plan.aggregate)
    score = f"test_{work.config.headline}"
    if score in tested.values:
        logger.info(f"tested      {counted(tested.cases, 'case')}: {score.replace('_', ' ')} {tested.values[score]:.3f}")
    return tested


def _is_tested(run: RunFolder) -> bool:
    """Whether its test figures belong to the current state of the training."""
    metrics = _metrics(run)
    return metrics.is_file() and metrics.stat().st_mtime_ns >= run.state.stat().st_mtime_ns


def _metrics(run: RunFolder) -> Path:
    return run.path / "test" / "metrics.json"


def _about(work: Work) -> dict[str, Any]:
    config = work.config
    return {
        "dataset": config.dataset.spec.name,
        "model": config.model.spec.name,
        "kind": config.model.spec.kind,
        "run": str(work.plan.folder),
        "by": work.plan.by,
        "aggregate": work.plan.aggregate or usual_aggregation(config.model.spec.kind),
        f"{work.plan.by}s": work.plan.numbers,
        "split_seed": config.split.seed,
    }
