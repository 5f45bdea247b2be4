"""Brightness, contrast, gamma, noise and blur of a whole batch, in 2D and in 3D alike.

Everything is measured against each channel's own mean, standard deviation and range, so a strength means the same after
any normalisation, and a constant channel stays as it is. Each change takes the cases that it was drawn for out of the
batch and puts them back changed: cases that are left alone cost nothing, and the number of operator calls does not
grow with that of cases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segkit.settings import Augment
from segkit.training.augmentation.transfer import to_device

TRUNCATE = 3.0  # standard deviations at which the blur's kernel ends
SMALLEST = 1e-12  # range of a constant channel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tone:
    """How the values of one case are changed.

    Args:
        brightness: what is added, in standard deviations.
        contrast: what the distance from the mean is multiplied by.
        gamma: exponent of the values between their smallest (0) and largest (1).
        noise: standard deviation of Gaussian noise, in the image's own.
        blur: standard deviation of a Gaussian, in voxels.
        seed: below 2^63: where in the field of noise (see `adjust`) that of this case begins.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    blur: float = 0.0
    seed: int = 0


class Change(NamedTuple):
    """A change of some cases of a batch.

    Args:
        apply: takes these cases (R, C, *S) and what was drawn for them, and changes them in place.
        rows: which cases.
        drawn: what was drawn for each of them, (R, ...).
    """

    apply: Callable[..., object]
    rows: NDArray[np.int64]
    drawn: tuple[NDArray[Any], ...]


def adjust(images: Tensor, tones: Sequence[Tone], settings: Augment, seed: int) -> None:
    """Change the values of a batch (B, C, *S), in place, one after the other as `Tone` names them.

    Args:
        images: contiguous.
        tones: one for each case.
        settings: complete; they bound what was drawn, and what has strength 0 there is left out.
        seed: of the field of noise, below 2^63: as many normal numbers as an image has values, in a circle. All cases of a
            batch read it, each from a place of its own, so a case's noise does not depend on the others. On another kind
            of device the same seed gives other noise.
    """
    changes = list(_changes(tones, settings, images[0].numel(), seed))
    kind = np.float64 if images.dtype == torch.float64 else np.float32
    arrays = [
        one.astype(kind) if one.dtype == np.float64 else one for change in changes for one in (change.rows, *change.drawn)
    ]
    tensors = iter(to_device(arrays, images.device))
    for change in changes:
        rows, *drawn = (next(tensors) for _ in range(1 + len(change.drawn)))
        if np.array_equal(change.rows, np.arange(len(images))):  # all of them need not be taken out
            change.apply(images, *drawn)
            continue
        chosen = images.index_select(0, rows)
        change.apply(chosen, *drawn)
        images.index_copy_(0, rows, chosen)


def _changes(tones: Sequence[Tone], settings: Augment, values: int, seed: int) -> Iterator[Change]:
    """What is done to a batch of images of so many values, in order."""
    brightness, contrast, gamma, noise, blur = np.array([astuple(tone)[:5] for tone in tones]).T
    if settings.brightness or settings.contrast:
        rows = np.flatnonzero((brightness != 0) | (contrast != 1))
        yield Change(_change_contrast, rows, (brightness[rows], contrast[rows]))
    if settings.gamma:
        rows = np.flatnonzero(gamma != 1)
        yield Change(_apply_gamma, rows, (gamma[rows],))
    if settings.noise:
        rows = np.flatnonzero(noise)
        starts = np.array([tone.seed % values for tone in tones])
        yield Change(partial(_add_noise, seed=seed), rows, (noise[rows], starts[rows]))
    if settings.blur:
        rows = np.argsort(-blur, kind="stable")[: np.count_nonzero(blur)]  # the widest first
        weights = _gaussians(blur[rows], int(TRUNCATE * settings.blur + 0.5))
        yield Change(partial(_blur, cases=np.count_nonzero(weights, axis=0).tolist()), rows, (weights,))


def _each(drawn: Tensor, images: Tensor) -> Tensor:
    """(R,) -> (R, 1, 1, ...), so that it meets each case's values."""
    return drawn.view(-1, *[1] * (images.ndim - 1))


def _mean(images: Tensor) -> Tensor:
    """Of each channel, (R, C, 1, ...)."""
    return images.mean(tuple(range(2, images.ndim)), keepdim=True)


def _deviation(images: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation of each channel, (R, C, 1, ...). In two passes: torch.std takes ten times as long on a CPU."""
    axes = tuple(range(2, images.ndim))
    distance: Tensor = torch.linalg.vector_norm(images - mean, dim=axes, keepdim=True)
    return distance / math.sqrt(images.shape[2:].numel())


def _change_contrast(images: Tensor, brightness: Tensor, contrast: Tensor) -> None:
    mean, factor = _mean(images), _each(contrast, images)
    shift = mean * (1 - factor) + _each(brightness, images) * _deviation(images, mean)
    images.mul_(factor).add_(shift)


def _apply_gamma(images: Tensor, gamma: Tensor) -> None:
    """Powers by way of logarithms: as exact, and several times as fast on a CPU as torch.pow."""
    axes = tuple(range(2, images.ndim))
    low = images.amin(axes, keepdim=True)
    extent = (images.amax(axes, keepdim=True) - low).clamp_min_(SMALLEST)
    images.sub_(low).div_(extent).log_().mul_(_each(gamma, images)).exp_()
    images.mul_(extent).add_(low)


def _add_noise(images: Tensor, noise: Tensor, starts: Tensor, seed: int) -> None:
    if not len(images):  # the field is dear, and nobody reads it
        return
    size = images.shape[1:].numel()
    generator = torch.Generator(images.device).manual_seed(seed)
    field = torch.randn(size, generator=generator, device=images.device, dtype=images.dtype)
    own = torch.cat([field, field[:-1]]).unfold(0, size, 1).index_select(0, starts)
    images.addcmul_(own.view(images.shape), _each(noise, images) * _deviation(images, _mean(images)))


def _gaussians(sigmas: Floats, radius: int) -> Floats:
    """Weights of each tap, (R, 2 * radius + 1); 0 beyond a case's own radius.

    >>> _gaussians(np.array([1e-9, 0.4]), 2).round(4)
    array([[0.    , 0.    , 1.    , 0.    , 0.    ],
           [0.    , 0.0404, 0.9192, 0.0404, 0.    ]])
    """
    steps = np.arange(-radius, radius + 1)
    within = np.abs(steps) <= (TRUNCATE * sigmas[:, None] + 0.5).astype(int)
    weights = np.where(within, np.exp(-0.5 * np.square(steps / sigmas[:, None])), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _blur(images: Tensor, weights: Tensor, cases: Sequence[int]) -> None:
    """A Gaussian along one axis after the other; the border's values go on outside. Weighted sums of shifted views.

    Args:
        images: (R, C, *S), the most blurred first.
        weights: (R, taps).
        cases: of each tap, how many of the first cases it has a weight for.
    """
    radius = len(cases) // 2
    for axis, side in enumerate(images.shape[2:], start=2):
        around = [0] * 2 * (images.ndim - 1 - axis) + [radius, radius] + [0] * 2 * (axis - 2)
        padded = functional.pad(images, around, mode="replicate")
        images.mul_(_each(weights[:, radius], images))
        for tap, count in enumerate(cases):
            if tap != radius:
                shifted = padded[:count].narrow(axis, tap, side)
                images[:count].addcmul_(shifted, _each(weights[:count, tap], images))
