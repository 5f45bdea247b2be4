"""From probabilities to the labels that are written: thresholds, clean-up of small components, and their measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit.errors import UsageError, did_you_mean
from segkit.inference.predictor import ImageProbabilities, rows
from segkit.inference.probabilities import labels_of
from segkit.task import Task

Array = NDArray[Any]
LEVELS = 65535  # 16-bit probabilities


@dataclass(frozen=True)
class Postprocess:
    """What is done to probabilities; nothing by default.

    Args:
        thresholds: one per class, background first; None: as `labels_of` does without.
        keep_largest: of each class, keep the largest component alone.
        min_size: remove components of fewer pixels or voxels.
    """

    thresholds: tuple[float | None, ...] = ()
    keep_largest: bool = False
    min_size: int = 0


def read_postprocess(post: Postprocess, thresholds: Sequence[str], task: Task) -> Postprocess:
    """With thresholds as they were typed.

    Raises:
        UsageError: a threshold that cannot be, or anything of this for a model of classes.
    """
    if task.kind == "classification" and (thresholds or post != Postprocess()):
        raise UsageError(
            "--threshold, --keep-largest and --min-size are about masks; this model gives classes.", "Leave them out."
        )
    return replace(post, thresholds=read_thresholds(thresholds, task)) if thresholds else post


@dataclass(frozen=True)
class Segmented:
    """The result for one input.

    Args:
        labels: (*S).
        confidence: (*S), the probability of the label that each place has before the clean-up; None if not asked for.
        probabilities: (K, *S) in steps of 1 / 65535; None if not asked for.
    """

    labels: Array
    confidence: NDArray[np.float16] | None
    probabilities: NDArray[np.uint16] | None


def read_thresholds(texts: Sequence[str], task: Task) -> tuple[float | None, ...]:
    """Thresholds as typed: "0.4" for every class but the background, "polyp=0.4" for one, whichever comes first.

    Raises:
        UsageError: no class of that name, or no number from 0 to 1.
    """
    classes = task.classes if task.mode == "multiclass" else task.classes[1:]
    named: dict[str, float] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name and name not in classes:
            raise UsageError(f"--threshold {text}: there is no class {name!r}.", did_you_mean(name, classes))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < 1:
            raise UsageError(
                f"--threshold {text} is not a number from 0 up to 1.", f"--threshold 0.4, or --threshold {classes[-1]}=0.4."
            )
        named[name] = number
    found = [named.get(own, named.get("") if index else None) for index, own in enumerate(task.classes)]
    return tuple(found) if named else ()


def segment(
    found: ImageProbabilities,
    task: Task,
    post: Postprocess,
    confidence: bool,
    probabilities: bool,
    on_progress: Callable[[float], Any] = lambda share: None,
) -> Segmented:
    """Labels of an image by its thresholds, band by band, so that its probabilities need never be there as a whole.

    `on_progress` is called with the share of the image that a band is.
    """
    shape = found.shape[1:]
    labels = np.empty(shape, np.uint8 if len(task.classes) <= 256 else np.uint16)
    sure = np.empty(shape, np.float16) if confidence else None
    kept = np.empty(found.shape, np.uint16) if probabilities else None
    for start, stop, part in found.bands:
        whole = rows(found.axis, start, stop)
        labels[whole[1:]] = own = labels_of(part, task, post.thresholds)
        if sure is not None:
            sure[whole[1:]] = _of_labels(part, own, task)
        if kept is not None:
            kept[whole] = np.round(part * LEVELS)
        on_progress((stop - start) / shape[found.axis])
    return Segmented(labels, sure, kept)


def clean_up(labels: Array, post: Postprocess) -> Array:
    """Components that are too small, or not the largest of their class, become background; corners are neighbours."""
    if not post.keep_largest and post.min_size < 2:
        return labels
    for value in _present(labels):
        components, sizes = _components(labels == value)
        kept = sizes >= post.min_size
        if post.keep_largest:
            kept &= np.arange(len(sizes)) == sizes.argmax()
        labels[(components > 0) & ~np.concatenate([[True], kept])[components]] = 0
    return labels


def measure(
    segmented: Segmented, task: Task, spacing: Sequence[float] | None, affine: NDArray[np.float64] | None
) -> dict[str, dict[str, Any]]:
    """Of each class: how much of it, in how many components, where, and how probable it is on average.

    Returns:
        By class (without the background): count of pixels or voxels, size in mm2 or mm3 (None without a spacing),
        components, centroid (x, y in pixels from the middle of the first one, of a stack also the page; of a volume x, y, z
        where its affine places it in the world, to the right, front and top), confidence.
    """
    labels, found = segmented.labels, {}
    for value, name in enumerate(task.classes):
        if value == 0:
            continue
        inside = labels == value
        count = int(inside.sum())
        centroid = None
        if count:
            middle = np.array(
                [
                    float((inside.sum(_others(axis, labels.ndim)) @ np.arange(side)) / count)
                    for axis, side in enumerate(labels.shape)
                ]
            )
            in_pixels = [middle[1], middle[0], *middle[2:]]  # x before y; of a stack the page last
            centroid = in_pixels if affine is None or labels.ndim == 2 else (affine @ [*middle, 1])[:3]
        sure = segmented.confidence
        found[name] = {
            "count": count,
            "size": None if spacing is None else count * float(np.prod(spacing)),
            "components": len(_components(inside)[1]) if count else 0,
            "centroid": None if centroid is None else [round(float(place), 3) for place in centroid],
            "confidence": round(float(sure[inside].mean(dtype=np.float64)), 4) if count and sure is not None else None,
        }
    return found


def _of_labels(probabilities: Array, labels: Array, task: Task) -> Array:
    """The probability of the label that each place has."""
    if task.mode == "multiclass":
        return np.asarray(np.take_along_axis(probabilities, labels[None].astype(np.intp), axis=0)[0])
    return np.asarray(np.where(labels > 0, probabilities[0], 1 - probabilities[0]))


def _components(mask: Array) -> tuple[Array, Array]:
    """Numbered components (0 outside), and the size of each."""
    from scipy import ndimage

    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    return components, np.bincount(components.ravel(), minlength=count + 1)[1:]


def _present(labels: Array) -> list[int]:
    return [int(value) for value in np.unique(labels) if value]


def _others(axis: int, ndim: int) -> tuple[int, ...]:
    return tuple(ax for ax in range(ndim) if ax != axis)


def options_of(post: Postprocess) -> Mapping[str, Any]:
    """What predictions.json says of it: only what is not the default."""
    named = {"thresholds": list(post.thresholds), "keep_largest": post.keep_largest, "min_size": post.min_size}
    return {name: value for name, value in named.items() if value}
