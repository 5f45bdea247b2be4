"""How far a given time reaches: how large images may be so that each is seen often enough; plain arithmetic."""

from __future__ import annotations

from collections.abc import Mapping

SHRINKS = (1.0, 0.85, 0.7, 0.6, 0.5, 0.42, 0.35, 0.3, 0.25)  # of the sides of what the network sees
TRIED = 0.5  # the shrink whose cost is measured: small enough to be quick, large enough that voxels are what costs
VIEWS = {2: 8000, 3: 500}  # images or patches that a training sees at least, by the network's dimensions
PASSES = {2: 40, 3: 8}  # over the training cases, at least
AMPLE = 6.0  # times the images wanted at full size, from which on a model need not take its smaller form
SHARE_OF_STEPS = 0.85  # of the time; the rest is for validation, and for what the trials did not see
PLAIN_EPOCHS = 100  # where no time is given
FEWEST_STEPS, MOST_STEPS = 1_000, 25_000  # where no time is given


def views_wanted(dims: int, items: int) -> int:
    """How many images a training of this length should see before their size may grow."""
    return max(VIEWS[dims], PASSES[dims] * items)


def views_within(seconds: float, view_seconds: float) -> float:
    """How many images a training can see in the time, where one costs so much."""
    return SHARE_OF_STEPS * seconds / view_seconds


def choose_shrink(views: Mapping[float, float], wanted: int) -> float:
    """The largest images of which enough are seen; the smallest where none are.

    Args:
        views: how many can be seen, by how much they are shrunk, the largest first.
        wanted: images to be seen.

    >>> choose_shrink({1.0: 400, 0.7: 900, 0.5: 1500}, 800), choose_shrink({1.0: 400, 0.7: 700}, 800)
    (0.7, 0.7)
    """
    return next((shrink for shrink, seen in views.items() if seen >= wanted), list(views)[-1])


def plain_epochs(steps: int) -> int:
    """Epochs where no time is given, for so many steps in each: 100, but neither too few steps in all nor too many.

    >>> plain_epochs(18), plain_epochs(1), plain_epochs(1000)
    (100, 1000, 25)
    """
    most = max(1, MOST_STEPS // steps)
    return min(most, max(PLAIN_EPOCHS, -(-FEWEST_STEPS // steps)))
