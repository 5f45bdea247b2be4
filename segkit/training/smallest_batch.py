"""Whether batches and images of a training are large enough for its model, found before anything is prepared."""

from __future__ import annotations

from dataclasses import replace

import torch

from segkit import distributed
from segkit.config.complete import Config
from segkit.errors import UsageError
from segkit.models.build import NORMS, ONE_ELEMENT, ONE_VALUE
from segkit.models.cost import on_meta, size_seen
from segkit.task import Task
from segkit.training.order import Order


def check_smallest_batch(config: Config, data: Task, cases: int, device: torch.device) -> None:
    """Refuse a training in which a process has no case, or a norm one value: a sample whose map is pooled to 1 x 1.

    Batch norm needs two samples then; to instance norm the others of a batch are no help.

    The model is run on torch's meta device, where nothing is computed.

    Args:
        config: complete.
        data: the dataset's task.
        cases: that are trained on.
        device: where it is trained; GPUs that train together share their batch norm.

    Raises:
        UsageError: with what helps.
    """
    size, batch, processes = config.preprocess.size, config.train.batch_size or 1, distributed.world_size()
    if batch < processes:
        words = f"--batch-size {batch} is less than one case for each of {processes} processes."
        raise distributed.collective_error(UsageError(words, f"Fewer --devices, or --batch-size {processes}."))
    if size is None:
        return
    count, least = cases, 2  # GPUs share their batch norm
    if processes == 1 or device.type != "cuda":
        count = cases if config.dims == data.dims else max(cases, batch)  # slices, of which there are more than volumes
        order = Order(count, batch, None, processes=processes, steps=config.train.epoch_steps)
        least = min(2, *(order.cases(step) // processes for step in range(len(order))))
    sides = size_seen(config.model, config.dims, (size,) if isinstance(size, int) else size)
    strides = config.model.spec.strides(config.model.options, config.dims)
    if least > 1 and any(side > stride for side, stride in zip(sides, strides, strict=True)):
        return
    task = replace(data.learned_by(config.model.spec.kind), dims=config.dims)
    try:
        with torch.no_grad():
            on_meta(config.model, task).train()(torch.zeros(least or 1, task.channels, *sides, device="meta"))
    except Exception as error:  # what else is wrong with a model shows when it is trained
        if ONE_ELEMENT in str(error):
            what, helps = NORMS[ONE_ELEMENT]
            words = f"The model {config.model.spec.name} {what.format(size=' x '.join(map(str, sides)))}."
            raise distributed.collective_error(UsageError(words, helps)) from error
        if ONE_VALUE not in str(error):
            return
        shared = f" for each of {processes} processes" if processes > 1 else ""
        more = (
            f"--batch-size {2 * processes} or more" if count >= 2 * processes else f"at least {2 * processes} training cases"
        )
        raise distributed.collective_error(
            UsageError(
                f"The model {config.model.spec.name} needs batches of at least 2 samples{shared}: at this size it pools an "
                f"image to a single value, and batch norm needs two. Here are {count} to train on, in batches of {batch}.",
                f"{more[0].upper()}{more[1:]}; a larger -o preprocess.size or another model may do as well.",
            )
        ) from error
