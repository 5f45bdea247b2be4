"""Running statistics of batch norm that belong to the weights beside them.

In training batch norm goes by each batch, in evaluation by statistics that a moving average has followed, of weights that
are gone. After a few steps of an epoch these lag, and a network that has learned looks as if it had not. So before it is
validated and kept they are taken anew, over some batches of the epoch (Izmailov 2018; torch.optim.swa_utils.update_bn).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from segkit import distributed
from segkit.training.augmentation.augment import augment
from segkit.training.loader import collate, unreadable
from segkit.training.setup import TrainingSession

FEW, BATCHES = 2, 16  # at least, and at most: from two batches of eight on Dice is within .02 of what all give, then .005
SHARE = 0.3  # of an epoch's batches; without a gradient one costs about a third of a step


def refresh_batch_norm(session: TrainingSession, epoch: int) -> None:
    """Take the statistics of what is validated anew, as the mean over the first batches of an epoch, augmented as in it.

    Several processes average theirs. Nothing is done for a model without batch norm that trains, and no random number drawn.

    Raises:
        SegkitError: a batch cannot be read.
    """
    components = session.components
    model, settings = components.eval_model, components.config.train
    layers = training_layers(model) if settings.batch_norm == "refreshed" else []
    if not layers:
        return
    with cumulative(layers), torch.no_grad(), torch.compiler.set_stance("force_eager"):
        for images in _first_batches(session, epoch):
            with components.accelerator.autocast():
                components.levels(images, model)
    if distributed.world_size() > 1:
        for name, statistic in (pair for layer in layers for pair in layer.named_buffers(recurse=False)):
            if name.startswith("running_"):
                torch.distributed.all_reduce(statistic)
                statistic /= distributed.world_size()


def training_layers(model: nn.Module) -> list[_BatchNorm]:
    """The batch norm layers that follow what they see in training, which those of a frozen encoder do not.

    The model is left in eval mode.
    """
    model.train()
    found = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.running_mean is not None
    ]
    model.eval()
    return found


@contextmanager
def cumulative(layers: list[_BatchNorm]) -> Iterator[None]:
    """Within the block these layers alone are in train mode, and average from scratch what they see.

    A layer that sees nothing, such as one of deep supervision, keeps what it had.
    """
    momenta = [layer.momentum for layer in layers]
    before = [{name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)} for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch's sign for a cumulative average
        layer.train()
    try:
        yield
    finally:
        for layer, momentum, buffers in zip(layers, momenta, before, strict=True):
            layer.momentum = momentum
            layer.eval()
            if not layer.num_batches_tracked:
                for name, buffer in buffers.items():
                    getattr(layer, name).copy_(buffer)


def _first_batches(session: TrainingSession, epoch: int) -> Iterator[Tensor]:
    """Images of the epoch's first batches, as the network was given them; of several processes each takes its share."""
    components, order = session.components, session.order
    order.epoch = epoch
    count = min(len(order), BATCHES, max(FEW, round(SHARE * len(order))))
    for indices in order.batches()[:count]:
        batch = collate([session.items[index] for index in indices])
        if not batch.ids:
            raise unreadable(batch)
        images, masks = batch.images.to(components.device), batch.masks.to(components.device)
        settings = components.config
        yield augment(images, masks, settings.augment, settings.train.seed, epoch, batch.ids)[0]
