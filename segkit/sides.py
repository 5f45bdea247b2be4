"""Class names that are left and right, front and back, or top and bottom of one thing: a flip exchanges them, so that no
network can tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segkit.task import Task

Sides = tuple[tuple[str, str], ...]
SIDES: Sides = (
    ("left", "right"),
    ("l", "r"),
    ("lt", "rt"),
    ("lh", "rh"),
    ("sinister", "dexter"),
    ("sinistra", "dextra"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("izquierdo", "derecho"),
    ("左", "右"),
)


FRONTS: Sides = (("anterior", "posterior"), ("ventral", "dorsal"), ("front", "back"), ("rostral", "caudal"))
TOPS: Sides = (("superior", "inferior"), ("upper", "lower"), ("cranial", "caudal"), ("top", "bottom"))


def mirrored_pairs(classes: Iterable[str], sides: Sides = SIDES) -> list[tuple[str, str]]:
    """Pairs of names that differ in their side alone, left first.

    >>> mirrored_pairs(["background", "left-kidney", "spleen", "right-kidney"])
    [('left-kidney', 'right-kidney')]
    >>> mirrored_pairs(["lung_R", "lung_L", "kidneyLeft", "kidneyRight", "liver", "LV", "RV"])
    [('lung_L', 'lung_R'), ('kidneyLeft', 'kidneyRight')]
    """
    names = list(classes)
    known = {_normal(name): name for name in names}
    pairs = []
    for name in names:
        partners = (known.get(other) for other in _mirrored(_normal(name), sides))
        partner = next((one for one in partners if one is not None and one != name), None)
        if partner is not None:
            pairs.append((name, partner))
    return pairs


def mirror_axis(task: Task, dims: int) -> int:
    """The spatial axis of what a network sees that runs from left to right: columns of an image, X of a volume (RAS).

    Args:
        task: of the data.
        dims: of the network; one that sees slices of volumes sees X first, unless it is cut along X.
    """
    return 1 if task.dims == dims == 2 else 0


def flips_exchange(task: Task) -> str:
    """Which classes a flip exchanges, in words; empty where there are none."""
    pairs = mirrored_pairs(task.foreground)
    more = f" and {len(pairs) - 1} more pairs" if len(pairs) > 2 else f" and {' and '.join(pairs[1])}" if pairs[1:] else ""
    return f"{' and '.join(pairs[0])}{more}" if pairs else ""


def axes_exchanged(task: Task, dims: int) -> dict[int, str]:
    """The axes of what a network sees along which a flip exchanges classes -> two of them, in words.

    Volumes run from left to right, back to front and bottom to top (RAS), images from top to bottom and left to right. Of
    slices, and of images for front and back, which way they lie is not known: then it is every axis that it may be.

    >>> axes_exchanged(Task(1, ("background", "Anterior", "Posterior"), 3, "multiclass"), dims=3)
    {1: 'Anterior and Posterior'}
    """
    images, slices = task.dims == 2, dims < task.dims
    kinds: tuple[tuple[Sides, tuple[int, ...]], ...] = (
        (SIDES, (mirror_axis(task, dims),)),
        (FRONTS, (0, 1) if images or slices else (1,)),
        (TOPS, (0,) if images else (0, 1) if slices else (2,)),
    )
    found = [(pairs[0], axes) for sides, axes in kinds if (pairs := mirrored_pairs(task.foreground, sides))]
    return {axis: " and ".join(pair) for pair, axes in found for axis in axes}


def _normal(name: str) -> str:
    """Words in small letters, with a blank between; camel case is taken apart."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\b[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", apart)).lower()


def _mirrored(words: str, sides: Sides) -> list[str]:
    """What the right one of a left name may be called: the side as a word, or written together with the rest."""
    found = []
    for left, right in sides:
        pattern = rf"\b{left}\b" if len(left) > 1 or left == "l" else left
        found.append(re.sub(pattern, right, words, count=1) if re.search(pattern, words) else "")
    if sides is not SIDES:
        return [name for name in found if name and name != words]
    found += [words.replace("left", "right", 1)] if "left" in words else []
    found += [f"r{words[1:]}"] if words.startswith("l") and " " not in words and len(words) > 3 else []
    return [name for name in found if name and name != words]
