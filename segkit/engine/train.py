"""Training, one loop from top to bottom.

    data      split by group -> cached preprocessing -> seeded batches -> augmentation on the device
    step      forward -> loss -> backward -> optimiser
    epoch     validation on the network's grid, learning-rate schedule, best weights, early stopping, history.csv

`accelerate` carries device and precision.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from numpy.typing import NDArray
from torch import Tensor, nn

from segkit import run as runs
from segkit import terminal, weights
from segkit.config import Config, to_toml
from segkit.data.augment import augment
from segkit.data.cache import Cached, fill, fingerprint
from segkit.data.loader import Batch, Order, TrainingItems, loader
from segkit.data.preprocess import Geometry, from_slices
from segkit.data.split import find_leaks, split_cases
from segkit.engine.backends import (
    build_model,
    check_logits,
    choose_device,
    layout,
    padded,
    plugin_errors,
    to_device,
)
from segkit.engine.checkpointing import checkpoint_blocks
from segkit.engine.evaluate import build_metrics
from segkit.engine.infer import Network, logits_of
from segkit.engine.labels import labels_of, presence_of, probabilities_of
from segkit.engine.pretrained import start_from
from segkit.engine.stats import CaseScore, aggregate, is_detail, score_case
from segkit.errors import SegkitError, UsageError
from segkit.run import RunFolder
from segkit.settings import Train
from segkit.specs import ModelSpec
from segkit.task import Case, CaseResult, Dataset, Metric, Task


@dataclass(frozen=True)
class Outcome:
    """How a training ended: its folder, the epoch of the saved weights, their validation values, whether by Ctrl-C."""

    run: Path
    epochs: int
    best_epoch: int
    best: Mapping[str, float]
    interrupted: bool
    seconds: float


@dataclass
class Progress:
    """What changes from epoch to epoch."""

    history: list[dict[str, Any]]
    best_epoch: int = 0
    best_value: float = math.inf
    best: Mapping[str, float] | None = None

    def since_best(self) -> int:
        return len(self.history) - self.best_epoch


@dataclass(frozen=True)
class Parts:
    """The pieces of a training, assembled."""

    config: Config
    task: Task  # what the model learns
    data: Task  # what the masks say
    device: torch.device
    accelerator: Accelerator
    model: nn.Module
    criterion: nn.Module
    metrics: Mapping[str, Metric]
    optimizer: torch.optim.Optimizer

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, *S) of any size -> (B, K, *S) in float32."""
        spec, options = self.config.model.spec, self.config.model.options
        with plugin_errors(self.config.model.name, images):
            strides, least = spec.strides(options, self.config.dims), spec.least(options)
            logits = padded(self.model, layout(images, spec), strides, least)
            return check_logits(logits, images, self.task).float()

    def network(self) -> Network:
        """This model as inference sees it."""

        def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return self.logits(torch.from_numpy(batch).to(self.device)).cpu().numpy()

        return Network(forward, self.config.dims, self.task, self.config.preprocess, self.config.train.batch_size)


def train(config: Config, dataset: Dataset, out: Path | None) -> Outcome:
    """Train as the complete record says and leave everything in a new run folder.

    Raises:
        UsageError: a device, a split or a folder that cannot be used; then nothing is written.
        SegkitError: data that cannot be read, a loss that is not finite (the last good weights are kept).
    """
    settings = config.train
    device = choose_device(settings.device)
    AcceleratorState._reset_state(reset_partial_state=True)  # it outlives a training and refuses another precision
    accelerator = Accelerator(mixed_precision=_precision(settings, device, config.model.spec), cpu=device.type == "cpu")
    ids = split_cases(dataset.cases, config.split)
    run = runs.create(out, config.dataset.spec.name, config.model.spec.name)
    try:
        return _train(config, dataset, ids, run, device, accelerator)
    except BaseException:
        if run.weights.exists():
            terminal.notice(f"the best weights so far are kept in {run.path}")
        else:
            runs.discard(run)
        raise


def _train(
    config: Config,
    dataset: Dataset,
    ids: Mapping[str, Sequence[str]],
    run: RunFolder,
    device: torch.device,
    accelerator: Any,
) -> Outcome:
    settings = config.train
    set_seed(settings.seed)
    parts = _assemble(config, dataset.task, device, accelerator)
    subsets = _prepare(config, dataset, ids, run, str(device))
    if parts.task != parts.data:
        _say_presence(subsets["train"], parts.data)
    validated = bool(subsets["val"]) and settings.validate
    schedule = _schedule(parts.optimizer, settings) if validated else None
    patch = config.preprocess.size if config.preprocess.fit == "patch" else None
    items = TrainingItems(subsets["train"], patch, settings.seed)  # type: ignore[arg-type]
    order = Order(len(items), settings.batch_size, settings.seed)
    batches = loader(items, order, settings.workers, pin=device.type == "cuda")
    progress, started, interrupted = Progress([]), time.perf_counter(), False
    try:
        with terminal.progress("training", settings.epochs * len(order)) as bar:
            for epoch in range(1, settings.epochs + 1):
                order.epoch = epoch
                row: dict[str, Any] = {"epoch": epoch, "lr": parts.optimizer.param_groups[0]["lr"]}
                row |= _train_epoch(parts, batches, epoch, bar)
                row |= _validate(parts, subsets["val"]) if validated else {}
                improved = _keep_best(row, progress, parts, run)
                runs.write_history(run, progress.history)
                terminal.say(_epoch_line(row, settings.epochs, improved))
                if schedule is not None:
                    schedule.step(_monitored(row, settings))
                if validated and settings.patience and progress.since_best() >= settings.patience:
                    terminal.say(f"No improvement in {settings.patience} epochs (--patience): training ends.")
                    break
    except KeyboardInterrupt:
        interrupted = True
        if progress.best is None:
            _save(parts, {}, run)
            terminal.notice("interrupted in the first epoch: model.safetensors holds weights that are barely trained.")
    seconds = time.perf_counter() - started
    return Outcome(run.path, len(progress.history), progress.best_epoch, progress.best or {}, interrupted, seconds)


def _train_epoch(parts: Parts, batches: Iterable[Batch], epoch: int, bar: terminal.Bar) -> dict[str, float]:
    """One pass over the training cases; returns the epoch's loss, Dice and seconds."""
    settings, started = parts.config.train, time.perf_counter()
    total, seen, dice, score = 0.0, 0, RunningDice(parts.task), _score_name(parts.task)
    parts.model.train()
    for batch in batches:
        images = batch.images.to(parts.device, non_blocking=True)
        masks = batch.masks.to(parts.device, non_blocking=True)
        images, masks = augment(images, masks, parts.config.augment, settings.seed, epoch, batch.ids)
        targets = masks if parts.task == parts.data else _presence(masks, parts.data)
        logits = parts.logits(images)
        loss = parts.criterion(logits, targets)
        value = _finite(loss, f"epoch {epoch}", batch.ids)
        parts.accelerator.backward(loss)
        parts.optimizer.step()
        parts.optimizer.zero_grad(set_to_none=True)
        total, seen = total + value * len(batch.ids), seen + len(batch.ids)
        dice.add(logits.detach(), targets)
        if bar.advance():
            values = {"loss": f"{total / seen:.4f}", score: f"{dice.value():.3f}"}
            bar.show(epoch=f"{epoch}/{settings.epochs}", **values)
    return {"train_loss": total / seen, f"train_{score}": dice.value(), "train_seconds": time.perf_counter() - started}


def _assemble(config: Config, data: Task, device: torch.device, accelerator: Accelerator) -> Parts:
    assert config.loss is not None, "config.complete() comes first"
    task, spec, settings = data.learned_by(config.model.spec.kind), config.model.spec, config.train
    model = build_model(config.model, task, config.dims)
    start_from(model, config.model.name, settings.pretrained)
    model = to_device(model, device, config.dims, spec)
    if settings.checkpointing:
        checkpoint_blocks(model)
    criterion = config.loss.make(task).to(device)
    metrics = build_metrics(config.metrics, task)
    model, optimizer = accelerator.prepare(model, _optimizer(model, settings))
    if settings.compile:
        model.compile()
    return Parts(config, task, data, device, accelerator, model, criterion, metrics, optimizer)


def _presence(masks: Tensor, data: Task) -> Tensor:
    """(B, ...) masks -> (B,): 1 where there is any foreground. What a classification learns, of the image it sees."""
    found = (masks != 0) if data.ignore_index is None else (masks != 0) & (masks != data.ignore_index)
    return found.flatten(1).any(dim=1).long()


def _say_presence(cases: Sequence[Cached], data: Task) -> None:
    """How many images or slices hold any foreground; a classifier learns nothing from one kind alone."""
    counts = [0, 0]
    for cached in cases:
        axis = 0 if cached.geometry.slice_axis is not None else None
        for value in np.atleast_1d(presence_of(np.asarray(cached.load()[1]), data, axis)):
            counts[int(value)] += 1
    terminal.say(f"training on {counts[1]} images with foreground, {counts[0]} without")
    if 0 in counts:
        terminal.notice("all training images are of one kind: there is nothing to tell apart.")


def _score_name(task: Task) -> str:
    """What the Dice of labels is called: over cases instead of pixels it is the F1 score."""
    return "dice" if task.kind == "segmentation" else "f1"


class RunningDice:
    """Mean foreground Dice of an epoch, pooled over its pixels, added up on the device; not-a-number until defined."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.overlap: Tensor | float = 0.0
        self.sizes: Tensor | float = 0.0

    def add(self, logits: Tensor, masks: Tensor) -> None:
        if self.task.mode == "multiclass":
            labels, classes = logits.argmax(dim=1), range(1, len(self.task.classes))
            pairs = [(labels == value, masks == value) for value in classes]
        elif self.task.mode == "binary":
            pairs = [(logits[:, 0] > 0, masks == 1)]
        else:
            pairs = [(logits[:, index] > 0, masks[:, index] == 1) for index in range(logits.shape[1])]
        self.overlap = self.overlap + torch.stack([(mine & true).sum() for mine, true in pairs])
        self.sizes = self.sizes + torch.stack([mine.sum() + true.sum() for mine, true in pairs])

    def value(self) -> float:
        if not isinstance(self.sizes, Tensor) or not isinstance(self.overlap, Tensor):
            return math.nan
        return float((2 * self.overlap / self.sizes).nanmean())


def _prepare(
    config: Config, dataset: Dataset, ids: Mapping[str, Sequence[str]], run: RunFolder, device: str
) -> dict[str, list[Cached]]:
    """Write what the run is made of, fill the cache. Returns cached cases by subset, test left out."""
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
    runs.write_config(run, to_toml(config))
    runs.write_split(run, ids)
    runs.write_manifest(run, runs.manifest(config.train.seed, fingerprint(dataset), device, notes))
    by_id = {case.id: case for case in dataset.cases}
    groups = {name: len({by_id[id].group for id in members}) for name, members in ids.items()}
    terminal.say(f"run folder  {run.path}")
    terminal.say("cases       " + ", ".join(f"{name} {len(ids[name])} ({groups[name]} groups)" for name in ids))
    return {name: fill(dataset, [by_id[id] for id in ids[name]], config) for name in ("train", "val")}


def _optimizer(model: nn.Module, settings: Train) -> torch.optim.Optimizer:
    kinds: dict[str, type[torch.optim.Adam]] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise SegkitError("The model has no parameters to train.", "Choose another --model.")
    return kinds[settings.optimizer](trainable, lr=settings.lr, weight_decay=settings.weight_decay)


def _schedule(optimizer: Any, settings: Train) -> torch.optim.lr_scheduler.ReduceLROnPlateau | None:
    if settings.schedule == "none":
        return None
    return torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience, min_lr=settings.min_lr
    )


def _validate(parts: Parts, cases: Sequence[Cached]) -> dict[str, float]:
    """Loss and figures, case by case, on the network's grid (evaluate scores on the data's own)."""
    started, total, scores = time.perf_counter(), 0.0, list[CaseScore]()

    def images() -> Iterator[tuple[tuple[Case, NDArray[Any]], NDArray[np.float32], Geometry]]:
        for cached in cases:
            image, mask = cached.load()
            axis = cached.geometry.slice_axis
            if axis is not None:
                image, mask = from_slices(image, axis, lead=1), from_slices(mask, axis, lead=mask.ndim - 3)
            truth = np.asarray(mask) if parts.task == parts.data else presence_of(mask, parts.data, axis)
            yield (cached.case, truth), image, cached.geometry

    parts.model.eval()
    for (case, truth), logits in logits_of(parts.network(), images()):
        with torch.inference_mode():
            loss = parts.criterion(
                torch.from_numpy(logits)[None].to(parts.device), torch.tensor(truth)[None].to(parts.device)
            )
        total += _finite(loss, "validation", [case.id])
        probabilities = probabilities_of(logits, parts.task)
        result = CaseResult(probabilities, labels_of(probabilities, parts.task), truth, parts.task)
        scores.append(score_case(parts.metrics, case.id, case.group, result))
    how = "per_case" if parts.task.kind == "segmentation" else "pooled"
    figures = aggregate(parts.metrics, scores, how, parts.task)
    means = {f"val_{key}": figure.mean for key, figure in figures.items() if not is_detail(key)}
    return {"val_loss": total / len(cases), **means, "val_seconds": time.perf_counter() - started}


def _monitored(row: Mapping[str, Any], settings: Train) -> float:
    """The value whose minimum is best."""
    value = row["val_loss"] if settings.monitor == "loss" else -row.get("val_dice", row.get("val_f1", math.nan))
    return math.inf if math.isnan(value) else float(value)


def _keep_best(row: dict[str, Any], progress: Progress, parts: Parts, run: RunFolder) -> bool:
    """Add the row to the history; save the weights where they are the best so far (or the last, without validation)."""
    progress.history.append(row)
    validated = "val_loss" in row
    value = _monitored(row, parts.config.train) if validated else -math.inf
    if validated and progress.best is not None and value >= progress.best_value:
        return False
    names = [key for key in row if key.startswith("val_") and key != "val_seconds" and not math.isnan(row[key])]
    best = {key: row[key] for key in names}
    _save(parts, best, run)
    progress.best_value, progress.best_epoch, progress.best = value, row["epoch"], best
    return validated


def _save(parts: Parts, values: Mapping[str, float], run: RunFolder) -> None:
    header = weights.header_of(parts.config.model, parts.config.dims, parts.task, parts.config.preprocess, values)
    weights.save(run.weights, parts.accelerator.unwrap_model(parts.model).state_dict(), header)


def _finite(loss: Tensor, when: str, ids: Sequence[str]) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise SegkitError(f"The loss became {value} in {when} on {', '.join(ids)}.", "Lower --lr, or look at these cases.")
    return value


def _precision(settings: Train, device: torch.device, spec: ModelSpec) -> str:
    if settings.precision == "auto":
        if device.type != "cuda" or "mixed-precision" in spec.lacks:
            return "no"
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if settings.precision == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU.", "On the CPU: --precision bf16 or fp32.")
    return {"fp32": "no"}.get(settings.precision, settings.precision)


def _epoch_line(row: Mapping[str, Any], epochs: int, improved: bool) -> str:
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}", f"loss {row['train_loss']:.4f}"]
    name = "dice" if "train_dice" in row else "f1"
    parts += [f"{name} {row[f'train_{name}']:.3f}"]
    if "val_loss" in row:
        parts += [f"val loss {row['val_loss']:.4f}", f"val {name} {row.get(f'val_{name}', math.nan):.3f}"]
    parts += [f"lr {row['lr']:.1e}", f"{row['train_seconds'] + row.get('val_seconds', 0):.1f} s"]
    return "  ".join(parts) + ("  best" if improved else "")
