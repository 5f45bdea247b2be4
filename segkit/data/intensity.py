"""From stored gray values to what the network sees: one affine map per channel, found once and applied to any part.

Statistics are taken from the whole image; applying them to a window of it gives what applying them to the whole would, so
an image of any size can be normalised piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.words import counted

Array = NDArray[Any]
Floats = NDArray[np.float32]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP = (0.5, 99.5)  # percentiles
BLOCK = 4_000_000  # values at a time


@dataclass(frozen=True)
class Intensity:
    """values -> (values clipped to [low, high] - shift) / scale.

    Args:
        shift, scale: (C, 1, ...), or with the length of the slice axis where each slice has its own.
        low, high: as these, or None where nothing is clipped.
    """

    shift: Floats
    scale: Floats
    low: Floats | None = None
    high: Floats | None = None

    def __call__(self, values: Array) -> Floats:
        """(C, *S) in stored units -> float32."""
        result = values.astype(np.float32)
        if self.low is not None:
            np.clip(result, self.low, self.high, out=result)
        if self.shift.any():
            result -= self.shift
        result /= self.scale
        return result

    def within(self, box: Sequence[slice]) -> Intensity:
        """The map for a part of the image: one slice per axis of S."""

        def cut(values: Floats | None) -> Floats | None:
            if values is None:
                return None
            sides = zip(values.shape[1:], box, strict=True)
            return values[(slice(None), *(part if own > 1 else slice(None) for own, part in sides))]

        shift, scale = cut(self.shift), cut(self.scale)
        assert shift is not None and scale is not None
        return Intensity(shift, scale, cut(self.low), cut(self.high))


def intensity_of(image: Array, settings: Preprocess, slice_axis: int | None) -> Intensity:
    """How an image (C, *S) is normalised. Statistics are per channel, over the case or over each slice of it.

    `slice_axis` is that of S along which a volume's slices lie; None for an image. Which network sees it does not matter.

    Raises:
        SegkitError: the settings hold means for another number of channels.
    """
    kind, like = settings.intensity, (len(image), *[1] * (image.ndim - 1))
    over = tuple(range(1, image.ndim))
    if settings.intensity_per == "slice" and slice_axis is not None:
        over = tuple(axis for axis in over if axis != slice_axis + 1)
    zero, one = np.zeros(like, np.float32), np.ones(like, np.float32)
    if kind in ("scale255", "imagenet", "encoder"):
        full = white_of(image.dtype)
        if kind == "scale255":
            return Intensity(zero, one * full)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if kind == "imagenet" else (settings.mean or (), settings.std or ())
        if len(image) != len(mean):
            words = f"intensity={kind} needs {counted(len(mean), 'channel')}, not {len(image)}"
            raise SegkitError(f"{words}.", "-o preprocess.intensity=zscore")
        return Intensity(np.float32(full) * _column(mean, like), np.float32(full) * _column(std, like))
    if kind == "range":
        assert settings.range is not None, "complete() has seen to it"
        low, high = (one * np.float32(edge) for edge in settings.range)
        return Intensity(low, high - low, low, high)
    if kind == "zscore":
        mean = image.mean(over, keepdims=True, dtype=np.float64)
        return Intensity(_floats(mean), np.maximum(_floats(_deviation(image, mean, over)), 1e-6))
    if kind == "max":
        largest = np.maximum(_floats(image.max(over, keepdims=True)), -_floats(image.min(over, keepdims=True)))
        return Intensity(zero, np.maximum(largest, 1e-6))
    if kind == "minmax":
        low, high = _floats(image.min(over, keepdims=True)), _floats(image.max(over, keepdims=True))
        return Intensity(low, np.maximum(high - low, 1e-6))
    if kind == "percentile":
        exact = image if image.dtype.kind == "u" else image.astype(np.float32)  # signed differences could overflow
        low, high = _floats(np.percentile(exact, CLIP, axis=over, keepdims=True))
        return Intensity(low, np.maximum(high - low, 1e-6), low, high)
    return Intensity(zero, one)


def white_of(dtype: Any) -> int:
    """What a type's largest value stands for: 255 or 65535 of 8 and 16 bits (32767 if signed), 255 of all others."""
    return int(np.iinfo(dtype).max) if dtype.kind in "ui" and dtype.itemsize <= 2 else 255


def _deviation(image: Array, mean: NDArray[np.float64], over: Sequence[int]) -> NDArray[np.float64]:
    """The standard deviation, without a float copy of the whole image."""
    axis = over[0]
    step = max(1, BLOCK * image.shape[axis] // image.size)
    total = np.zeros_like(mean)
    for start in range(0, image.shape[axis], step):
        part = image[(slice(None),) * axis + (slice(start, start + step),)]
        total += ((part - mean) ** 2).sum(tuple(over), keepdims=True)
    return np.asarray(np.sqrt(total / np.prod([image.shape[ax] for ax in over])))


def _column(values: Sequence[float], like: Sequence[int]) -> Floats:
    return np.array(values, np.float32).reshape(like)


def _floats(values: Any) -> Floats:
    return np.asarray(values, np.float32)
