"""Brightness, contrast, gamma, noise and blur of one case, in 2D and in 3D alike.

Everything is measured against each channel's own mean, standard deviation and range, so a strength means the same after
any normalisation, and a constant channel stays as it is. Case by case, in place: it is then in the processor's cache, and
its sums, hence its values, are the same in any batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

TRUNCATE = 3.0  # standard deviations at which the blur's kernel ends
SMALLEST = 1e-12  # range of a constant channel


@dataclass(frozen=True)
class Tone:
    """How the values of one case are changed.

    Args:
        brightness: what is added, in standard deviations.
        contrast: what the distance from the mean is multiplied by.
        gamma: exponent of the values between their smallest (0) and largest (1).
        noise: standard deviation of Gaussian noise, in the image's own.
        blur: standard deviation of a Gaussian, in voxels.
        seed: of the noise, below 2^63. On another kind of device the same seed gives other noise.
    """

    brightness: float = 0.0
    contrast: float = 1.0
    gamma: float = 1.0
    noise: float = 0.0
    blur: float = 0.0
    seed: int = 0


def adjust(image: Tensor, tone: Tone) -> None:
    """Change the values of an image (C, *S), in place, one after the other as `Tone` names them."""
    if tone.brightness or tone.contrast != 1:
        mean = _mean(image)
        shift = mean * (1 - tone.contrast)
        if tone.brightness:
            shift += tone.brightness * _deviation(image, mean)
        image.mul_(tone.contrast).add_(shift)
    if tone.gamma != 1:
        _apply_gamma(image, tone.gamma)
    if tone.noise:
        deviation = tone.noise * _deviation(image, _mean(image))
        generator = torch.Generator(image.device).manual_seed(tone.seed)
        noise = torch.randn(image.shape, generator=generator, device=image.device, dtype=image.dtype)
        image.add_(noise.mul_(deviation))
    if tone.blur:
        _blur(image, tone.blur)


def _mean(image: Tensor) -> Tensor:
    """Of each channel, (C, 1, ...)."""
    return image.mean(tuple(range(1, image.ndim)), keepdim=True)


def _deviation(image: Tensor, mean: Tensor) -> Tensor:
    """Standard deviation of each channel, (C, 1, ...). In two passes: torch.std takes twenty times as long on a CPU."""
    return _mean((image - mean).square_()).sqrt_()


def _apply_gamma(image: Tensor, gamma: float) -> None:
    axes = tuple(range(1, image.ndim))
    low = image.amin(axes, keepdim=True)
    extent = (image.amax(axes, keepdim=True) - low).clamp_min_(SMALLEST)
    image.sub_(low).div_(extent).pow_(gamma).mul_(extent).add_(low)


def _blur(image: Tensor, sigma: float) -> None:
    """A Gaussian along one axis after the other; the border's values go on outside. Weighted sums of shifted views."""
    radius = int(TRUNCATE * sigma + 0.5)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(-radius, radius + 1)]
    weights = [weight / sum(weights) for weight in weights]
    for axis, side in enumerate(image.shape[1:]):
        around = [0] * 2 * axis + [radius, radius] + [0] * 2 * (image.ndim - 2 - axis)  # reversed is what pad wants
        padded = functional.pad(image[None], around[::-1], mode="replicate")[0]
        torch.mul(padded.narrow(axis + 1, 0, side), weights[0], out=image)
        for start, weight in enumerate(weights[1:], start=1):
            image.add_(padded.narrow(axis + 1, start, side), alpha=weight)
