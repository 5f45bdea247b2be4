"""augmented.png: the first batch of a training as the network is given it, with its masks."""

from __future__ import annotations

import torch

from segkit import distributed
from segkit.data.images import write_image
from segkit.reports.batch import draw_batch
from segkit.training.augmentation.augment import augment
from segkit.training.loader import collate
from segkit.training.setup import TrainingSession


def keep_batch_picture(session: TrainingSession) -> None:
    """Draw the batch of the first step into the run folder; the training itself is not touched.

    A batch that cannot be read is left to the training, which says so.
    """
    if not distributed.is_main():
        return
    components, order = session.components, session.order
    order.epoch, order.start = 1, 0
    batch = collate([session.items[index] for index in next(iter(order))])
    if not batch.ids:
        return
    config = components.config
    with torch.no_grad():
        images, masks = augment(
            batch.images.to(components.device),
            batch.masks.to(components.device),
            config.augment,
            config.train.seed,
            1,
            batch.ids,
        )
    title = f"first batch, augment {config.augment.policy}"
    picture = draw_batch(images.cpu().numpy(), masks.cpu().numpy(), components.mask_task.classes, title)
    write_image(session.run.batch_picture, picture)
