"""Training, one loop from top to bottom.

    data      split by group -> cached preprocessing -> seeded batches -> augmentation on the device
    step      learning rate -> forward -> loss -> backward -> optimiser (-> moving average)
    epoch     validation on the network's grid, best weights, schedule, early stopping; then resume/state.pt, and from it
              model.safetensors, history.csv and, at the end, curves.png

`accelerate` carries device and precision. A resumed training does what an uninterrupted one would have done: order and
augmentation follow from the seed, the epoch and the case, all other random numbers from states that are saved.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed

from segkit import distributed, reporter
from segkit.config.complete import Config, to_toml
from segkit.data.cache import fingerprint
from segkit.data.cache_entries import in_use
from segkit.data.split import split_cases
from segkit.errors import SegkitError, UsageError
from segkit.evaluation.aggregate import usual_aggregation
from segkit.files import TEMPORARY, cache_folder
from segkit.models.device import choose_device
from segkit.reports.curves import draw_curves
from segkit.runs.folder import RunDescription, RunFolder, create_run, discard_run, write_description, write_history
from segkit.runs.manifest import build_manifest
from segkit.runs.weights import save_weights
from segkit.task import Dataset, Task
from segkit.training import checkpoint
from segkit.training.batch_norm import refresh_batch_norm
from segkit.training.batch_picture import keep_batch_picture
from segkit.training.best_weights import about_kept, header_of, keep_best, write_files, write_weights
from segkit.training.components import assemble
from segkit.training.early_stopping import reason_to_end, stopping_reason
from segkit.training.epoch import train_epoch
from segkit.training.global_state import preserved_global_state
from segkit.training.loader import dead_worker, loader
from segkit.training.more_time import go_on_for
from segkit.training.progress import EpochSums, TrainingProgress
from segkit.training.running_metrics import RunningCounts
from segkit.training.setup import TrainingData, TrainingSession, build_data, build_session, check_data, notes_of, workers_of
from segkit.training.signals import Stop
from segkit.training.smallest_batch import check_smallest_batch
from segkit.training.status_lines import log_epoch
from segkit.training.time_budget import clock_of
from segkit.training.trackers import tracked
from segkit.training.validation import validate
from segkit.words import command, counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A training that has ended, or was interrupted.

    Args:
        path: its folder.
        epochs: that are done.
        best_epoch, best: of the kept weights, and their validation values.
        headline: the name of the value among these that is shown first.
        stopped: the exit code that a signal calls for; 0 where none came, or when all was done.
        seconds: of all sessions.
        signal: the same, also when all was done.
    """

    path: Path
    epochs: int
    best_epoch: int
    best: Mapping[str, float]
    headline: str
    stopped: int
    seconds: float
    signal: int = 0

    def __fspath__(self) -> str:
        """Its folder, so that a run can be given wherever a path can."""
        return str(self.path)

    @property
    def weights(self) -> Path:
        """The file of the kept weights."""
        return RunFolder(self.path).weights


@preserved_global_state()
def train(config: Config, dataset: Dataset, out: Path | None, began: float | None = None) -> Run:
    """Train as the configuration says and leave everything in a new run folder.

    Args:
        config: complete.
        dataset: opened.
        out: the folder to make; None: the next free one.
        began: since when `train.time` counts, of time.perf_counter; None: from now on.

    Raises:
        UsageError: a device, a split or a folder that cannot be used; then nothing is written.
        SegkitError: data that cannot be read, a loss that is not finite (the last good weights are kept).
    """
    clock = clock_of(config.train.time, began)
    ids = split_cases(dataset.cases, config.split)
    device = _begin(config, dataset.task, len(ids["train"]))
    main = distributed.is_main()
    run = distributed.broadcast_object(
        create_run(out, config.dataset.spec.name, config.model.spec.name) if main else RunFolder(Path())
    )
    progress: TrainingProgress | None = None
    try:
        components = assemble(config, dataset.task, device)
        notes = notes_of(dataset, ids)
        data = build_data(dataset, ids, config, {})
        own = _describe(config, dataset, ids, str(device), notes, data) if main else RunDescription({}, {}, {})
        own = replace(own, manifest={**own.manifest, "parameters": components.parameters})
        description = distributed.broadcast_object(own)
        if main:
            write_description(run, description)
        session = build_session(components, data, run, description, clock)
        progress = TrainingProgress(EpochSums(RunningCounts(components.task)))
        checkpoint.save(run, description, progress, components, session.schedule)
        keep_batch_picture(session)
        return _run(session, progress)
    except BaseException:
        if run.weights.exists():
            logger.warning(f"the best weights so far are kept in {run.path}")
        elif progress is not None and progress.saved:
            logger.warning(f"what was trained so far is kept: {command('train', '--resume', run.path)}")
        elif main:
            discard_run(run)
        raise


@preserved_global_state()
def resume(
    config: Config,
    dataset: Dataset,
    run: RunFolder,
    document: Mapping[str, Any],
    more: str | None = None,
    began: float | None = None,
) -> Run:
    """Go on with a training as its state says; other files of the run are written anew from it.

    Without `more` it does the steps that were planned, however long they take, as an uninterrupted training had done.

    Args:
        config: that of the state, with what may change (epochs, workers, device, ...) changed, and without pretrained
            weights, which are not needed again.
        dataset: opened as for the training.
        run: its folder.
        document: from `checkpoint.load`.
        more: a time to go on for, as `train.time` has it, in which as many steps are done as fit by the run's own record.
        began: since when that counts, of time.perf_counter; None: from now on.

    Raises:
        UsageError: fewer epochs than are done, or nothing left to do.
        SegkitError: the data is not what it was.
    """
    clock, saved = clock_of(more, began), document["description"]
    settings = to_toml(config)
    settings["train"]["pretrained"] = saved.settings["train"]["pretrained"]
    device = _begin(config, dataset.task, len(saved.split["train"]))
    check_data(dataset, saved)
    components = assemble(config, dataset.task, device)
    before = saved.manifest["processes"]
    if before != distributed.world_size():
        logger.warning(
            f"begun with {counted(before, 'process')}, continued with {distributed.world_size()}: dropout draws others."
        )
    data = build_data(dataset, saved.split, config, saved.manifest["unreadable"])
    now = {
        "processes": distributed.world_size(),
        "unreadable": dict(data.unreadable),
        "plugins": config.plugins,
    }
    description = RunDescription(settings, saved.split, {**saved.manifest, **now})
    session = build_session(components, data, run, description, clock)
    progress = checkpoint.restore(document, components, session.schedule)
    if more is not None:
        epochs_typed = config.train.epochs != saved.settings["train"]["epochs"]
        session = go_on_for(session, progress, more, epochs_typed)
    done, wanted = len(progress.history), session.schedule.epochs
    progress.ended = stopping_reason(config.train, done, progress.lowest_epoch, bool(session.cases))
    if wanted < done or (wanted == done and not progress.step) or progress.ended:
        rebuild(config, dataset, run, document)
        distributed.barrier()
        reason, more = progress.ended or f"{counted(done, 'epoch')} done", f"More epochs: --epochs {max(done, wanted) + 50}"
        raise distributed.collective_error(UsageError(f"There is nothing left to train: {reason}.", more))
    if distributed.is_main():
        for leftover in (*run.path.glob(f"{TEMPORARY}*"), *run.state.parent.glob(f"{TEMPORARY}*")):
            leftover.unlink()  # of a save in which it was killed
        write_files(run, session.record, progress, config, components.task)
    logger.info(f"resuming    {run.path} at epoch {progress.epoch}, step {progress.step} of {len(session.order)}")
    return _run(session, progress)


def rebuild(config: Config, dataset: Dataset, run: RunFolder, document: Mapping[str, Any]) -> None:
    """Write the other files of a run anew from its state: a training that was killed at its very end left old ones."""
    if not distributed.is_main():
        return
    task = dataset.task.learned_by(config.model.spec.kind)
    progress = TrainingProgress(EpochSums(RunningCounts(task)), **checkpoint.progress_of(document))
    write_files(run, document["description"], progress, config, task)
    if progress.history:
        draw_curves(progress.history, progress.best_epoch, run.path / "curves.png", usual_aggregation(task.kind))


def _begin(config: Config, data: Task, cases: int) -> torch.device:
    """Device, the other processes, random numbers and kernels."""
    settings = config.train
    device = choose_device(settings.device)
    distributed.init_process_group(cpu=device.type == "cpu")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # accelerate trains on the current one
    check_smallest_batch(config, data, cases, device)
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(settings.deterministic)
    torch.backends.cudnn.benchmark = not settings.deterministic
    set_seed(settings.seed)
    return device


def _describe(
    config: Config, dataset: Dataset, ids: Mapping[str, Sequence[str]], device: str, notes: Sequence[str], data: TrainingData
) -> RunDescription:
    manifest = build_manifest(config.train.seed, fingerprint(dataset), device, notes, config.plugins)
    how = usual_aggregation(dataset.task.learned_by(config.model.spec.kind).kind)
    own = {"processes": distributed.world_size(), "unreadable": dict(data.unreadable), "figures": how}
    own["plan"] = config.plan.to_dict()
    return RunDescription(to_toml(config), {name: list(members) for name, members in ids.items()}, {**manifest, **own})


def _run(session: TrainingSession, progress: TrainingProgress) -> Run:
    """Epochs until one of the reasons to end; the state is saved after each."""
    components, settings = session.components, session.components.config.train
    schedule, began, before = session.schedule, time.perf_counter(), progress.seconds
    main, workers = distributed.is_main(), workers_of(settings, components.device)
    batches = loader(session.items, session.order, workers, pin=components.device.type == "cuda")

    def save() -> None:
        progress.seconds = before + time.perf_counter() - began
        checkpoint.save(session.run, session.record, progress, components, session.schedule)
        progress.saved = True

    with (
        closing(session.items),
        in_use(cache_folder(), session.keys),
        Stop() as stop,
        tracked(components.accelerator, settings.tracker, session.run, session.description.settings) as track,
        reporter.progress("training", schedule.end - (progress.epoch - 1) * schedule.steps - progress.step) as bar,
    ):
        while progress.epoch <= schedule.epochs and not progress.ended:
            try:
                row = train_epoch(session, progress, batches, bar, stop, save)
            except (RuntimeError, SegkitError) as error:  # torch says wherever it stands that a reader has died
                if (found := dead_worker(error, session.items)) is None:
                    raise
                raise found from error
            trained = time.perf_counter()
            if row is not None:
                refresh_batch_norm(session, progress.epoch)
            if row is not None and session.cases:
                components.share_statistics()
                row = distributed.broadcast_object(row | validate(components, session.cases, progress.epoch))
            if row is None or max(distributed.all_gather(stop.code)):
                save()
                break
            improved = keep_best(row, progress, components)
            if session.cases:
                session.schedule.after(components.config.monitored.cost(row))
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, EpochSums(RunningCounts(components.task))
            progress.ended = reason_to_end(session, progress)
            save()
            if main:
                if improved or not session.cases:
                    write_weights(progress, session.run, components.config, components.task)
                write_history(session.run, progress.history)
            track(row)
            log_epoch(progress, components.config, schedule.epochs, improved)
            session.clock.measured = time.perf_counter() - trained
    return _end(session, progress, max(distributed.all_gather(stop.code)))


def _end(session: TrainingSession, progress: TrainingProgress, signal: int) -> Run:
    """Log how a training ended and draw its curves."""
    components, main = session.components, distributed.is_main()
    done = bool(progress.ended) or progress.epoch > session.schedule.epochs
    stopped = 0 if done else signal  # it may come when all is done
    if progress.ended:
        logger.info(f"{progress.ended}: training ends.")
    if done and (words := about_kept(progress, components.config)):
        logger.info(words)
    if progress.history and main:
        how = usual_aggregation(components.task.kind)
        draw_curves(progress.history, progress.best_epoch, session.run.path / "curves.png", how)
    if stopped and not progress.best_epoch:
        if main:
            save_weights(session.run.weights, components.tensors(), header_of(components.config, components.task, {}))
        logger.warning("interrupted in the first epoch: model.safetensors holds weights that are barely trained.")
    distributed.barrier()
    best, headline = progress.best or {}, f"val_{components.config.headline}"
    return Run(
        session.run.path, len(progress.history), progress.best_epoch, best, headline, stopped, progress.seconds, signal
    )
