"""Training, one loop from top to bottom.

    data      split by group -> cached preprocessing -> seeded batches -> augmentation on the device
    step      learning rate -> forward -> loss -> backward -> optimiser (-> moving average)
    epoch     validation on the network's grid, best weights, schedule, early stopping; then resume/state.pt, and from it
              model.safetensors, history.csv and, at the end, curves.png

`accelerate` carries device and precision. A resumed training does what an uninterrupted one would have done: order and
augmentation follow from the seed, the epoch and the case, all other random numbers from states that are saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor

from segkit import run as runs
from segkit import terminal, weights
from segkit.config import Config, to_toml
from segkit.data.augment import augment
from segkit.data.cache import Cached, fill, fingerprint
from segkit.data.loader import Order, TrainingItems, loader
from segkit.data.split import find_leaks, split_cases
from segkit.engine import state as states
from segkit.engine.backends import choose_device
from segkit.engine.optimisers import Schedule
from segkit.engine.parts import Parts, assemble
from segkit.engine.scores import RunningDice, presence_in, say_presence, score_name, validate
from segkit.engine.state import Progress, Sums
from segkit.engine.stop import Stop
from segkit.errors import SegkitError, UsageError
from segkit.report.curves import draw_curves
from segkit.run import RunFolder
from segkit.settings import Train
from segkit.task import Dataset, Task

CHECK = 10  # steps between two looks at the loss: each one waits for the device


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        run: its folder.
        epochs: that are done.
        best_epoch, best: of the kept weights, and their validation values.
        stopped: the exit code that a signal calls for; 0 where none came, or when all was done.
        seconds: of all sessions.
        signal: the same, also when all was done.
    """

    run: Path
    epochs: int
    best_epoch: int
    best: Mapping[str, float]
    stopped: int
    seconds: float
    signal: int = 0


@dataclass(frozen=True)
class Work:
    """A training under way.

    Args:
        parts, schedule: what is trained, and its learning rate.
        run, record: its folder, and what besides the state describes it (config, split, manifest).
        items, order: what is trained on, and in which order.
        cases: validation cases.
    """

    parts: Parts
    schedule: Schedule
    run: RunFolder
    record: Mapping[str, Any]
    items: TrainingItems
    order: Order
    cases: Sequence[Cached]


def train(config: Config, dataset: Dataset, out: Path | None) -> Outcome:
    """Train as the complete record says and leave everything in a new run folder.

    Raises:
        UsageError: a device, a split or a folder that cannot be used; then nothing is written.
        SegkitError: data that cannot be read, a loss that is not finite (the last good weights are kept).
    """
    settings = config.train
    device = choose_device(settings.device)
    ids = split_cases(dataset.cases, config.split)
    set_seed(settings.seed)
    run = runs.create(out, config.dataset.spec.name, config.model.spec.name)
    progress: Progress | None = None
    try:
        parts = assemble(config, dataset.task, device)
        notes = _notes(dataset, ids)
        manifest = runs.manifest(settings.seed, fingerprint(dataset), str(device), notes)
        record = {
            "config": to_toml(config),
            "split": {name: list(members) for name, members in ids.items()},
            "manifest": manifest,
        }
        runs.write_record(run, record)
        work = _prepare(parts, dataset, run, record)
        progress = Progress(Sums(RunningDice(parts.task)))
        states.save(run, record, progress, parts, work.schedule)
        return _run(work, progress)
    except BaseException:
        if run.weights.exists():
            terminal.notice(f"the best weights so far are kept in {run.path}")
        elif progress is not None and progress.saved:
            terminal.notice(f"what was trained so far is kept: segkit train --resume {run.path}")
        else:
            runs.discard(run)
        raise


def resume(config: Config, dataset: Dataset, run: RunFolder, document: Mapping[str, Any]) -> Outcome:
    """Go on with a training as its state says; other files of the run are written anew from it.

    Args:
        config: that of the state, with what may change (epochs, workers, device, ...) changed, and without pretrained
            weights, which are not needed again.
        dataset: opened as for the training.
        run: its folder.
        document: from `state.load`.

    Raises:
        UsageError: fewer epochs than are done, or nothing left to do.
        SegkitError: the data is not what it was.
    """
    record = {**document["record"], "config": to_toml(config)}
    record["config"]["train"]["pretrained"] = document["record"]["config"]["train"]["pretrained"]
    _check_data(dataset, record)
    set_seed(config.train.seed)
    parts = assemble(config, dataset.task, choose_device(config.train.device))
    work = _prepare(parts, dataset, run, record)
    progress = states.restore(document, parts, work.schedule)
    done, wanted = len(progress.history), config.train.epochs
    progress.ended = _reason_to_end(progress, config.train, bool(work.cases), 0.0)
    if wanted < done or (wanted == done and not progress.step) or progress.ended:
        rebuild(config, dataset, run, document)
        reason = progress.ended or f"{done} epochs are done"
        raise UsageError(f"There is nothing left to train: {reason}.", f"More epochs: --epochs {max(done, wanted) + 50}")
    _write_files(run, record, progress, config, parts.task)
    terminal.say(f"resuming    {run.path} at epoch {progress.epoch}, step {progress.step} of {len(work.order)}")
    return _run(work, progress)


def rebuild(config: Config, dataset: Dataset, run: RunFolder, document: Mapping[str, Any]) -> None:
    """Write the other files of a run anew from its state: a training that was killed at its very end left old ones."""
    task = dataset.task.learned_by(config.model.spec.kind)
    progress = Progress(Sums(RunningDice(task)), **document["progress"])
    _write_files(run, document["record"], progress, config, task)
    if progress.history:
        draw_curves(progress.history, progress.best_epoch, run.path / "curves.png")


def _write_files(run: RunFolder, record: Mapping[str, Any], progress: Progress, config: Config, task: Task) -> None:
    runs.write_record(run, record)
    runs.write_history(run, progress.history)
    if progress.kept is not None:
        _write_weights(progress, run, config, task)


def _run(work: Work, progress: Progress) -> Outcome:
    """Epochs until one of the reasons to end; the state is saved after each."""
    settings, began, before = work.parts.config.train, time.perf_counter(), progress.seconds
    epochs = settings.epochs
    batches = loader(work.items, work.order, settings.workers, pin=work.parts.device.type == "cuda")

    def save() -> None:
        progress.seconds = before + time.perf_counter() - began
        states.save(work.run, work.record, progress, work.parts, work.schedule)
        progress.saved = True

    with Stop() as stop, terminal.progress("training", (epochs - progress.epoch + 1) * len(work.order)) as bar:
        while progress.epoch <= epochs and not progress.ended:
            row = _train_epoch(work, progress, batches, bar, stop, save)
            if row is not None and work.cases:
                row |= validate(work.parts, work.cases)
            if row is None or stop.code:
                save()
                break
            improved = _keep_best(row, progress, work.parts)
            if work.cases:
                work.schedule.after(_monitored(row, settings))
            progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, Sums(RunningDice(work.parts.task))
            progress.ended = _reason_to_end(progress, settings, bool(work.cases), time.perf_counter() - began)
            save()
            if progress.best_epoch == len(progress.history):
                _write_weights(progress, work.run, work.parts.config, work.parts.task)
            runs.write_history(work.run, progress.history)
            terminal.say(_epoch_line(row, epochs, improved))
    stopped = 0 if progress.ended or progress.epoch > epochs else stop.code  # a signal may come when all is done
    if progress.ended:
        terminal.say(f"{progress.ended}: training ends.")
    if progress.history:
        draw_curves(progress.history, progress.best_epoch, work.run.path / "curves.png")
    if stopped and progress.kept is None:
        weights.save(work.run.weights, work.parts.tensors(), _header(work.parts.config, work.parts.task, {}))
        terminal.notice("interrupted in the first epoch: model.safetensors holds weights that are barely trained.")
    best = progress.best or {}
    return Outcome(work.run.path, len(progress.history), progress.best_epoch, best, stopped, progress.seconds, stop.code)


def _train_epoch(
    work: Work, progress: Progress, batches: Any, bar: terminal.Bar, stop: Stop, save: Any
) -> dict[str, Any] | None:
    """What is left of an epoch; returns its row of the history, or None where it was stopped."""
    parts, sums = work.parts, progress.sums
    settings, epoch = parts.config.train, progress.epoch
    steps, score, started = len(work.order), score_name(parts.task), time.perf_counter() - sums.seconds
    work.order.epoch, work.order.start = epoch, progress.step
    unread: list[tuple[Tensor, Sequence[str]]] = []
    saved = time.perf_counter()
    rate = parts.optimizer.param_groups[0]["lr"]
    parts.model.train()
    for batch in batches if progress.step < steps else ():
        first = progress.step // settings.accumulate * settings.accumulate
        together = min(settings.accumulate, steps - first)
        rate = work.schedule.before(epoch - 1, progress.step)
        images = batch.images.to(parts.device, non_blocking=True)
        masks = batch.masks.to(parts.device, non_blocking=True)
        images, masks = augment(images, masks, parts.config.augment, settings.seed, epoch, batch.ids)
        targets = masks if parts.task == parts.data else presence_in(masks, parts.data)
        logits = parts.logits(images)
        loss = parts.criterion(logits, targets)
        parts.accelerator.backward(loss / together)
        progress.step += 1
        if progress.step == first + together:
            _step(parts, settings)
        unread.append((loss.detach(), batch.ids))
        sums.dice.add(logits.detach(), targets)
        drawn = bar.advance()
        whole = progress.step == first + together  # between two steps of the optimiser
        due = settings.save_minutes and time.perf_counter() - saved > 60 * settings.save_minutes
        if len(unread) == CHECK or progress.step == steps or drawn or (whole and (stop.code or due)):
            _read_losses(unread, sums, progress)
            sums.seconds = time.perf_counter() - started
        if whole and stop.code:
            return None
        if whole and due:
            save()
            saved = time.perf_counter()
        if drawn:
            values = {"loss": f"{sums.total / sums.seen:.4f}", score: f"{sums.dice.value():.3f}"}
            bar.show(epoch=f"{epoch}/{settings.epochs}", **values, lr=f"{rate:.1e}")
    return {
        "epoch": epoch,
        "lr": rate,
        "train_loss": sums.total / sums.seen,
        f"train_{score}": sums.dice.value(),
        "train_seconds": sums.seconds,
    }


def _step(parts: Parts, settings: Train) -> None:
    if settings.clip:
        parts.accelerator.clip_grad_norm_(parts.model.parameters(), settings.clip)
    parts.optimizer.step()
    parts.optimizer.zero_grad(set_to_none=True)
    if parts.average is not None:
        parts.average.update_parameters(parts.accelerator.unwrap_model(parts.model))  # type: ignore[operator]


def _read_losses(unread: list[tuple[Tensor, Sequence[str]]], sums: Sums, progress: Progress) -> None:
    """Add up the losses of the last steps; the first that is not finite ends the training."""
    values = torch.stack([loss for loss, _ in unread]).tolist() if unread else []
    for number, (value, (_, ids)) in enumerate(zip(values, unread, strict=True)):
        if not math.isfinite(value):
            step = progress.step - len(unread) + number + 1
            raise SegkitError(
                f"The loss became {value} in epoch {progress.epoch}, step {step}, on {', '.join(ids)}.",
                "Lower --lr, set -o train.clip=1, or look at these cases.",
            )
        sums.total, sums.seen = sums.total + value * len(ids), sums.seen + len(ids)
    unread.clear()


def _prepare(parts: Parts, dataset: Dataset, run: RunFolder, record: Mapping[str, Any]) -> Work:
    """Fill the cache with the cases of the split, and set up order and schedule."""
    config, ids = parts.config, record["split"]
    by_id = {case.id: case for case in dataset.cases}
    groups = {name: len({by_id[id].group for id in members}) for name, members in ids.items()}
    terminal.say(f"run folder  {run.path}")
    terminal.say("cases       " + ", ".join(f"{name} {len(ids[name])} ({groups[name]} groups)" for name in ids))
    subsets = {name: fill(dataset, [by_id[id] for id in ids[name]], config) for name in ("train", "val")}
    if parts.task != parts.data:
        say_presence(subsets["train"], parts.data)
    patch = config.preprocess.size if config.preprocess.fit == "patch" else None
    items = TrainingItems(subsets["train"], patch, config.train.seed)  # type: ignore[arg-type]
    order = Order(len(items), config.train.batch_size, config.train.seed)
    cases = subsets["val"] if config.train.validate else []
    schedule = Schedule(parts.optimizer, config.train, len(order), validated=bool(cases))
    return Work(parts, schedule, run, record, items, order, cases)


def _notes(dataset: Dataset, ids: Mapping[str, Sequence[str]]) -> list[str]:
    """What must be known of data and split; said, and kept with the run."""
    notes = list(dataset.notes)
    if not ids["val"]:
        notes.append("There is no validation subset: the last weights are kept, plateau and early stopping are off.")
    left_out = len(dataset.cases) - sum(len(members) for members in ids.values())
    if left_out:
        notes.append(f"{left_out} case(s) of the official test subset are left out of the cross-validation.")
    leaks = find_leaks(dataset.cases, ids)
    if leaks:
        notes.append(f"{len(leaks)} group(s) are in more than one subset (--allow-leak): scores will look too good.")
    for note in notes:
        terminal.notice(note)
    return notes


def _check_data(dataset: Dataset, record: Mapping[str, Any]) -> None:
    known = {case.id for case in dataset.cases}
    missing = [id for members in record["split"].values() for id in members if id not in known]
    if missing or fingerprint(dataset)["sha256"] != record["manifest"]["data"]["sha256"]:
        what = f"{len(missing)} cases are gone ({', '.join(missing[:5])})" if missing else "files differ (their fingerprint)"
        raise SegkitError(f"The data is not what this run was trained on: {what}.", "Put it back, or start a new run.")


def _reason_to_end(progress: Progress, settings: Train, validated: bool, seconds: float) -> str:
    if validated and settings.patience and progress.since_best() >= settings.patience:
        return f"No improvement in {settings.patience} epochs (--patience)"
    if settings.max_time and seconds > 60 * settings.max_time and progress.epoch <= settings.epochs:
        return f"{settings.max_time:g} minutes are over (train.max_time)"
    return ""


def _monitored(row: Mapping[str, Any], settings: Train) -> float:
    """The value whose minimum is best."""
    value = row["val_loss"] if settings.monitor == "loss" else -row.get("val_dice", row.get("val_f1", math.nan))
    return math.inf if math.isnan(value) else float(value)


def _keep_best(row: dict[str, Any], progress: Progress, parts: Parts) -> bool:
    """Add the row to the history; keep the weights where they are the best so far (or the last, without validation)."""
    progress.history.append(row)
    validated = "val_loss" in row
    value = _monitored(row, parts.config.train) if validated else -math.inf
    if validated and progress.best is not None and value >= progress.best_value:
        return False
    names = [key for key in row if key.startswith("val_") and key != "val_seconds" and not math.isnan(row[key])]
    progress.kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in parts.tensors().items()}
    progress.best_value, progress.best_epoch, progress.best = value, row["epoch"], {key: row[key] for key in names}
    return validated


def _write_weights(progress: Progress, run: RunFolder, config: Config, task: Task) -> None:
    assert progress.kept is not None and progress.best is not None
    weights.save(run.weights, progress.kept, _header(config, task, progress.best))


def _header(config: Config, task: Task, values: Mapping[str, float]) -> weights.Header:
    return weights.header_of(config.model, config.dims, task, config.preprocess, values)


def _epoch_line(row: Mapping[str, Any], epochs: int, improved: bool) -> str:
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}", f"loss {row['train_loss']:.4f}"]
    name = "dice" if "train_dice" in row else "f1"
    parts += [f"{name} {row[f'train_{name}']:.3f}"]
    if "val_loss" in row:
        parts += [f"val loss {row['val_loss']:.4f}", f"val {name} {row.get(f'val_{name}', math.nan):.3f}"]
    parts += [f"lr {row['lr']:.1e}", f"{row['train_seconds'] + row.get('val_seconds', 0):.1f} s"]
    return "  ".join(parts) + ("  best" if improved else "")
