"""What the values in a user's masks mean, as far as it can be inferred."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segkit.api import UsageError
from segkit_datasets.mask_levels import Histogram, between, flat_histogram, gray_levels
from segkit_datasets.object_numbers import are_object_numbers
from segkit_datasets.reading import COLOUR, read_labels, readable

LARGEST_LABEL = 63  # above, mask values are taken for gray levels
SOFT_EDGES = 0.05  # share of pixels between two values up to which they are soft edges of a binary mask
MOST_COLOURS = 64  # more, and the mask is a photograph
BORDER = 255  # beside small labels: the border that PASCAL VOC leaves out
NOISE = 16  # gray values of one mask; more are noise, or soft edges
SHOWN = 40  # values that a hint lists

LOSSLESS = "JPEG is lossy and changes the values of a mask; save masks as PNG."


def value_of(text: str) -> int:
    """A mask value as typed: a number, or a colour #rrggbb; a gray one is the number that gray files hold.

    >>> value_of("7"), value_of("#ffffff"), value_of("#0000ff") == COLOUR + 255
    (7, 255, True)
    """
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        red, green, blue = (int(text[start : start + 2], 16) for start in (1, 3, 5))
        return red if red == green == blue else COLOUR + int(text[1:], 16)
    if text.isdecimal():
        return int(text)
    raise UsageError(f"dataset.values: {text!r} is neither a number nor a colour like #ff0000.", "1+ is 1 and above.")


def in_words(value: int) -> str:
    """The inverse of `value_of`.

    >>> in_words(65535), in_words(COLOUR + 255)
    ('65535', '#0000ff')
    """
    return f"#{value - COLOUR:06x}" if value >= COLOUR else str(value)


def is_lossy(mask: Path) -> bool:
    return mask.suffix.lower() in (".jpg", ".jpeg")


def infer_values(masks: Sequence[Path], ignore: int | None) -> tuple[tuple[str, ...], int | None]:
    """The value of each class, background first, and the value to ignore, from looking at masks.

    JPEG masks hold noise, so they are used only where there is nothing else.

    Raises:
        UsageError: the values could mean anything, or number objects.
    """
    exact = [mask for mask in masks if not is_lossy(mask)]
    chosen = exact or list(masks)
    seen = readable(chosen, lambda mask: _look(mask, ignore))
    each = [own for own, _ in seen]
    counts = sum(each, Counter[int]())
    found = sorted(counts) or [0]
    if found[0] < 0:
        raise UsageError(f"The masks hold negative values ({found[0]}); labels start at 0.", "Save them as PNG or uint8.")
    if exact and are_object_numbers(exact, each):
        raise _object_numbers(found)
    if found[-1] >= COLOUR:
        return _colours(counts, bool(exact)), None
    if found == [0]:
        return ("0", "255"), None
    noisy = not exact or (found[-1] > LARGEST_LABEL and max(map(len, each)) > NOISE)
    levels = gray_levels(sum(flat for _, flat in seen)) if noisy and found[-1] > LARGEST_LABEL else []
    if between(levels, found[0], found[-1]):
        raise _several_levels(levels, bool(exact))
    if not exact:
        if found[-1] <= LARGEST_LABEL:
            raise UsageError(f"The masks are JPEG files with values up to {found[-1]} only.", LOSSLESS)
        return ("0", "255"), None
    if len(found) <= 2 or _has_soft_edges(counts):
        return (str(found[0] if len(found) > 1 else 0), str(found[-1])), None
    if ignore is None and found[-1] == BORDER and found[-2] <= LARGEST_LABEL and _together(each):
        return _labels(found[:-1]), BORDER
    if found[-1] <= LARGEST_LABEL:
        return _labels(found), None
    raise _unclear(found)


def _look(mask: Path, ignore: int | None) -> tuple[Counter[int], Histogram]:
    """Pixels of each value, and what is flat of a gray mask with noise or soft edges."""
    labels = read_labels(mask)
    counts = Counter(dict(zip(*map(np.ndarray.tolist, np.unique(labels, return_counts=True)), strict=True)))
    if ignore is not None:
        counts.pop(ignore, None)
    top = max(counts, default=0)
    flat: NDArray[np.int64] = np.zeros(256, np.int64)
    if LARGEST_LABEL < top < COLOUR and (len(counts) > 2 or is_lossy(mask)):
        flat = flat_histogram(labels if top <= 255 else labels * (255 / top))
    return counts, flat


def _together(each: Sequence[Counter[int]]) -> bool:
    """Whether a mask holds the border's value beside a label."""
    return any(BORDER in own and any(0 < value <= LARGEST_LABEL for value in own) for own in each)


def _labels(found: Sequence[int]) -> tuple[str, ...]:
    """The values that occur, and 0 for the background."""
    return tuple(str(value) for value in sorted({0, *found}))


def _has_soft_edges(counts: Counter[int]) -> bool:
    """Two gray values with few pixels between them, of many levels: one or two levels alone would be classes."""
    found = sorted(counts)
    passed = counts.total() - counts[found[0]] - counts[found[-1]]
    return (
        found[-1] > LARGEST_LABEL and len(found) > 4 and passed <= SOFT_EDGES * counts.total() and found[-2] > LARGEST_LABEL
    )


def _colours(counts: Counter[int], exact: bool) -> tuple[str, ...]:
    if len(counts) > MOST_COLOURS or not exact:
        raise UsageError(
            f"The masks hold {len(counts)} colours; they look like photographs, or were saved as JPEG.",
            "Is dataset.masks the right folder? Masks with colour codes must be PNG; of JPEG files each pixel takes the "
            "nearest of the colours that you type: -o dataset.values=#000000,#ff0000",
        )
    ordered = sorted(counts, key=lambda value: (value != 0, -counts[value]))  # black first, else the commonest
    return tuple(in_words(value) if value >= COLOUR else f"#{value:02x}{value:02x}{value:02x}" for value in ordered)


def _object_numbers(found: Sequence[int]) -> UsageError:
    return UsageError(
        f"The masks seem to number objects (instances), not classes: {len(found) - 1} numbers, up to {in_words(found[-1])}.",
        "One class of all objects: -o dataset.values=0,1+ (everything from 1 on)."
        + (f" If they are classes: -o dataset.values={','.join(map(in_words, found))}" if len(found) <= SHOWN else ""),
    )


def _several_levels(levels: Sequence[int], exact: bool) -> UsageError:
    """Of a mask of several classes whose values noise has blurred."""
    ends = [0 if level < NOISE else BORDER if level > BORDER - NOISE else level for level in levels]
    typed = ",".join(map(str, ends))
    where = "as if they had been saved as JPEG once" if exact else "and are JPEG files"
    return UsageError(
        f"The masks hold several gray levels with noise around them ({', '.join(map(str, ends))}), {where}.",
        f"{LOSSLESS} As they are, each pixel takes the nearest value: -o dataset.values={typed}; "
        f"one class: -o dataset.values=0,{ends[1]}+",
    )


def _unclear(found: Sequence[int]) -> UsageError:
    shown = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
    typed = ",".join(map(str, found)) if len(found) <= 12 else "0,128,255"
    return UsageError(
        f"What the mask values mean cannot be inferred: {shown}.",
        "One class with blurred edges: -o dataset.values=0,255. Everything above 0: -o dataset.values=0,1+. Several "
        f"classes: -o dataset.values={typed}, and their names: -o dataset.classes=background,tumour,organ",
    )
