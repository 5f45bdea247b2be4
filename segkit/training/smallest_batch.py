"""Whether the smallest batch of a training is large enough for its model, found before anything is prepared."""

from __future__ import annotations

from dataclasses import replace

import torch

from segkit import distributed
from segkit.config.complete import Config
from segkit.errors import UsageError
from segkit.models.cost import on_meta, size_seen
from segkit.task import Task
from segkit.training.loader import Order

ONE_VALUE = "Expected more than 1 value per channel"  # torch's words where batch norm has a single value


def check_smallest_batch(config: Config, data: Task, cases: int, device: torch.device) -> None:
    """Refuse a training in which a process has no case, or batch norm one value: a sample whose map is pooled to 1 x 1.

    The model is run on torch's meta device, where nothing is computed.

    Args:
        config: complete.
        data: the dataset's task.
        cases: that are trained on.
        device: where it is trained; GPUs that train together share their batch norm.

    Raises:
        UsageError: with what helps.
    """
    size, batch, processes = config.preprocess.size, config.train.batch_size, distributed.world_size()
    if batch is not None and batch < processes:
        words = f"--batch-size {batch} is less than one case for each of {processes} processes."
        raise distributed.collective_error(UsageError(words, f"Fewer --devices, or --batch-size {processes}."))
    if batch is None or size is None or (processes > 1 and device.type == "cuda"):
        return
    count = cases if config.dims == data.dims else max(cases, batch)  # slices, of which there are more than volumes
    order = Order(count, batch, None, processes=processes)
    if min(order.cases(step) for step in range(len(order))) // processes > 1:
        return
    task = replace(data.learned_by(config.model.spec.kind), dims=config.dims)
    try:
        sides = size_seen(config.model, config.dims, (size,) if isinstance(size, int) else size)
        with torch.no_grad():
            on_meta(config.model, task).train()(torch.zeros(1, task.channels, *sides, device="meta"))
    except Exception as error:  # what else is wrong with a model shows when it is trained
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
