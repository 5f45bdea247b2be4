"""What a dataset states and what the engine hands on: Task, Case, Sample, Dataset, CaseResult.

Everybody speaks in these terms: a dataset makes Task, Case and Sample, a model and a loss read the Task, a metric gets a
CaseResult. Spatial axes are written *S: (H, W) for images, (X, Y, Z) for volumes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Mode = Literal["binary", "multiclass", "multilabel"]
Kind = Literal["segmentation", "classification"]


@dataclass(frozen=True)
class Task:
    """The facts of a dataset, never typed by the user.

    Args:
        channels: image channels.
        classes: names, background first; binary has exactly two.
        dims: 2 for images, 3 for volumes.
        mode: binary (one output, sigmoid), multiclass (exclusive, softmax) or multilabel (a sigmoid per class).
        kind: what a model learns from it.
        channel_names: as many as channels, or empty.
        ignore_index: mask value that every loss and metric ignores.
        regions: named unions of classes, e.g. {"WT": ("NCR", "ED", "ET")}; metrics of masks score them beside the classes.

    Raises:
        ValueError: the facts contradict each other.

    >>> Task(3, ("background", "polyp")).outputs
    1
    """

    channels: int
    classes: tuple[str, ...]
    dims: int = 2
    mode: Mode = "binary"
    kind: Kind = "segmentation"
    channel_names: tuple[str, ...] = ()
    ignore_index: int | None = None
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = {
            f"channels = {self.channels}: at least 1": self.channels < 1,
            f"classes = {self.classes}: at least two different ones": len(set(self.classes)) < 2,
            "two classes of one name": len(set(self.classes)) != len(self.classes),
            f"classes = {self.classes}: a name must not hold '/'": any("/" in name for name in self.classes),
            f"mode binary takes two classes, not {len(self.classes)}": self.mode == "binary" and len(self.classes) != 2,
            f"dims = {self.dims}: 2 or 3": self.dims not in (2, 3),
            f"mode = {self.mode!r}": self.mode not in ("binary", "multiclass", "multilabel"),
            f"kind = {self.kind!r}": self.kind not in ("segmentation", "classification"),
            f"{len(self.channel_names)} channel names for {self.channels} channels": bool(self.channel_names)
            and len(self.channel_names) != self.channels,
            "regions must name classes": any(set(names) - set(self.classes) for names in self.regions.values()),
        }
        found = [text for text, wrong in problems.items() if wrong]
        if found:
            raise ValueError("not a valid task: " + "; ".join(found))

    @property
    def outputs(self) -> int:
        """Channels of the logits: 1 for binary, len(classes) for multiclass, len(classes) - 1 for multilabel."""
        return {"binary": 1, "multiclass": len(self.classes), "multilabel": len(self.classes) - 1}[self.mode]

    @property
    def foreground(self) -> tuple[str, ...]:
        return self.classes[1:]

    def as_classification(self) -> Task:
        """The question "does this case hold any foreground?": two classes, logits (B, 2)."""
        return dataclasses.replace(
            self, classes=("absent", "present"), mode="multiclass", kind="classification", ignore_index=None, regions={}
        )

    def learned_by(self, kind: str) -> Task:
        """What a model of this kind learns from this data: of masks, a classification model learns `as_classification`."""
        return self.as_classification() if (kind, self.kind) == ("classification", "segmentation") else self

    def to_dict(self) -> dict[str, Any]:
        return {
            **dataclasses.asdict(self),
            "classes": list(self.classes),
            "channel_names": list(self.channel_names),
            "regions": {name: list(members) for name, members in self.regions.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """The inverse of `to_dict`. Raises ValueError or TypeError on anything else."""
        known = {item.name for item in dataclasses.fields(cls)}
        if set(values) - known:
            raise ValueError(f"not a valid task: unknown facts {sorted(set(values) - known)}")
        regions = {name: tuple(members) for name, members in values.get("regions", {}).items()}
        lists = {key: tuple(values[key]) for key in ("classes", "channel_names") if key in values}
        return cls(**{**values, **lists, "regions": regions})


@dataclass(frozen=True)
class Case:
    """One image or volume with its mask, not yet read.

    Args:
        id: unique in the dataset; file names and tables use it.
        group: patient or sequence, what a split must not tear.
        subset: the dataset's own "train", "val" or "test", where it states one.
        label: a case-level class (diagnosis, tumour type) by which splits are stratified, where there is one.
        files: what `read` opens, by role, e.g. {"image": ..., "mask": ...}: the fingerprint of the data is taken of them.
        problem: why this case cannot be read, found while listing; it is then an unreadable case like any other.
        metadata: anything else worth keeping (frame number, annotations).
    """

    id: str
    group: str
    subset: str | None = None
    label: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    problem: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """Its image's file, or its id where it has none, for messages."""
        return str(self.files.get("image") or next(iter(self.files.values()), None) or f"case {self.id!r}")


@dataclass(frozen=True)
class Sample:
    """A case, read.

    Args:
        image: (C, *S) in stored units.
        mask: (*S) integers, or (K, *S) for multilabel, or None where there is none.
        spacing: mm along each spatial axis, None where the file does not say.
        affine: (4, 4) voxel to world of a volume.
    """

    image: NDArray[Any]
    mask: NDArray[Any] | None = None
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Dataset:
    """What a dataset plugin's `open(root, options, labelled=True)` returns.

    Args:
        task: the facts.
        cases: all that have a mask; with `labelled=False` every image, with a mask or without, under the same ids.
        read: case -> Sample, with `labelled=False` without a mask; raises SegkitError with the path where a file cannot be
            read.
        options: the options with everything that was inferred filled in; run.toml holds them.
        notes: what the user must know about this data; printed, and stored with the run.
        problems: what is wrong with it beyond any one case, such as annotations that belong to no image: `data check` ends
            with 1, and training says it.
    """

    task: Task
    cases: tuple[Case, ...]
    read: Callable[[Case], Sample]
    options: Any = None
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """A prediction beside its truth, on one grid; computed once per case and given to every metric.

    Of a classification, *S is () for an image and (slices,) for a volume that the network saw slice by slice.

    Args:
        probabilities: (outputs, *S) float.
        labels: (*S) integers, or (K, *S) of 0 and 1 for multilabel.
        truth: as labels.
        task: the facts of the dataset.
        spacing: mm along each spatial axis, or None.
        slice_axis: of a volume that the network saw slice by slice, else None.
    """

    probabilities: NDArray[np.float32]
    labels: NDArray[Any]
    truth: NDArray[Any]
    task: Task
    spacing: tuple[float, ...] | None = None
    slice_axis: int | None = None


@dataclass(frozen=True)
class Metric:
    """What a metric plugin's `build(task, options)` returns: two functions.

    Args:
        measure: CaseResult -> counts by name, numbers or arrays that may be added up over cases. Metrics that share this
            function share its work: it runs once per case.
        finish: counts of one case, or their sum over many -> values by name: "" for the metric as such, the name of a class
            or region, or "a/b" for what only files should hold; NaN if undefined. The core puts the metric's name before
            them, and without "" takes the mean over the foreground classes: {"polyp": 0.8} becomes "dice/polyp", "dice".
    """

    measure: Callable[[CaseResult], Mapping[str, Any]]
    finish: Callable[[Mapping[str, Any]], Mapping[str, float]]
