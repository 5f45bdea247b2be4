"""Weights of classes as they are typed: how many there must be."""

from __future__ import annotations

from collections.abc import Sequence

from segkit.api import UsageError


def checked_weights(
    weights: tuple[float, ...] | None, classes: Sequence[str], balanced: bool = False
) -> tuple[float, ...] | None:
    """The weights, one for each of these classes; None: all weigh the same.

    Raises:
        UsageError: too few or too many, none above 0, or balanced ones where nobody has looked at the training data.
    """
    if weights is None:
        if balanced:
            hint = "Type loss.weights with one number for each class."
            raise UsageError("loss.balanced needs masks to count classes in, and a loss of its own.", hint)
        return None
    if len(weights) != len(classes):
        names = ", ".join(classes)
        raise UsageError(f"loss.weights has {len(weights)} for {len(classes)} classes.", f"One number each for {names}.")
    if not any(weights):
        raise UsageError("loss.weights are all 0: nothing would be learned.")
    return weights
