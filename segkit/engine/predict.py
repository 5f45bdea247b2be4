"""Predict files or a folder tree: outputs mirror the tree, a second call does what is left, a bad file stops nothing.

OUT/a/x.png               labels, or 0 and 255 for a binary task, at the image's own size
OUT/a/x.nii.gz            labels on the volume's own grid
OUT/a/x.overlay.png       with overlays
OUT/predictions.csv       of a classification: classes and probabilities, a row per image, or per slice of a volume
OUT/predictions.json      what was done with which weights; says what a second call may skip
"""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import terminal
from segkit.data.images import read_image, write_image
from segkit.data.overlay import overlay
from segkit.data.pairing import natural_order
from segkit.data.volumes import read_volume, write_volume
from segkit.engine.infer import Network, labels_of, predict_images
from segkit.engine.jobs import RECORD, Job, Record, digest_of
from segkit.errors import SegkitError, UsageError
from segkit.files import write_text
from segkit.options import plain
from segkit.task import Task

SAVE_EVERY = 50  # files between two writings of the record
TABLE = "predictions.csv"


@dataclass(frozen=True)
class Prediction:
    """The outcome: entries of predictions.json by input, and how many were done, skipped and failed in this call."""

    entries: dict[str, dict[str, Any]]
    done: int
    skipped: int
    failed: int


def predict(
    network: Network,
    jobs: Sequence[Job],
    out: Path,
    model: str,
    overwrite: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Prediction:
    """Do the jobs that are not done yet.

    Args:
        network: what runs.
        jobs: from `plan`.
        out: the output folder.
        model: a hash of the weights; another model makes everything new.
        overwrite: do again what is done, and replace what is not ours.
        changes: options that the network was loaded with, other than its own; other ones make everything new.

    Raises:
        UsageError: an output exists that is not one of ours, and `overwrite` is not set.
    """
    task = network.task
    if task.mode == "multilabel":
        raise UsageError("Masks of overlapping classes (mode multilabel) cannot be written as label images.")
    if task.kind == "classification" and (out / TABLE).exists() and not (out / RECORD).exists() and not overwrite:
        raise UsageError(
            f"{out / TABLE} exists and was not written by segkit.", "Choose another --out, or type --overwrite."
        )
    record = Record(out, {"model": model, "preprocess": plain(network.preprocess), "options": dict(changes or {})})
    todo = record.remaining(jobs, overwrite)
    record.begin(todo)

    with terminal.progress("predicting", len(todo)) as bar:
        try:
            _run(network, todo, out, record, bar)
        except SegkitError:  # the network cannot take some image of a batch: find out which
            for job in todo:
                if record.is_pending(job):
                    try:
                        _run(network, [job], out, record, bar)
                    except SegkitError as error:
                        record.failed(job, f"{job.source}: {error.message}")
                        bar.advance()
        finally:
            record.save()
            if task.kind == "classification":
                _write_table(out / TABLE, record.entries, task)
    failed = sum(record.entries[job.key]["status"] == "failed" for job in todo)
    return Prediction(record.entries, len(todo) - failed, len(jobs) - len(todo), failed)


def _run(network: Network, jobs: Sequence[Job], out: Path, record: Record, bar: terminal.Bar) -> None:
    """Predict and write; a file that cannot be read or written is named in the record. Raises what the network raises."""

    def read() -> Iterator[tuple[tuple[Job, NDArray[Any], str], NDArray[Any], tuple[float, ...] | None]]:
        for job in jobs:
            try:
                image, spacing = _read(job.source, network.task)
            except SegkitError as error:
                record.failed(job, error.message)
                bar.advance()
                continue
            yield (job, image, digest_of(job.source)), image, spacing

    for count, ((job, image, digest), probabilities) in enumerate(predict_images(network, read()), start=1):
        try:
            record.done(job, digest, _write(job, out, image, probabilities, network.task))
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            record.failed(job, f"The mask of {job.source} cannot be written: {error.strerror}.")
        bar.advance()
        if count % SAVE_EVERY == 0:
            record.save()


def _read(path: Path, task: Task) -> tuple[NDArray[Any], tuple[float, ...] | None]:
    """(C, *S) with as many channels as the model takes, and the spacing of a volume."""
    if task.dims == 2:
        return _fit_channels(read_image(path), task.channels, path), None
    volume = read_volume(path)
    if len(volume.array) != task.channels:  # modalities are no colours: one is not all of them
        raise SegkitError(f"{path} has {len(volume.array)} channels; the model takes {task.channels}.")
    return volume.array, volume.spacing


def _fit_channels(image: NDArray[Any], channels: int, path: Path) -> NDArray[Any]:
    if len(image) == channels:
        return image
    if len(image) == 1:
        return image.repeat(channels, axis=0)
    if channels == 1 and (image == image[:1]).all():
        return image[:1]
    raise SegkitError(f"{path} has {len(image)} channels; the model takes {channels}.")


def _write(job: Job, out: Path, image: NDArray[Any], probabilities: NDArray[Any], task: Task) -> dict[str, Any]:
    """Write what belongs to an input; returns what the record says about it."""
    if job.mask is None:
        rounded = probabilities.astype(np.float64).round(6)
        return {"probabilities": dict(zip(task.classes, rounded.tolist(), strict=True))}
    labels = labels_of(probabilities, task)
    if task.dims == 3:
        write_volume(out / job.mask, labels, like=job.source)
    else:
        write_image(out / job.mask, labels * 255 if task.mode == "binary" else labels)
    if job.overlay is not None:
        write_image(out / job.overlay, overlay(image, labels, task.classes))
    name = "voxels" if task.dims == 3 else "pixels"
    return {name: {label: int((labels == value).sum()) for value, label in enumerate(task.classes)}}


def _write_table(path: Path, entries: Mapping[str, Mapping[str, Any]], task: Task) -> None:
    """All classes and probabilities of a folder, those of earlier calls included."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file", "slice", "class", *(f"probability_{name}" for name in task.classes), "error"])
    for key in sorted(entries, key=natural_order):
        entry = entries[key]
        if entry["status"] == "failed":
            writer.writerow([key, "", "", *("" for _ in task.classes), entry["reason"]])
        if entry["status"] != "done" or set(entry.get("probabilities", ())) != set(task.classes):
            continue
        values = np.array([entry["probabilities"][name] for name in task.classes])
        for number, row in enumerate(values.reshape(len(values), -1).T):
            best = task.classes[int(row.argmax())]
            writer.writerow([key, number if values.ndim > 1 else "", best, *row.tolist(), ""])
    write_text(path, text.getvalue())
