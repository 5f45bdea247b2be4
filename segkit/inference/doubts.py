"""What makes predictions doubtful though nothing fails: images of another range of values, and nothing found in any."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from segkit.data.preprocess import geometry_of, reaches_cut
from segkit.data.value_range import doubt_of
from segkit.inference.network import Network
from segkit.words import counted

logger = logging.getLogger(__name__)

Converted = Literal["", "colours", "gray"]  # what an image of other channels than the model's was made

NAMED = 5  # images that are named; more are counted
FEWEST = 5  # masks that, all empty, are no accident


def is_cut(labels: NDArray[Any], shape: tuple[int, ...], network: Network, spacing: tuple[float, ...] | None) -> bool:
    """Whether a mask (*shape) or (K, *shape) reaches an edge beyond which the network saw nothing (fit=crop, or a frame)."""
    return reaches_cut(labels, geometry_of(shape, network.preprocess, network.dims, spacing))


@dataclass
class Doubts:
    """Looks at images on their way to a network and at the masks that come back; says what is odd, once."""

    network: Network
    odd: set[str] = field(default_factory=set)
    converted: dict[str, Converted] = field(default_factory=dict)
    masks: int = 0
    empty: int = 0
    cut: int = 0

    def look(self, name: str, image: NDArray[Any]) -> None:
        """Name an image (C, *S), in stored units, that the network was not trained for."""
        if name in self.odd:
            return
        doubt = doubt_of(image, self.network.preprocess, self.network.seen)
        if doubt:
            self.odd.add(name)
            if len(self.odd) <= NAMED:
                logger.warning(f"{name}: {doubt}.")

    def note_converted(self, name: str, converted: Converted) -> None:
        """An image whose channels were made those of the network."""
        if converted:
            self.converted[name] = converted

    def count(self, empty: bool) -> None:
        """Count a mask of an image that may well hold something."""
        self.masks, self.empty = self.masks + 1, self.empty + empty

    def count_cut(self, cut: bool) -> None:
        """Count a mask that reaches an edge at which the image was cut (see `is_cut`)."""
        self.cut += cut

    def say_rest(self) -> None:
        """What is known at the end."""
        if len(self.odd) > NAMED:
            logger.warning(f"{len(self.odd) - NAMED} more hold values of another range than the images of the training.")
        made = Counter(self.converted.values())
        if made["colours"]:
            verb = "is" if made["colours"] == 1 else "are"
            logger.warning(
                f"{counted(made['colours'], 'gray image')} {verb} given as three equal channels: the model was trained on "
                "colours, and its masks of gray images may be wrong."
            )
        if made["gray"]:
            verb = "is" if made["gray"] == 1 else "are"
            logger.warning(f"{counted(made['gray'], 'colour image')} of three equal channels {verb} taken as gray.")
        if self.cut:
            verb = "reaches" if self.cut == 1 else "reach"
            logger.warning(
                f"{counted(self.cut, 'mask')} {verb} the edge of the part of the image that the model sees: what lies "
                "beyond is not found. -o preprocess.frame=1 trains one that sees all of it."
            )
        if self.masks >= FEWEST and self.empty == self.masks:
            logger.warning(
                f"all {self.masks} predicted masks are empty: the model finds nothing here. Are these images of the kind, "
                "size and range of values that it was trained on?"
            )
