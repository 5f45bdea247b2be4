"""How large an image may be before it is taken for a decompression bomb."""

from __future__ import annotations

import os
from pathlib import Path

from segkit.errors import SegkitError

LARGEST_IMAGE = int(float(os.environ.get("SEGKIT_MAX_PIXELS") or 1e9))  # pixels


def check_size(path: Path, pixels: int) -> None:
    """Raises SegkitError where a file declares more pixels than are let in."""
    if pixels > LARGEST_IMAGE:
        raise SegkitError(
            f"{path} declares {pixels:,} pixels; more than {LARGEST_IMAGE:,} are refused.",
            "SEGKIT_MAX_PIXELS sets the limit.",
        )
