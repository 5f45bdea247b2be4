"""Class names that are left and right of one thing: a flip exchanges them, so that no network can tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segkit.task import Task

SIDES = (
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


def mirrored_pairs(classes: Iterable[str]) -> list[tuple[str, str]]:
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
        partners = (known.get(other) for other in _mirrored(_normal(name)))
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


def _normal(name: str) -> str:
    """Words in small letters, with a blank between; camel case is taken apart."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=\b[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", apart)).lower()


def _mirrored(words: str) -> list[str]:
    """What the right one of a left name may be called: the side as a word, or written together with the rest."""
    found = []
    for left, right in SIDES:
        pattern = rf"\b{left}\b" if len(left) > 1 or left == "l" else left
        found.append(re.sub(pattern, right, words, count=1) if re.search(pattern, words) else "")
    found += [words.replace("left", "right", 1)] if "left" in words else []
    found += [f"r{words[1:]}"] if words.startswith("l") and " " not in words and len(words) > 3 else []
    return [name for name in found if name and name != words]
