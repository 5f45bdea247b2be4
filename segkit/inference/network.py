"""A trained network as inference knows it: a function from a batch to logits, and the facts needed to feed it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.sides import flips_exchange, mirror_axis
from segkit.task import Task

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Forward = Callable[[Floats], Floats]
BATCH = 8  # images, slices or windows at a time, where nothing else is asked for, and
PIXELS = {"cpu": 256**2, "gpu": 8 * 512**2}  # together; measured on CPUs: larger batches take longer per image
WHOLE = {2: 1536**2, 3: 128**3}  # what fit = native shows at once, in pixels
TILE = {2: 1024, 3: 128}  # and the side of its windows beyond


@dataclass(frozen=True)
class Network:
    """What inference needs to know of a network.

    Args:
        forward: (B, C, *S) -> logits (B, K, *S).
        dims: its spatial dimensions.
        task: of the data.
        preprocess: complete settings.
        batch_size: images, slices or windows at a time; None: up to `BATCH`, fewer if they are large.
        pixels: that make a batch in that case, see `PIXELS`.
        seen: smallest and largest value of the training's images as a fixed scaling makes them, where it is known.
    """

    forward: Forward
    dims: int
    task: Task
    preprocess: Preprocess
    batch_size: int | None = None
    pixels: int = PIXELS["gpu"]
    seen: tuple[float, float] | None = None

    def at_once(self, pixels: int) -> int:
        """How many images of so many pixels make a batch."""
        return self.batch_size or max(1, min(BATCH, self.pixels // pixels))

    def window(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The window through which it sees an image of this size on its grid; None: it sees it whole."""
        if self.task.kind == "classification":
            return None
        if self.preprocess.fit == "patch":
            assert isinstance(self.preprocess.size, tuple), "complete() gave patch a size"
            return self.preprocess.size
        if self.preprocess.fit == "native" and prod(shape) > WHOLE[self.dims]:
            return (TILE[self.dims],) * self.dims
        return None


class NotFiniteError(SegkitError):
    """A network's outputs are not finite numbers, although its inputs are."""


def run(network: Network, images: Iterable[Floats]) -> Iterator[Floats]:
    """Logits of images (C, *S) of one size, in batches, in order.

    Raises:
        NotFiniteError: the network gives what is no finite number.
        SegkitError: an image holds what is none.
    """
    images = iter(images)
    for first in images:
        batch = [first, *itertools.islice(images, network.at_once(prod(first.shape[1:])) - 1)]
        logits = network.forward(np.stack(batch))
        if not np.isfinite(logits).all():
            if not all(np.isfinite(image).all() for image in batch):
                raise SegkitError(
                    "An image holds values that are not finite numbers once it is preprocessed.",
                    "The network is not to blame: look at the image, and at preprocess.intensity in 'segkit info'.",
                )
            raise NotFiniteError(
                "The network returned values that are not finite: these weights are unusable.", "Train again."
            )
        yield from logits


def with_flips(networks: Sequence[Network]) -> list[Network]:
    """Test-time augmentation of one network or an ensemble; what it leaves out is said."""
    exchanged = flips_exchange(networks[0].task)
    if exchanged:
        logger.warning(f"--tta leaves out flips from left to right: they would exchange {exchanged}.")
    return [flipped(network) for network in networks]


def flipped(network: Network) -> Network:
    """The mean logits over all flips (Isensee 2021), but for those that exchange a left class with a right one."""
    mirror = mirror_axis(network.task, network.dims) if flips_exchange(network.task) else None
    axes = [2 + axis for axis in range(network.dims) if axis != mirror]
    flips = [chosen for count in range(len(axes) + 1) for chosen in itertools.combinations(axes, count)]

    def forward(batch: Floats) -> Floats:
        total = np.zeros((), np.float32)
        for chosen in flips:
            logits = network.forward(np.ascontiguousarray(np.flip(batch, chosen)))
            total = total + (logits if logits.ndim == 2 else np.flip(logits, chosen))
        return np.asarray(total / len(flips), np.float32)

    return replace(network, forward=forward)
