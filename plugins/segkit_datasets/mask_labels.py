"""From the values of a mask file to class numbers, as `dataset.values` says them; what fits none is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segkit.api import SegkitError
from segkit_datasets.mask_levels import APART, WIDTH, between, flat_histogram, gray_levels
from segkit_datasets.mask_values import LARGEST_LABEL, LOSSLESS, NOISE, in_words, is_lossy, value_of
from segkit_datasets.reading import COLOUR, read_labels

IGNORED = 255  # the label of what is left out
GRAY = 16  # two values closer than this are labels, and nothing lies between them
STRANGE = 100.0, 0.2  # distance of a colour from all that were typed, and the share of such pixels that is no noise


@dataclass(frozen=True)
class Coding:
    """How masks are coded.

    Args:
        values: of each class, as typed: a number, a colour, or "1+" for 1 and above.
        ignore: value that is left out.
        named: what names the values, for errors.
        remedy: what to do about a value that is not among them; {values} are these and it.
    """

    values: tuple[str, ...]
    ignore: int | None = None
    named: str = "dataset.values"
    remedy: str = "If that is a class: -o dataset.values={values}"

    @property
    def numbers(self) -> list[int]:
        return [value_of(value.removesuffix("+")) for value in self.values]

    @property
    def is_threshold(self) -> bool:
        """Two gray values: what lies between them is a soft edge or the noise of JPEG, and is rounded."""
        plain = all(value.isdecimal() for value in self.values)
        return len(self.values) == 2 and self.ignore is None and plain and abs(np.diff(self.numbers)[0]) >= GRAY


def labels_in(path: Path, coding: Coding, upright: bool = True) -> NDArray[np.int32]:
    """(*S) class numbers of a mask file; 255 where it is ignored.

    Raises:
        SegkitError: it cannot be read, or holds values that stand for no class.
    """
    stored, numbers = read_labels(path, upright), coding.numbers
    if coding.is_threshold:
        _refuse_other_coding(path, stored, *sorted(numbers))
        if stored.min() >= min(numbers) and stored.max() <= max(numbers):
            return _nearest(stored, coding)
    labels = np.full_like(stored, -1)
    for label, (number, text) in enumerate(zip(numbers, coding.values, strict=True)):
        labels[stored >= number if text.endswith("+") else stored == number] = label
    if coding.ignore is not None:
        labels[stored == coding.ignore] = IGNORED
    strange = np.unique(stored[labels < 0])
    if not len(strange):
        return labels
    if is_lossy(path) or len(strange) > NOISE:
        return _without_noise(path, stored, coding)
    raise _strange(path, strange.tolist(), coding)


def _nearest(stored: NDArray[np.int32], coding: Coding) -> NDArray[np.int32]:
    """Each pixel's class by the nearest value; colours by their distance in RGB."""
    best, labels = np.full(stored.shape, np.inf), np.zeros_like(stored)
    candidates = [*zip(coding.numbers, coding.values, range(len(coding.values)), strict=True)]
    candidates += [(coding.ignore, "", IGNORED)] if coding.ignore is not None else []
    for number, text, label in candidates:
        distance = _distance(stored, number, open_ended=text.endswith("+"))
        labels[distance < best] = label
        best = np.minimum(best, distance)
    return labels


def _distance(stored: NDArray[np.int32], number: int, open_ended: bool) -> NDArray[Any]:
    if open_ended:
        return np.maximum(0, number - stored)
    if number < COLOUR and stored.max() < COLOUR:
        return np.abs(stored - number)
    return np.sqrt(sum((one - other) ** 2 for one, other in zip(_rgb(stored), _rgb(np.array(number)), strict=True)))


def _rgb(values: NDArray[Any]) -> list[NDArray[Any]]:
    return [np.where(values >= COLOUR, values >> shift & 255, values).astype(float) for shift in (16, 8, 0)]


def _without_noise(path: Path, stored: NDArray[np.int32], coding: Coding) -> NDArray[np.int32]:
    """Labels of a mask that was saved as JPEG, if its levels are those that were typed."""
    numbers = sorted(coding.numbers)
    if stored.max() >= COLOUR or numbers[-1] >= COLOUR:
        away = np.min([_distance(stored, number, open_ended=False) for number in numbers], axis=0)
        if (away > STRANGE[0]).mean() > STRANGE[1]:
            raise SegkitError(f"{path} holds other colours than {coding.named} ({', '.join(coding.values)}).", LOSSLESS)
        return _nearest(stored, coding)
    if min(np.diff(numbers), default=GRAY) < GRAY:
        closest = f"{coding.named} ({', '.join(coding.values)}) lie too close together to be told apart in it"
        raise SegkitError(f"{path} holds noise, as JPEG leaves it; {closest}.", LOSSLESS)
    known = [*numbers, *([coding.ignore] if coding.ignore is not None else [])]
    levels = gray_levels(flat_histogram(stored))
    others = [level for level in levels if min(abs(level - number) for number in known) > WIDTH]
    others = [level for level in others if not (coding.values[-1].endswith("+") and level >= coding.numbers[-1])]
    if others:
        raise _strange(path, others, coding, around="values around ")
    return _nearest(stored, coding)


def _refuse_other_coding(path: Path, stored: NDArray[np.int32], low: int, high: int) -> None:
    """A mask of 0 and 1 among those of 0 and 255 would silently be empty, a third level go to one side."""
    if not is_lossy(path) and high > LARGEST_LABEL >= int(stored.max()) > low:
        words = f"holds values up to {stored.max()} only, where {high} is the foreground"
        raise SegkitError(f"{path} {words}.", "Masks of one dataset must be coded alike.")
    third = _third_levels(stored, low, high, is_lossy(path))
    if third:
        level, others = third[0], ",".join(map(str, (low, *third, high)))
        raise SegkitError(
            f"{path} holds a level of its own between {low} and {high}: {level}.",
            f"Another class: -o dataset.values={others}. The same as {high}: -o dataset.values={low},{level}+",
        )


def _third_levels(stored: NDArray[np.int32], low: int, high: int, lossy: bool) -> list[int]:
    """Levels between two that are areas, not edges."""
    if ((stored == low) | (stored == high)).all():
        return []
    if lossy:
        return between(gray_levels(flat_histogram(stored)), low, high)
    flat = ndimage.maximum_filter(stored, 3) == ndimage.minimum_filter(stored, 3)
    margin = APART * (high - low) / 255
    inside = stored[flat & (stored > low + margin) & (stored < high - margin)]
    return np.unique(inside).tolist()[:4] if inside.size else []


def _strange(path: Path, strange: Sequence[int], coding: Coding, around: str = "") -> SegkitError:
    shown = around + ", ".join(map(in_words, strange[:8])) + (", ..." if len(strange) > 8 else "")
    together = sorted({*coding.numbers, *strange})
    hint = coding.remedy.format(values=",".join(map(in_words, together))) if len(together) <= NOISE else ""
    if IGNORED in strange and coding.ignore is None and max(coding.numbers) <= LARGEST_LABEL:
        hint += f" If nothing is to look at it: -o dataset.ignore={IGNORED}"
    hint += f" {LOSSLESS}" if is_lossy(path) else ""
    return SegkitError(
        f"{path} holds {shown}, which are not among {coding.named} ({', '.join(coding.values)}).", hint.strip()
    )
