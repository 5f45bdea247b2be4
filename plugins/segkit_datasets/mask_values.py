"""What the values in a user's masks mean, as far as it can be inferred."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.api import UsageError
from segkit_datasets.reading import read_labels, readable

LARGEST_LABEL = 63  # above, mask values are taken for gray levels
SOFT_EDGES = 0.05  # share of pixels between two values up to which they are soft edges of a binary mask
MOST_COLOURS = 64  # more, and the mask is a photograph
BORDER = 255  # beside small labels: the border that PASCAL VOC leaves out


def value_of(text: str) -> int:
    """A mask value as typed: a number, or a colour #rrggbb as 0xRRGGBB.

    >>> value_of("7"), value_of("#0000ff")
    (7, 255)
    """
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        return int(text[1:], 16)
    if text.isdecimal():
        return int(text)
    raise UsageError(f"dataset.values: {text!r} is neither a number nor a colour like #ff0000.")


def infer_values(masks: Sequence[Path], ignore: int | None) -> tuple[tuple[str, ...], int | None]:
    """The value of each class, background first, and the value to ignore, from looking at masks.

    JPEG masks hold noise, so they are used only where there is nothing else.

    Raises:
        UsageError: the values could mean anything.
    """
    exact = [mask for mask in masks if mask.suffix.lower() not in (".jpg", ".jpeg")]
    counts, together = Counter[int](), False
    for labels in readable(exact or masks, read_labels):
        values, numbers = np.unique(labels, return_counts=True)
        counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        together |= BORDER in values and bool(((values > 0) & (values <= LARGEST_LABEL)).any())
    counts.pop(ignore, None) if ignore is not None else None
    found = sorted(counts)
    if found[-1] > 255:
        return _colours(counts, bool(exact)), None
    if found == [0] or (not exact and found[-1] > LARGEST_LABEL):
        return ("0", "255"), None
    if exact and (len(found) <= 2 or _has_soft_edges(counts)):
        return (str(found[0] if len(found) > 1 else 0), str(found[-1])), None
    if together and found[-2] <= LARGEST_LABEL and ignore is None:
        return _labels(found[:-1]), BORDER
    if exact and found[-1] <= LARGEST_LABEL:
        return _labels(found), None
    shown = ", ".join(map(str, found[:12])) + (", ..." if len(found) > 12 else "")
    raise UsageError(
        f"What the mask values mean cannot be inferred: {shown}.",
        "One class with blurred edges: -o dataset.values=0,255. Several classes: "
        "-o dataset.classes=background,tumour,organ -o dataset.values=0,128,255",
    )


def _labels(found: Sequence[int]) -> tuple[str, ...]:
    """The values that occur, and 0 for the background."""
    return tuple(str(value) for value in sorted({0, *found}))


def _has_soft_edges(counts: Counter[int]) -> bool:
    """Two gray values with few pixels between them, of many levels: one or two levels alone would be classes."""
    found = sorted(counts)
    between = counts.total() - counts[found[0]] - counts[found[-1]]
    return (
        found[-1] > LARGEST_LABEL and len(found) > 4 and between <= SOFT_EDGES * counts.total() and found[-2] > LARGEST_LABEL
    )


def _colours(counts: Counter[int], exact: bool) -> tuple[str, ...]:
    if len(counts) > MOST_COLOURS or not exact:
        raise UsageError(
            f"The masks hold {len(counts)} colours; they look like photographs, or were saved as JPEG.",
            "Is dataset.masks the right folder? Masks with colour codes must be PNG.",
        )
    ordered = sorted(counts, key=lambda value: (value != 0, -counts[value]))  # black first, else the commonest
    return tuple(f"#{value:06x}" for value in ordered)
