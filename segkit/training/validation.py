"""Loss and metrics of the validation cases after an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segkit import distributed
from segkit.data.cache import Cached
from segkit.data.preprocess import Geometry, from_slices
from segkit.errors import SegkitError
from segkit.evaluation.aggregate import CaseScore, aggregate, is_detail, score_case, usual_aggregation
from segkit.evaluation.loss import loss_of
from segkit.inference.network import NotFiniteError
from segkit.inference.predictor import logits_of
from segkit.inference.probabilities import labels_of, presence_of, probabilities_of
from segkit.task import CaseResult
from segkit.training.components import TrainingComponents
from segkit.training.loss import loss_value


@dataclass(frozen=True)
class Judged:
    """A validation case: the mean loss of its items (itself, or its slices), how many these are, and its score."""

    loss: float
    items: int
    score: CaseScore


def validate(components: TrainingComponents, cases: Sequence[Cached], epoch: int) -> dict[str, float]:
    """Loss and figures on the network's grid (evaluate scores on the data's own).

    The loss is the mean over what the network is trained on, images or the slices of all volumes; figures are those of whole
    cases. Each process scores its share of the cases; all of them get the same figures.

    Raises:
        SegkitError: the network or the loss gives no finite numbers, or there is no such value as the monitored one.
    """
    started, own = time.perf_counter(), list[Judged]()

    def images() -> Iterator[tuple[tuple[Cached, NDArray[Any]], NDArray[np.float32], Geometry]]:
        for cached in distributed.shard(cases):
            image, mask = cached.load()
            axis = cached.geometry.slice_axis
            if axis is not None:
                image, mask = from_slices(image, axis, lead=1), from_slices(mask, axis, lead=mask.ndim - 3)
            truth = (
                np.asarray(mask)
                if components.task == components.mask_task
                else presence_of(mask, components.mask_task, axis)
            )
            yield (cached, truth), image, cached.geometry

    components.eval_model.eval()
    try:
        for (cached, truth), logits in logits_of(components.network(), images()):
            own.append(_judge(components, cached, logits, truth))
    except NotFiniteError as error:
        raise SegkitError(
            f"The network returned values that are not finite in the validation of epoch {epoch}.",
            "The images are finite. Lower --lr, or set -o train.clip=1.",
        ) from error
    places = {cached.case.id: number for number, cached in enumerate(cases)}
    found = sorted(distributed.gather_shards(own), key=lambda judged: places[judged.score.id])
    strange = next((judged for judged in found if not math.isfinite(judged.loss)), None)
    if strange is not None:
        failure = SegkitError(
            f"The loss {components.config.loss.name} became {strange.loss} in the validation of epoch {epoch} "
            f"on {strange.score.id}: its logits are finite.",
            "Lower --lr, or look at this case.",
        )
        raise distributed.collective_error(failure)
    loss = math.fsum(judged.loss * judged.items for judged in found) / sum(judged.items for judged in found)
    scores = [judged.score for judged in found]
    figures = aggregate(components.metrics, scores, usual_aggregation(components.task.kind), components.task)
    means = {f"val_{key}": figure.mean for key, figure in figures.items() if not is_detail(key)}
    monitored = f"val_{components.config.monitored.name}"
    if monitored not in ("val_loss", *means):
        names = ", ".join(["loss", *(key.removeprefix("val_") for key in means)])
        failure = SegkitError(f"train.monitor = {monitored[4:]}: validation gives no such value.", f"Allowed: {names}.")
        raise distributed.collective_error(failure)
    return {"val_loss": loss, **means, "val_seconds": time.perf_counter() - started}


def _judge(components: TrainingComponents, cached: Cached, logits: NDArray[np.float32], truth: NDArray[Any]) -> Judged:
    """Score of a case, and its loss, seen as training sees it: a volume of a 2D network is a batch of slices."""

    def criterion(*pair: Tensor) -> Tensor:
        own = (array.to(components.device) for array in pair)
        return loss_value(components.criterion, components.config.loss.name, *own)

    task, size = components.task, components.config.train.batch_size or 1
    loss, items = loss_of(criterion, logits, truth, cached.geometry.slice_axis, size, task.kind)
    probabilities = probabilities_of(logits, task)
    result = CaseResult(probabilities, labels_of(probabilities, task), truth, task)
    return Judged(loss, items, score_case(components.metrics, cached.case.id, cached.case.group, result))
