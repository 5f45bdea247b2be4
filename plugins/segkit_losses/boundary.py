"""The boundary loss: how far from the truth's boundary the prediction lies, on the wrong side or the right one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from segkit.api import NoOptions, Task
from segkit_losses.soft import classes_of


class Boundary(nn.Module):
    """Logits (B, K, *S) and a mask -> mean of p phi over the pixels of the foreground classes (Kervadec 2019, eq. 5).

    phi is the distance in pixels to the truth's boundary, negative inside; 0 everywhere where a case has none of the class.
    A perfect prediction costs less than 0. It says little by itself while nothing is found: use it in a sum with a loss of
    regions, as the paper does (`--loss sum -o loss.of=dice+0.01*boundary`).
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        found = classes_of(logits, target, self.task)
        truth = found.truth.detach().cpu().numpy() > 0
        maps = np.stack([np.stack([signed_distance(layer) for layer in case]) for case in truth])
        distances = torch.from_numpy(maps).to(found.probabilities)
        return (found.probabilities * distances).sum() / found.count


def signed_distance(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pixels to the boundary, from 1 on outside and from 0 down inside; all 0 for an empty mask or a full one.

    >>> signed_distance(np.array([False, False, True, True, False])).tolist()
    [2.0, 1.0, -0.0, -0.0, 1.0]
    """
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    outside, inside = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    return np.asarray(np.where(mask, -(inside - 1), outside), dtype=float)


def build_boundary(task: Task, options: NoOptions) -> nn.Module:
    return Boundary(task)
