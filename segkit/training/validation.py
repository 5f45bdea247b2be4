"""Loss and metrics of the validation cases after an epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segkit import distributed
from segkit.data.cache import Cached
from segkit.data.preprocess import Geometry, from_slices
from segkit.errors import SegkitError
from segkit.evaluation.aggregate import CaseScore, aggregate, is_detail, score_case
from segkit.inference.network import NotFiniteError
from segkit.inference.predictor import logits_of
from segkit.inference.probabilities import labels_of, presence_of, probabilities_of
from segkit.task import Case, CaseResult
from segkit.training.components import TrainingComponents


def validate(components: TrainingComponents, cases: Sequence[Cached], epoch: int) -> dict[str, float]:
    """Loss and figures, case by case, on the network's grid (evaluate scores on the data's own).

    Each process scores its share of the cases; all of them get the same figures.
    """
    started, own = time.perf_counter(), list[tuple[float, CaseScore]]()

    def images() -> Iterator[tuple[tuple[Case, NDArray[Any]], NDArray[np.float32], Geometry]]:
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
            yield (cached.case, truth), image, cached.geometry

    components.eval_model.eval()
    try:
        for (case, truth), logits in logits_of(components.network(), images()):
            own.append(_judge(components, case, logits, truth))
    except NotFiniteError as error:
        raise SegkitError(
            f"The network returned values that are not finite in the validation of epoch {epoch}.",
            "Lower --lr, or set -o train.clip=1.",
        ) from error
    places = {cached.case.id: number for number, cached in enumerate(cases)}
    found = sorted(distributed.gather_shards(own), key=lambda pair: places[pair[1].id])
    losses, scores = [loss for loss, _ in found], [score for _, score in found]
    strange = next(((loss, score.id) for loss, score in found if not math.isfinite(loss)), None)
    if strange is not None:
        failure = SegkitError(
            f"The loss became {strange[0]} in the validation of epoch {epoch} on {strange[1]}.",
            "Lower --lr, or look at this case.",
        )
        raise distributed.collective_error(failure)
    how = "per_case" if components.task.kind == "segmentation" else "pooled"
    figures = aggregate(components.metrics, scores, how, components.task)
    means = {f"val_{key}": figure.mean for key, figure in figures.items() if not is_detail(key)}
    monitored = f"val_{components.config.monitored.name}"
    if monitored not in ("val_loss", *means):
        names = ", ".join(["loss", *(key.removeprefix("val_") for key in means)])
        failure = SegkitError(f"train.monitor = {monitored[4:]}: validation gives no such value.", f"Allowed: {names}.")
        raise distributed.collective_error(failure)
    return {"val_loss": math.fsum(losses) / len(losses), **means, "val_seconds": time.perf_counter() - started}


def _judge(
    components: TrainingComponents, case: Case, logits: NDArray[np.float32], truth: NDArray[Any]
) -> tuple[float, CaseScore]:
    """Loss and score of a case."""
    with torch.inference_mode():
        loss = components.criterion(
            torch.from_numpy(logits)[None].to(components.device), torch.tensor(truth)[None].to(components.device)
        )
    probabilities = probabilities_of(logits, components.task)
    result = CaseResult(probabilities, labels_of(probabilities, components.task), truth, components.task)
    return float(loss), score_case(components.metrics, case.id, case.group, result)
