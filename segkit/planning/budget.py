"""How far a given time reaches: how large images may be so that each is seen often enough; plain arithmetic."""

from __future__ import annotations

from collections.abc import Callable

SHRINKS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25)  # of the sides of what the network sees
TRIED = 0.5  # the shrink whose cost is measured: small enough to be quick, large enough that voxels are what costs
VIEWS = {2: 3000, 3: 800}  # images or patches that a training sees at least, by the network's dimensions
PASSES = {2: 20, 3: 12}  # over the training cases, at least
SHARE_OF_STEPS = 0.85  # of the time; the rest is for validation, and for what the trials did not see
PLAIN_EPOCHS = 100  # where no time is given
FEWEST_STEPS, MOST_STEPS = 1_000, 25_000  # where no time is given


def views_wanted(dims: int, items: int) -> int:
    """How many images a training of this length should see before their size may grow."""
    return max(VIEWS[dims], PASSES[dims] * items)


def choose_shrink(seconds: float, view_seconds: Callable[[float], float], wanted: int) -> float:
    """The largest images of which enough are seen in the time; the smallest where none fits.

    Args:
        seconds: for training and validation.
        view_seconds: what one image costs in training, by how much it is shrunk.
        wanted: images to be seen.
    """
    fits = (shrink for shrink in SHRINKS if SHARE_OF_STEPS * seconds / view_seconds(shrink) >= wanted)
    return next(fits, SHRINKS[-1])


def plain_epochs(steps: int) -> int:
    """Epochs where no time is given, for so many steps in each: 100, but neither too few steps in all nor too many.

    >>> plain_epochs(18), plain_epochs(1), plain_epochs(1000)
    (100, 1000, 25)
    """
    most = max(1, MOST_STEPS // steps)
    return min(most, max(PLAIN_EPOCHS, -(-FEWEST_STEPS // steps)))
