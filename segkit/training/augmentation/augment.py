"""Random changes of a whole batch on its own device: one resampling, then intensities.

What is drawn for a case depends on the run's seed, the epoch and the case alone, so it is the same for any number of
workers, in any batch of images of one size, and on any device (but for the noise, which each kind of device makes of its
seed in its own way). Images of several sizes are filled up to their batch's largest before. It is drawn case by case in
NumPy and applied to all cases at once, so the calls that a GPU is given are as many for one case as for a hundred; the
values differ between batches by rounding only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from segkit.settings import AUGMENT_STRENGTHS, Augment
from segkit.training.augmentation.photometric import Tone, adjust
from segkit.training.augmentation.spatial import Warp, warp


def augment(
    images: Tensor, masks: Tensor, settings: Augment, seed: int, epoch: int, ids: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Transform each case of a batch at random.

    Args:
        images: (B, C, *S) float, two or three spatial axes.
        masks: (B, *S) or (B, K, *S) integers.
        settings: complete (policy resolved into numbers).
        seed, epoch, ids: what the drawing depends on.

    Returns:
        New images and masks, moved alike (what comes from outside is 0), the images' values changed; the same ones where
        all strengths are 0.
    """
    if not any(getattr(settings, name) for name in AUGMENT_STRENGTHS):
        return images, masks
    warps, tones = zip(*(draw(settings, f"{seed}/{epoch}/{id}", images.ndim - 2) for id in ids), strict=True)
    images, masks = warp(images.contiguous(), masks, warps, settings)
    adjust(images, tones, settings, hashed(f"{seed}/{epoch}") >> 1)
    return images, masks


def draw(settings: Augment, key: str, dims: int) -> tuple[Warp, Tone]:
    """What happens to one case: uniform up to the strengths, factors uniform in their logarithm, each with its chance."""
    seed = hashed(key)
    generator = np.random.Generator(np.random.PCG64(seed))

    def strength(most: float | None) -> float:
        return (most or 0.0) if generator.random() < settings.chance else 0.0

    def signed(most: float) -> float:
        return most * (2 * generator.random() - 1)

    flips = tuple(bool(generator.random() < probability) for probability in _along_each_axis(settings.flip or 0.0, dims))
    turn = math.radians(strength(settings.rotate))
    angles = tuple(signed(turn) for _ in range(1 if dims == 2 else 3))
    scale = math.exp(signed(math.log1p(strength(settings.scale))))
    tone = Tone(
        brightness=signed(strength(settings.brightness)),
        contrast=math.exp(signed(math.log1p(strength(settings.contrast)))),
        gamma=math.exp(signed(math.log1p(strength(settings.gamma)))),
        noise=strength(settings.noise) * generator.random(),
        blur=strength(settings.blur) * generator.random(),
        seed=seed >> 1,
    )
    elastic, bends = strength(settings.elastic), None
    if elastic:  # drawn last: its many numbers shift no others
        bends = elastic * (2 * generator.random((settings.elastic_grid,) * dims + (dims,)) - 1)
    return Warp(flips, angles, scale, bends), tone


def hashed(key: str) -> int:
    """A number below 2^64 of a text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _along_each_axis(flip: float | tuple[float, ...], dims: int) -> tuple[float, ...]:
    return flip if isinstance(flip, tuple) else (flip,) * dims
