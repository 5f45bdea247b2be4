"""What the user should know about inputs before they are predicted, by their names and headers alone."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath

from segkit.data.orientation import frame_of
from segkit.data.pairing import masks_by_name
from segkit.data.volumes import is_volume
from segkit.prediction.inputs import Input

logger = logging.getLogger(__name__)


def say_doubts(inputs: Sequence[Input]) -> None:
    """Log which pictures are turned upright, so that their masks are too, and which inputs look like masks of others."""
    turned = [entry.key for entry in inputs if _is_turned(entry)]
    if turned:
        words = f"{len(turned)} image(s) are turned upright, as their EXIF or TIFF orientation says"
        logger.warning(f"{words}, and their masks fit them as shown, not as stored: {_some(turned)}")
    by_stem = {_stem(entry.key): entry.key for entry in inputs if entry.case is None}
    masks = [by_stem[stem] for stem in by_stem.keys() & masks_by_name(by_stem)]
    if masks:
        logger.warning(
            f"{len(masks)} input(s) are called as the masks of others, and are predicted as images: {_some(masks)}"
        )


def _is_turned(source: Input) -> bool:
    if source.case is not None and not source.case.metadata.get("upright", True):
        return False
    frames = (frame_of(path) for path in source.files if source.form in ("image", "tiff") and not is_volume(path))
    return any(frame is not None and frame.orientation != 1 for frame in frames)


def _stem(key: str) -> str:
    return PurePosixPath(key.removesuffix(".gz")).with_suffix("").as_posix()


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
