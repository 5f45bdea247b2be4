"""What the data decides of the settings that were left on auto, each with its reason; plain arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from segkit.config.plan import Decision
from segkit.config.resolve import Choice, RequestedConfig
from segkit.errors import SegkitError
from segkit.options import in_words
from segkit.planning.facts import DataFacts
from segkit.settings import AUGMENT_POLICIES
from segkit.sides import axes_exchanged
from segkit.task import Task

LARGEST_IMAGE = 512  # pixels along the longer side of an image
LARGEST_PATCH = 96**3  # voxels of a patch of a volume
SMALLEST_MAP = 4  # pixels along each side of the deepest level (nnU-Net)
SMALLEST_SEEN = {2: 32, 3: 16}  # pixels along a side, below which nothing is shrunk, by the network's dimensions
BATCH = {2: 8, 3: 2}  # by the network's dimensions
HELD = 0.9  # of images of different shapes, that fit into the size without being shrunk further
MARGIN = 1.2  # times as far from the middle as any training mask reaches, an image is seen in a short training
WORTH_A_FRAME = 0.75  # of the area, above which images are seen whole
FRAMED_GROUPS = 10  # training groups (patients) with foreground, at least, to tell where it can lie
ASPECT = 1.1  # ratio of aspect ratios up to which images are stretched to one size


def decide(
    requested: RequestedConfig, facts: DataFacts, dims: int, shrink: float = 1.0
) -> tuple[RequestedConfig, list[Decision]]:
    """Fill in fit, size and spacing where they were left open.

    Args:
        requested: what was asked for, with the dataset's own settings filled in.
        facts: of the training cases.
        dims: of the network.
        shrink: how much smaller than stored the sides of what the network sees are to be, at most 1.
    """
    if requested.preprocess.fit == "native":
        return requested, []
    found = _of_volumes(requested, facts, shrink) if dims == 3 else _of_images(requested, facts, shrink)
    return apply(requested, found)


def apply(requested: RequestedConfig, decisions: Sequence[Decision]) -> tuple[RequestedConfig, list[Decision]]:
    """The request with these decisions where nothing was typed, and those that were taken."""
    taken = []
    for one in decisions:
        section, _, key = one.key.partition(".")
        settings = getattr(requested, section)
        if getattr(settings, key) in (None, "auto"):
            requested = replace(requested, **{section: replace(settings, **{key: one.value})})
            taken.append(one)
    return requested, taken


def fit_model(
    requested: RequestedConfig, dims: int, spacing: tuple[float, ...] | None
) -> tuple[RequestedConfig, list[Decision]]:
    """Options that a model fits to what it sees (see segkit.protocols.FitsImages).

    Raises:
        SegkitError: the plugin's code fails, named.
    """
    size = requested.preprocess.size
    if size is None:
        return requested, []
    sides = (size,) * dims if isinstance(size, int) else size
    wanted = requested.preprocess.spacing
    if isinstance(wanted, tuple) and len(wanted) != dims:  # of a volume that is seen in slices
        wanted = None
    seen = (wanted,) * dims if isinstance(wanted, float) else wanted or spacing
    return _with_options(requested, "fitted", (sides, seen), "fits this size")


def make_smaller(requested: RequestedConfig) -> tuple[RequestedConfig, list[Decision]]:
    """The smaller form of a model that has one (see segkit.protocols.HasSmallerForm).

    Raises:
        SegkitError: the plugin's code fails, named.
    """
    return _with_options(requested, "smaller", (), "the time is short")


def _with_options(
    requested: RequestedConfig, method: str, given: tuple[Any, ...], why: str
) -> tuple[RequestedConfig, list[Decision]]:
    """The request with what a method of the model's options returns, where there is such a method."""
    model = requested.model
    own = getattr(model.options, method, None)
    if not callable(own):
        return requested, []
    try:
        options = own(*given)
        before, after = vars(model.options), vars(options)
    except Exception as error:
        what = f"The options of {model.name} failed in {method}{given[0] if given else '()'}"
        raise SegkitError(f"{what}: {type(error).__name__}: {error}") from error
    found = [Decision(f"model.{key}", after[key], why) for key in after if after[key] != before[key]]
    return replace(requested, model=Choice(model.found, options)), found


def balance_weights(
    requested: RequestedConfig, facts: DataFacts | None, task: Task
) -> tuple[RequestedConfig, list[Decision]]:
    """The weights of a loss that is asked to balance its classes (options `balanced` and `weights`)."""
    if not asks_for_balance(requested) or facts is None:
        return requested, []
    assert requested.loss is not None
    shares = facts.class_shares(task)
    weights = tuple(round(1 / (len(shares) * share), 6) if share else 0.0 for share in shares)
    options = replace(requested.loss.options, weights=weights)
    held = ", ".join(f"{share:.2%}" for share in shares)
    decision = Decision("loss.weights", weights, f"the classes fill {held} of the training cases")
    return replace(requested, loss=Choice(requested.loss.found, options)), [decision]


def asks_for_balance(requested: RequestedConfig) -> bool:
    """Whether the loss wants weights that follow from the training data."""
    options = requested.loss.options if requested.loss else None
    return getattr(options, "balanced", False) and getattr(options, "weights", ()) is None


def choose_flips(requested: RequestedConfig, task: Task, dims: int) -> tuple[RequestedConfig, list[Decision]]:
    """Flips where they were left to the policy: none of volumes, in which bodies lie alike and hardly any organ is its own
    mirror image, and of images none along an axis that alone tells classes apart."""
    usual = AUGMENT_POLICIES[requested.augment.policy]["flip"]
    if not usual:
        return requested, []
    if task.dims == 3:
        return apply(requested, [Decision("augment.flip", 0.0, "bodies lie alike in volumes")])
    exchanged = axes_exchanged(task, dims)
    if not exchanged:
        return requested, []
    chances = tuple(0.0 if axis in exchanged else usual for axis in range(dims))
    reason = f"{' and '.join(dict.fromkeys(exchanged.values()))} differ by their side"
    return apply(requested, [Decision("augment.flip", chances, reason)])


def keep_upright(requested: RequestedConfig, facts: DataFacts | None) -> tuple[RequestedConfig, list[Decision]]:
    """No turning or bending of images whose masks are filled boxes: these lie along the axes in every image to come."""
    usual = AUGMENT_POLICIES[requested.augment.policy]
    if facts is None or not facts.all_boxes or not usual["rotate"]:
        return requested, []
    why = "masks are filled boxes, which turning would tilt"
    return apply(requested, [Decision("augment.rotate", 0.0, why), Decision("augment.elastic", 0.0, why)])


def _of_images(requested: RequestedConfig, facts: DataFacts, shrink: float) -> list[Decision]:
    """Images, or slices of volumes, seen whole."""
    size, *sizes = [facts.seen_of(own, requested.preprocess, dims=2) for own in (facts.median_size, *facts.sizes)]
    aspects = [one[0] / one[1] for one in (size, *sizes)]
    alike = max(aspects) <= ASPECT * min(aspects)
    if not alike:  # upright ones and those that lie are to be shrunk by the same factor
        size = tuple(sorted(sides)[int(HELD * (len(sides) - 1))] for sides in zip(*sizes, strict=True))
    frame = _frame(requested, facts, shrink)
    if frame is not None:
        size = tuple(max(1, round(side * share)) for side, share in zip(size, frame, strict=True))
    scale = min(max(shrink, SMALLEST_SEEN[2] / min(size)), 1.0, LARGEST_IMAGE / max(size))
    rounded = tuple(round_side(side * scale) for side in size)
    what = "median" if alike else "most are at most"
    why = f"{what} {in_words(size)}{' within the frame' if frame else ''}" + (f", {scale:.0%} of it" if scale < 1 else "")
    found = [
        Decision("preprocess.fit", "stretch" if alike else "pad", "one shape" if alike else "shapes differ"),
        Decision("preprocess.size", rounded, why),
    ]
    if frame is not None:
        reach = in_words(tuple(round(share / MARGIN, 2) for share in frame))
        found.insert(1, Decision("preprocess.frame", frame, f"no training mask reaches beyond {reach}; the time is short"))
    return found


def _frame(requested: RequestedConfig, facts: DataFacts, shrink: float) -> tuple[float, ...] | None:
    """The middle part that holds all training masks with a margin, where that is clearly less than an image that would be
    shrunk; or the part that was typed."""
    typed = requested.preprocess.frame
    if typed is not None:
        return typed if isinstance(typed, tuple) else (typed, typed)
    if shrink == 1 or requested.preprocess.fit not in (None, "stretch", "pad"):
        return None
    held = [facts.seen_of(reach, requested.preprocess, dims=2) for reach in facts.reaches if any(reach)]
    groups = {group for group, reach in zip(facts.groups, facts.reaches, strict=True) if any(reach)}
    if len(groups) < FRAMED_GROUPS or requested.model.spec.kind == "classification":
        return None
    frame = tuple(min(1.0, math.ceil(100 * MARGIN * max(along)) / 100) for along in zip(*held, strict=True))
    return frame if math.prod(frame) <= WORTH_A_FRAME else None


def _of_volumes(requested: RequestedConfig, facts: DataFacts, shrink: float) -> list[Decision]:
    """Patches of volumes at one spacing; of small volumes a patch is the whole."""
    common = facts.common_spacing
    shrink = min(1.0, max(shrink, SMALLEST_SEEN[3] / sorted(facts.median_size)[1]))
    found = []
    spacing = requested.preprocess.spacing
    if spacing is None and common is not None and (facts.spacings_differ or shrink < 1):
        target = tuple(round(mm / shrink, 4) for mm in common) if shrink < 1 else common
        spacing = target
        found.append(
            Decision(
                "preprocess.spacing", target, "median of the cases" if shrink == 1 else f"{1 / shrink:.2g} times the median"
            )
        )
    wanted = (spacing,) * 3 if isinstance(spacing, float) else spacing
    sizes = facts.sizes_at(wanted)
    middle = [sorted(sides)[len(sides) // 2] for sides in zip(*sizes, strict=True)]
    largest = [max(sides) for sides in zip(*sizes, strict=True)]
    box = [float(side) for side in (largest if math.prod(largest) <= LARGEST_PATCH else middle)]
    whole = math.prod(box) <= LARGEST_PATCH
    while math.prod(box) > LARGEST_PATCH:  # the longest side in mm shrinks first, so that patches become cubes
        mm = [side * step for side, step in zip(box, wanted or (1.0,) * 3, strict=True)]
        box[mm.index(max(mm))] *= 0.9
    size = tuple(round_side(side, up=whole) for side in box)
    why = "holds every volume" if whole and box == largest else "holds the median volume" if whole else "largest patch"
    fit = Decision("preprocess.fit", "patch", "volumes differ in size")
    if requested.model.spec.kind == "classification":
        fit = Decision("preprocess.fit", "stretch", "a classifier sees whole volumes")
    return [*found, fit, Decision("preprocess.size", size, why)]


def round_side(side: float, up: bool = False) -> int:
    """A side that can be halved down to about `SMALLEST_MAP` pixels, next to this one (or not below it).

    >>> round_side(35, up=True), round_side(288), round_side(10)
    (40, 288, 10)
    """
    step = 2 ** max(0, min(5, int(math.log2(max(side, 1) / SMALLEST_MAP)))) if side >= SMALLEST_MAP else 1
    count = math.ceil(side / step) if up else round(side / step)
    return max(1, count) * step
