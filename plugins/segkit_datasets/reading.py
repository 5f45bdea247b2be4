"""An image or a volume, whichever a file is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.api import Sample, is_volume, read_image, read_label_volume, read_mask, read_volume


def read_any(path: Path) -> Sample:
    """(C, *S) with spacing and affine where the file has them; no mask."""
    if is_volume(path):
        volume = read_volume(path)
        return Sample(volume.array, None, volume.spacing, volume.affine)
    return Sample(read_image(path))


def read_labels(path: Path) -> NDArray[np.int32]:
    """(*S) integers; a coloured image mask comes as 0xRRGGBB."""
    labels: NDArray[Any] = read_label_volume(path)[0] if is_volume(path) else read_mask(path, colours=True)
    return labels
