"""What is known of a training while it runs: the running counts of an epoch, and the figures of the validation cases."""

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
from segkit.engine import processes
from segkit.engine.infer import NotFiniteError, logits_of
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


class RunningCounts:
    """Pixels of an epoch, added up on the device: for each foreground class those found rightly, found, and there.

    Figures made of them are pooled over all pixels, so that they cost little; not-a-number where there is nothing to judge.
    """

    def __init__(self, task: Task, counts: Tensor | None = None) -> None:
        """Args: the task, and (3, foreground classes) counts to go on from."""
        self.task, self.counts = task, counts

    def add(self, logits: Tensor, masks: Tensor) -> None:
        if self.task.mode == "multiclass":
            labels, classes = logits.argmax(dim=1), range(1, len(self.task.classes))
            pairs = [(labels == value, masks == value) for value in classes]
        elif self.task.mode == "binary":
            pairs = [(logits[:, 0] > 0, masks == 1)]
        else:
            pairs = [(logits[:, index] > 0, masks[:, index] == 1) for index in range(logits.shape[1])]
        if self.task.ignore_index is not None and self.task.mode != "multilabel":
            judged = masks != self.task.ignore_index
            pairs = [(mine & judged, true) for mine, true in pairs]
        sums = torch.stack([torch.stack([(mine & true).sum(), mine.sum(), true.sum()]) for mine, true in pairs], dim=1)
        self.counts = sums if self.counts is None else self.counts + sums

    def figures(self) -> dict[str, float]:
        """Dice (of a classification: F1), IoU, precision and recall: "dice" over the classes, "dice/NAME" of each."""
        if self.counts is None:
            return {}
        right, found, there = self.counts.double().cpu()
        values = {score_name(self.task): 2 * right / (found + there), "iou": right / (found + there - right)}
        values |= {"precision": right / found, "recall": right / there}
        if self.task.kind == "classification":
            del values["iou"]
        means = {name: float(value.nanmean()) for name, value in values.items()}
        names = self.task.foreground
        each = {
            f"{name}/{label}": float(value[index]) for name, value in values.items() for index, label in enumerate(names)
        }
        return {**means, **each}

    def value(self) -> float:
        """Mean Dice or F1."""
        return self.figures().get(score_name(self.task), math.nan)


def validate(parts: Parts, cases: Sequence[Cached], epoch: int) -> dict[str, float]:
    """Loss and figures, case by case, on the network's grid (evaluate scores on the data's own).

    Each process looks at its share of the cases; all of them get the same figures.
    """
    started, own = time.perf_counter(), list[tuple[float, CaseScore]]()

    def images() -> Iterator[tuple[tuple[Case, NDArray[Any]], NDArray[np.float32], Geometry]]:
        for cached in processes.share(cases):
            image, mask = cached.load()
            axis = cached.geometry.slice_axis
            if axis is not None:
                image, mask = from_slices(image, axis, lead=1), from_slices(mask, axis, lead=mask.ndim - 3)
            truth = np.asarray(mask) if parts.task == parts.data else presence_of(mask, parts.data, axis)
            yield (cached.case, truth), image, cached.geometry

    parts.judged.eval()
    try:
        for (case, truth), logits in logits_of(parts.network(), images()):
            own.append(_judge(parts, case, logits, truth))
    except NotFiniteError as error:
        raise SegkitError(
            f"The network gave values that are not finite in the validation of epoch {epoch}.",
            "Lower --lr, or set -o train.clip=1.",
        ) from error
    places = {cached.case.id: number for number, cached in enumerate(cases)}
    found = sorted(processes.gather(own), key=lambda pair: places[pair[1].id])
    losses, scores = [loss for loss, _ in found], [score for _, score in found]
    strange = next(((loss, score.id) for loss, score in found if not math.isfinite(loss)), None)
    if strange is not None:
        failure = SegkitError(
            f"The loss became {strange[0]} in the validation of epoch {epoch} on {strange[1]}.",
            "Lower --lr, or look at this case.",
        )
        raise processes.for_all(failure)
    how = "per_case" if parts.task.kind == "segmentation" else "pooled"
    figures = aggregate(parts.metrics, scores, how, parts.task)
    means = {f"val_{key}": figure.mean for key, figure in figures.items() if not is_detail(key)}
    return {"val_loss": math.fsum(losses) / len(losses), **means, "val_seconds": time.perf_counter() - started}


def _judge(parts: Parts, case: Case, logits: NDArray[np.float32], truth: NDArray[Any]) -> tuple[float, CaseScore]:
    """Loss and score of a case."""
    with torch.inference_mode():
        loss = parts.criterion(torch.from_numpy(logits)[None].to(parts.device), torch.tensor(truth)[None].to(parts.device))
    probabilities = probabilities_of(logits, parts.task)
    result = CaseResult(probabilities, labels_of(probabilities, parts.task), truth, parts.task)
    return float(loss), score_case(parts.metrics, case.id, case.group, result)
