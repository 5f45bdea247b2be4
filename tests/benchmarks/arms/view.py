"""What a network of the bare loop sees of a case: an image or slices of 128 pixels, or a padded volume; and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from arms.job import Labels
from segkit.task import Sample

SIZE = 128  # of images and slices that are larger
ANISOTROPIC = 3.0  # largest spacing over smallest from which on a volume is a stack of slices


@dataclass(frozen=True)
class View:
    """Of all cases of a set.

    Args:
        axis: of the volume along which slices are taken; None for images, and for volumes seen whole.
        size: what the network sees, at least.
        pad: zeros around to this size, or a multiple of 16 or 32 above it; else stretched to it.
    """

    axis: int | None
    size: tuple[int, ...]
    pad: bool

    @property
    def dims(self) -> int:
        return len(self.size)


def choose_view(samples: Sequence[Sample], slices: bool) -> View:
    """Volumes are seen whole, or as slices along the coarse axis where they are anisotropic or the network is 2D."""
    first = samples[0]
    axis = None
    if first.image.ndim == 4:
        spacing = first.spacing or (1.0, 1.0, 1.0)
        coarse = max(range(3), key=lambda axis: (spacing[axis], axis))
        axis = coarse if slices or max(spacing) / min(spacing) >= ANISOTROPIC else None
    sides = [[side for number, side in enumerate(sample.image.shape[1:]) if number != axis] for sample in samples]
    largest = [max(column) for column in zip(*sides, strict=True)]
    if len(largest) == 2 and max(largest) > SIZE:
        return View(axis, (SIZE, SIZE), pad=False)
    return View(axis, tuple(_up(side, len(largest)) for side in largest), pad=True)


def image_tensor(sample: Sample, view: View) -> Tensor:
    """(C, *S) in stored units -> (N, C, *size) of mean 0 and standard deviation 1 over each channel of the case."""
    image = torch.from_numpy(sample.image.astype(np.float32))
    over = tuple(range(1, image.ndim))
    image = (image - image.mean(over, keepdim=True)) / image.std(over, keepdim=True).clamp_min(1e-6)
    return _framed(image, view, "bilinear")


def mask_tensor(sample: Sample, view: View) -> Tensor:
    """(*S) -> (N, *size) integers."""
    assert sample.mask is not None
    return _framed(torch.from_numpy(sample.mask.astype(np.float32))[None], view, "nearest-exact")[:, 0].long()


def labels_of(logits: Tensor, sample: Sample, view: View) -> Labels:
    """(N, K, *size) -> (*S): the logits are resampled, then labelled."""
    sides = [side for number, side in enumerate(sample.image.shape[1:]) if number != view.axis]
    if view.pad:
        logits = logits[(..., *(slice(side) for side in sides))]
    else:
        logits = functional.interpolate(logits, sides, mode="bilinear")
    labels = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(1)
    stack = labels[0] if view.axis is None else labels.movedim(0, view.axis)
    found: Labels = stack.numpy().astype(np.uint8)
    return found


def _framed(image: Tensor, view: View, mode: str) -> Tensor:
    image = image[None] if view.axis is None else image.movedim(view.axis + 1, 0)  # (N, C, *S)
    sides = image.shape[2:]
    if not view.pad:
        return functional.interpolate(image, view.size, mode=mode, antialias=mode == "bilinear")
    size = [max(least, _up(side, view.dims)) for least, side in zip(view.size, sides, strict=True)]
    missing = [number for side, wanted in zip(reversed(sides), reversed(size), strict=True) for number in (0, wanted - side)]
    return functional.pad(image, missing)


def _up(side: int, dims: int) -> int:
    """To a multiple of what the networks halve: five times in 2D, four times in 3D."""
    unit = 32 if dims == 2 else 16
    return -(-side // unit) * unit
