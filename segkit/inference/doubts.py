"""What makes predictions doubtful though nothing fails: images of another range of values, and nothing found in any."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from segkit.data.value_range import doubt_of
from segkit.inference.network import Network

logger = logging.getLogger(__name__)

NAMED = 5  # images that are named; more are counted
FEWEST = 5  # masks that, all empty, are no accident


@dataclass
class Doubts:
    """Looks at images on their way to a network and at the masks that come back; says what is odd, once."""

    network: Network
    odd: set[str] = field(default_factory=set)
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

    def count(self, empty: bool) -> None:
        """Count a mask of an image that may well hold something."""
        self.masks, self.empty = self.masks + 1, self.empty + empty

    def say_rest(self) -> None:
        """What is known at the end."""
        if len(self.odd) > NAMED:
            logger.warning(f"{len(self.odd) - NAMED} more hold values of another range than the images of the training.")
        if self.masks >= FEWEST and self.empty == self.masks:
            logger.warning(
                f"all {self.masks} predicted masks are empty: the model finds nothing here. Are these images of the kind, "
                "size and range of values that it was trained on?"
            )
