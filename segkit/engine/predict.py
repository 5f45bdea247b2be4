"""Predict a file or a folder tree: outputs mirror the tree, a second call does what is left, a bad file stops nothing.

OUT/a/x.png               labels, or 0 and 255 for a binary task, at the input's own size
OUT/a/x.overlay.png       with overlays
OUT/predictions.json      what was done with which weights; says what a second call may skip
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segkit import __version__, terminal
from segkit.data.images import SUFFIXES, is_image, read_image, write_image
from segkit.data.overlay import overlay
from segkit.data.pairing import natural_order
from segkit.engine.infer import Network, labels_of, predict_images
from segkit.errors import SegkitError, UsageError
from segkit.files import write_json
from segkit.options import plain
from segkit.task import Task

RECORD = "predictions.json"
SAVE_EVERY = 50  # files between two writings of the record


@dataclass(frozen=True)
class Job:
    """One input and the outputs that belong to it alone.

    Args:
        key: the input's name below the folder that was given.
        source: its path.
        mask, overlay: output names below the output folder; no overlay: None.
    """

    key: str
    source: Path
    mask: str
    overlay: str | None

    @property
    def outputs(self) -> list[str]:
        return [self.mask] + ([self.overlay] if self.overlay else [])


@dataclass(frozen=True)
class Prediction:
    """The outcome: entries of predictions.json by input, and how many were done, skipped and failed in this call."""

    entries: dict[str, dict[str, Any]]
    done: int
    skipped: int
    failed: int


def plan(source: Path, out: Path, with_overlay: bool) -> list[Job]:
    """All inputs with their outputs; no two share one, and none lies on an input.

    Raises:
        UsageError: nothing to predict, or an output would fall on an input.
    """
    root, files = _inputs(source, out)
    keys = [path.relative_to(root).as_posix() for path in files]
    names = _output_names(keys)
    jobs = [
        Job(key, path, f"{name}.png", f"{name}.overlay.png" if with_overlay else None)
        for key, path, name in zip(keys, files, names, strict=True)
    ]
    taken = {path.resolve() for path in files}
    clash = next((name for job in jobs for name in job.outputs if (out / name).resolve() in taken), None)
    if clash is not None:
        raise UsageError(f"{out / clash} would overwrite an input.", "Choose another --out.")
    return jobs


class Record:
    """predictions.json: what was done with which weights, by input."""

    def __init__(self, out: Path, wanted: dict[str, Any]) -> None:
        """Args: the output folder, and what besides the input decides a result (weights, preprocessing)."""
        self.out, self.wanted = out, wanted
        self.entries = _read_record(out)
        self.ours: set[str] = set()

    def remaining(self, jobs: Sequence[Job], overwrite: bool) -> list[Job]:
        """The jobs whose result is not there yet.

        Raises:
            UsageError: an output exists that is not one of ours, and `overwrite` is not set.
        """
        owners = {name: entry for entry in self.entries.values() for name in entry.get("outputs", [])}
        foreign = [
            name
            for job in jobs
            for name in job.outputs
            if os.path.lexists(self.out / name) and not _is_same_input(owners.get(name), job)
        ]
        if foreign and not overwrite:
            raise UsageError(
                f"{self.out / foreign[0]} exists and was not made from this input, as far as {RECORD} says.",
                "Choose another --out, or type --overwrite to replace it.",
            )
        return [job for job in jobs if overwrite or not self._is_done(job)]

    def begin(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.entries[job.key] = {"status": "pending", "input": str(job.source.absolute()), "outputs": job.outputs}
            self.ours.add(job.key)
        self.save()

    def done(self, job: Job, digest: str, pixels: dict[str, int]) -> None:
        self.entries[job.key] |= {"status": "done", **self.wanted, "input_sha256": digest, "pixels": pixels}

    def failed(self, job: Job, reason: str) -> None:
        """Name the reason, and take away what an earlier call made of another picture under this name."""
        for name in job.outputs:
            with contextlib.suppress(OSError):  # it is not there, or its name is too long to be
                (self.out / name).unlink()
        self.entries[job.key] |= {"status": "failed", "reason": reason}
        terminal.problem(reason)

    def save(self) -> None:
        """Write our entries beside those that another call may have written meanwhile."""
        self.entries = _read_record(self.out) | {key: self.entries[key] for key in self.ours}
        write_json(self.out / RECORD, {"format": 1, "segkit": __version__, "files": self.entries})

    def _is_done(self, job: Job) -> bool:
        entry = self.entries.get(job.key, {})
        expected = {"status": "done", "outputs": job.outputs, **self.wanted}
        if any(entry.get(key) != value for key, value in expected.items()):
            return False
        there = all(os.path.lexists(self.out / name) for name in job.outputs)
        return there and entry.get("input_sha256") == _hash(job.source)


def predict(network: Network, jobs: Sequence[Job], out: Path, model: str, overwrite: bool = False) -> Prediction:
    """Do the jobs that are not done yet.

    Args:
        network: what runs.
        jobs: from `plan`.
        model: a hash of the weights; another model makes everything new.

    Raises:
        UsageError: an output exists that is not one of ours, and `overwrite` is not set.
    """
    task = network.task
    if task.mode == "multilabel":
        raise UsageError("Masks of overlapping classes (mode multilabel) cannot be written as label images.")
    record = Record(out, {"model": model, "preprocess": plain(network.preprocess)})
    todo = record.remaining(jobs, overwrite)
    record.begin(todo)

    def read() -> Iterator[tuple[tuple[Job, NDArray[Any], str], NDArray[Any], None]]:
        for job in todo:
            try:
                image = _fit_channels(read_image(job.source), task.channels, job.source)
            except SegkitError as error:
                record.failed(job, error.message)
                bar.advance()
                continue
            yield (job, image, _hash(job.source)), image, None

    with terminal.progress("predicting", len(todo)) as bar:
        try:
            found = predict_images(network, read())
            for count, ((job, image, digest), probabilities) in enumerate(found, start=1):
                labels = labels_of(probabilities, task)
                try:
                    _write(job, out, image, labels, task)
                    pixels = {name: int((labels == value).sum()) for value, name in enumerate(task.classes)}
                    record.done(job, digest, pixels)
                except OSError as error:
                    if error.errno == errno.ENOSPC:
                        raise
                    record.failed(job, f"The mask of {job.source} cannot be written: {error.strerror}.")
                bar.advance()
                if count % SAVE_EVERY == 0:
                    record.save()
        finally:
            record.save()
    failed = sum(record.entries[job.key]["status"] == "failed" for job in todo)
    return Prediction(record.entries, len(todo) - failed, len(jobs) - len(todo), failed)


def _inputs(source: Path, out: Path) -> tuple[Path, list[Path]]:
    if not source.exists():
        raise UsageError(f"The input {source} does not exist.", "Give an image file or a folder of images.")
    if source.is_file():
        return source.parent, [source]
    if source.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the input folder itself.", "Choose another --out.")
    found, others = [], 0
    for folder, folders, names in os.walk(source):  # does not follow links to folders, so no loop
        folders[:] = sorted(name for name in folders if not _is_left_alone(Path(folder) / name, out))
        paths = [Path(folder) / name for name in names if not name.startswith(".")]
        found += [path for path in paths if is_image(path)]
        others += sum(not is_image(path) for path in paths)
    if not found:
        raise UsageError(f"No images below {source} ({others} other files).", f"Image files end in {', '.join(SUFFIXES)}.")
    if others:
        terminal.say(f"{others} file(s) that are no images are left alone.")
    return source, sorted(found, key=lambda path: natural_order(str(path)))


def _is_left_alone(folder: Path, out: Path) -> bool:
    """Hidden folders, and what this or an earlier call has written."""
    return folder.name.startswith(".") or folder.resolve() == out.resolve() or (folder / RECORD).exists()


def _output_names(keys: Sequence[str]) -> list[str]:
    """Names without extension where that is unambiguous; inputs that share a stem keep theirs.

    >>> _output_names(["a/x.png", "a/x.jpg", "b/x.png"])
    ['a/x.png', 'a/x.jpg', 'b/x']
    """
    names = [key.rpartition(".")[0] if is_image(Path(key)) else key for key in keys]
    while True:  # a name that keeps its extension may meet another one's stem, so until nothing meets
        owners: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            for output in (name, f"{name}.overlay"):
                owners.setdefault(output.casefold(), []).append(index)
        shared = {index for indices in owners.values() if len(indices) > 1 for index in indices}
        widened = [index for index in shared if names[index] != keys[index]]
        if not widened:
            return names
        for index in widened:
            names[index] = keys[index]


def _read_record(out: Path) -> dict[str, dict[str, Any]]:
    path = out / RECORD
    if not path.exists():
        return {}
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
        entries = {str(key): dict(entry) for key, entry in files.items()}
        if not all(isinstance(entry.get("outputs", []), list) for entry in entries.values()):
            raise ValueError("outputs must be a list")
        return entries
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is not a record of segkit predict.", "Choose another --out.") from None


def _fit_channels(image: NDArray[Any], channels: int, path: Path) -> NDArray[Any]:
    if len(image) == channels:
        return image
    if len(image) == 1:
        return image.repeat(channels, axis=0)
    if channels == 1 and (image == image[:1]).all():
        return image[:1]
    raise SegkitError(f"{path} has {len(image)} channels; the model takes {channels}.")


def _write(job: Job, out: Path, image: NDArray[Any], labels: NDArray[Any], task: Task) -> None:
    write_image(out / job.mask, labels * 255 if task.mode == "binary" else labels)
    if job.overlay is not None:
        write_image(out / job.overlay, overlay(image, labels, task.classes))


def _is_same_input(owner: dict[str, Any] | None, job: Job) -> bool:
    """Whether an output was made from this job's input: the same path, or the same content elsewhere."""
    if owner is None:
        return False
    return owner.get("input") == str(job.source.absolute()) or owner.get("input_sha256") == _hash(job.source)


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
