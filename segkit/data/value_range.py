"""Whether images use the range of values that a fixed scaling expects: 12 bits in a 16-bit file are seen as all but black.

A fixed scaling (`FIXED`) divides by what white is in the file's type: 255, or 65535. That is right only where the images
reach it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segkit.config.complete import Config, default_intensity
from segkit.data.intensity import white_of
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.specs import DatasetSpec
from segkit.task import Dataset

logger = logging.getLogger(__name__)

FIXED = ("scale255", "imagenet", "encoder")  # intensities that go by what white is in the type
BY_TYPE = (*FIXED, "none")  # those that do not go by the image's own values
INSTEAD: Literal["zscore"] = "zscore"  # what is chosen where the default is FIXED and the images do not reach white
LITTLE = {8: 1 / 8, 0: 1 / 2}  # share of the expected range below which values are too dark: of 8 bits, of other types
DARKER = {8: 1 / 8, 0: 0.3}  # as above, beside the images of the training
LOOKED_AT = 10  # cases, evenly spaced
MANY = 0.25  # share of them


@dataclass(frozen=True)
class ValueRange:
    """Smallest and largest value of an image, and what white is in its type (1 where nothing is scaled); bits: 8, or 0."""

    low: float
    high: float
    white: float
    bits: int

    @property
    def seen(self) -> tuple[float, float]:
        """What a network sees as smallest and largest value, as shares of white."""
        return self.low / self.white, self.high / self.white

    def fits(self, trained: tuple[float, float] | None = None) -> bool:
        """Whether the values use the range that is expected: that of the type, or that of the images of a training."""
        low, high = self.seen
        if self.low == self.high:
            return True  # a blank image has no range
        table = DARKER if trained else LITTLE
        first, last = trained or (0.0, 1.0)
        return first - 0.25 * (last - first) <= low and table.get(self.bits, table[0]) * last < high <= max(8 * last, 1.05)

    def in_words(self) -> str:
        span = f"from {self.low:.4g} to {self.high:.4g}" if self.low < 0 else f"up to {self.high:.4g}"
        return f"{span}, where white is {self.white:g} ({100 * self.seen[1]:.3g} % of their range)"


def range_of(image: NDArray[Any], intensity: str | None = "scale255") -> ValueRange:
    """The range of an image (C, *S) in stored units, for this intensity."""
    bits = 8 if image.dtype == np.uint8 else 0
    white = 1.0 if intensity == "none" else float(white_of(image.dtype))
    return ValueRange(float(image.min()), float(image.max()), white, bits)


def doubt_of(image: NDArray[Any], settings: Preprocess, trained: tuple[float, float] | None) -> str:
    """Why a prediction of this image may be wrong, in words; empty where it has the range of the training's images.

    Args:
        image: (C, *S) in stored units.
        settings: of the network.
        trained: `seen` over images of the training, None where it is not known.
    """
    if settings.intensity not in BY_TYPE or (trained is None and settings.intensity == "none"):
        return ""
    found = range_of(image, settings.intensity)
    if found.fits(trained or (0.0, 1.0)):
        return ""
    reached = "" if trained is None else f", those of the training's images up to {100 * trained[1]:.3g} %"
    return f"its values go {found.in_words()}{reached}: its mask may be wrong (intensity={settings.intensity})"


def misfit_of(ranges: Sequence[ValueRange]) -> ValueRange | None:
    """One that does not fit, where many do not."""
    odd = [one for one in ranges if not one.fits()]
    return max(odd, key=lambda one: one.high) if len(odd) >= max(1, MANY * len(ranges)) else None


def fit_to_values(config: Config, asked: str | None, dataset: Dataset) -> Config:
    """Choose an intensity that suits the values of the images, where none was asked for, and say so.

    Args:
        config: complete.
        asked: the intensity that was asked for; it is doubted, but stays.
        dataset: opened; some of its images are read where the intensity goes by their type.
    """
    intensity = str(config.preprocess.intensity)
    ranges = _ranges_of(dataset, intensity) if intensity in BY_TYPE else []
    if not ranges:
        return config
    odd = misfit_of(ranges) if intensity in FIXED else None
    words = f"the images' values go {odd.in_words()}" if odd else ""
    if odd and asked is None:
        logger.warning(f"{words}: intensity={INSTEAD} is used, not {intensity}. To change: -o preprocess.intensity=...")
        return replace(config, preprocess=replace(config.preprocess, intensity=INSTEAD, mean=None, std=None))
    if odd:
        logger.warning(f"{words}: intensity={asked} leaves them hard to see; -o preprocess.intensity={INSTEAD}")
    return replace(config, seen=(min(one.seen[0] for one in ranges), max(one.seen[1] for one in ranges)))


def usual_intensity(dataset: Dataset, spec: DatasetSpec) -> str:
    """The intensity that a training of this dataset takes where none is asked for."""
    intensity = default_intensity(spec)
    return INSTEAD if intensity in FIXED and misfit_of(_ranges_of(dataset, intensity)) else intensity


def _ranges_of(dataset: Dataset, intensity: str) -> list[ValueRange]:
    """Of some cases; one that cannot be read is named later, when it is used."""
    ranges = []
    for case in dataset.cases[:: max(1, -(-len(dataset.cases) // LOOKED_AT))]:
        try:
            ranges.append(range_of(read_case(dataset, case).image, intensity))
        except SegkitError:
            continue
    return ranges
