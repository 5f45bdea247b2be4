"""What makes predictions doubtful though nothing fails: images of another range of values, and nothing found in any."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from segkit.data.value_range import doubt_of
from segkit.inference.network import Network
from segkit.words import counted

logger = logging.getLogger(__name__)

Converted = Literal["", "colours", "gray"]  # what an image of other channels than the model's was made

NAMED = 5  # images that are named; more are counted
FEWEST = 5  # masks that, all empty, are no accident


@dataclass
class Doubts:
    """Looks at images on their way to a network and at the masks that come back; says what is odd, once."""

    network: Network
    odd: set[str] = field(default_factory=set)
    converted: dict[str, Converted] = field(default_factory=dict)
    masks: int = 0
    empty: int = 0

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
        if self.masks >= FEWEST and self.empty == self.masks:
            logger.warning(
                f"all {self.masks} predicted masks are empty: the model finds nothing here. Are these images of the kind, "
                "size and range of values that it was trained on?"
            )
