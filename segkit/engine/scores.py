"""What is known of a training while it runs: the running Dice of an epoch, and the figures of the validation cases."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segkit import terminal
from segkit.data.cache import Cached
from segkit.data.preprocess import Geometry, from_slices
from segkit.engine.infer import logits_of
from segkit.engine.labels import labels_of, presence_of, probabilities_of
from segkit.engine.parts import Parts
from segkit.engine.stats import CaseScore, aggregate, is_detail, score_case
from segkit.errors import SegkitError
from segkit.task import Case, CaseResult, Task


def score_name(task: Task) -> str:
    """What the Dice of labels is called: over cases instead of pixels it is the F1 score."""
    return "dice" if task.kind == "segmentation" else "f1"


def presence_in(masks: Tensor, data: Task) -> Tensor:
    """(B, ...) masks -> (B,): 1 where there is any foreground. What a classification learns, of the image it sees."""
    found = (masks != 0) if data.ignore_index is None else (masks != 0) & (masks != data.ignore_index)
    return found.flatten(1).any(dim=1).long()


def say_presence(cases: Sequence[Cached], data: Task) -> None:
    """How many images or slices hold any foreground; a classifier learns nothing from one kind alone."""
    counts = [0, 0]
    for cached in cases:
        axis = 0 if cached.geometry.slice_axis is not None else None
        for value in np.atleast_1d(presence_of(np.asarray(cached.load()[1]), data, axis)):
            counts[int(value)] += 1
    terminal.say(f"training on {counts[1]} images with foreground, {counts[0]} without")
    if 0 in counts:
        terminal.notice("all training images are of one kind: there is nothing to tell apart.")


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


def validate(parts: Parts, cases: Sequence[Cached]) -> dict[str, float]:
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

    parts.judged.eval()
    for (case, truth), logits in logits_of(parts.network(), images()):
        with torch.inference_mode():
            loss = parts.criterion(
                torch.from_numpy(logits)[None].to(parts.device), torch.tensor(truth)[None].to(parts.device)
            )
        total += finite(loss, "validation", [case.id])
        probabilities = probabilities_of(logits, parts.task)
        result = CaseResult(probabilities, labels_of(probabilities, parts.task), truth, parts.task)
        scores.append(score_case(parts.metrics, case.id, case.group, result))
    how = "per_case" if parts.task.kind == "segmentation" else "pooled"
    figures = aggregate(parts.metrics, scores, how, parts.task)
    means = {f"val_{key}": figure.mean for key, figure in figures.items() if not is_detail(key)}
    return {"val_loss": total / len(cases), **means, "val_seconds": time.perf_counter() - started}


def finite(loss: Tensor, when: str, ids: Sequence[str]) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise SegkitError(f"The loss became {value} in {when} on {', '.join(ids)}.", "Lower --lr, or look at these cases.")
    return value
