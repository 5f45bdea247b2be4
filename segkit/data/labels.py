"""From the numbers of a mask file to labels: whole numbers, or refused with the value and how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError

WHOLE = 5e-3  # distance from a whole number up to which it is that number: what scaling and 32-bit floats leave
LARGEST = np.iinfo(np.int32).max


def whole_numbers(values: NDArray[Any], path: Path) -> NDArray[np.int32]:
    """Labels of a mask as read; .99998, as a scaled file holds it, is 1.

    Args:
        values: numbers of any type.
        path: of the file, for the error.

    Raises:
        SegkitError: some lie between whole numbers, or are too large for a label.
    """
    rounded = np.round(values) if values.dtype.kind == "f" else values
    if values.dtype.kind == "f":
        between = np.abs(values - rounded) > WHOLE
        count = int(between.sum())
        if count:
            first = f"{values[between].flat[0]:.6g}"
            which = f"{count} values between whole numbers, the first {first}" if count > 1 else f"1 value of {first}"
            raise SegkitError(
                f"{path} holds {which}; the labels of a mask are whole numbers.",
                "Masks are resampled by nearest neighbour, never by linear interpolation.",
            )
    if values.size and max(abs(int(rounded.min())), int(rounded.max())) > LARGEST:
        raise SegkitError(f"{path} holds values up to {rounded.max():.0f}; labels go up to {LARGEST}.")
    return rounded.astype(np.int32)
