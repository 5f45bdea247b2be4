"""What there is to predict, what belongs to each input, and predictions.json: what was done with which weights.

No two inputs ever share an output, and a second call does what is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit import __version__, terminal
from segkit.data.images import SUFFIXES, is_image
from segkit.data.pairing import natural_order
from segkit.data.volumes import is_volume, volume_stem
from segkit.errors import UsageError
from segkit.files import write_json
from segkit.task import Task

RECORD = "predictions.json"
VOLUMES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Job:
    """One input and the outputs that belong to it alone.

    Args:
        key: the input's name below the folder that was given.
        source: its path.
        mask, overlay: output names below the output folder; None where there is none.
    """

    key: str
    source: Path
    mask: str | None
    overlay: str | None

    @property
    def outputs(self) -> list[str]:
        return [name for name in (self.mask, self.overlay) if name is not None]


def plan(source: Path, out: Path, task: Task, with_overlay: bool) -> list[Job]:
    """All inputs with their outputs; no two share one, and none lies on an input.

    Args:
        source: an image or a volume, or a folder of them.
        out: the output folder.
        task: of the model: it says what is read and what is written.
        with_overlay: also draw masks over their images.

    Raises:
        UsageError: nothing to predict, an overlay that cannot be drawn, or an output that would fall on an input.
    """
    masks = task.kind == "segmentation"
    if with_overlay and (task.dims == 3 or not masks):
        raise UsageError("--overlay draws masks over 2D images; this model gives " + ("volumes." if masks else "classes."))
    root, files = _inputs(source, out, task.dims)
    keys = [path.relative_to(root).as_posix() for path in files]
    names = _output_names(keys)
    ending = "png" if task.dims == 2 else "nii.gz"
    jobs = [
        Job(key, path, f"{name}.{ending}" if masks else None, f"{name}.overlay.png" if with_overlay else None)
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
        self.ours: dict[str, None] = {}  # in order

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
            self.ours[job.key] = None
        self.save()

    def is_pending(self, job: Job) -> bool:
        return bool(self.entries[job.key]["status"] == "pending")

    def done(self, job: Job, digest: str, found: dict[str, Any]) -> None:
        self.entries[job.key] |= {"status": "done", **self.wanted, "input_sha256": digest, **found}

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
        return there and entry.get("input_sha256") == digest_of(job.source)


def _inputs(source: Path, out: Path, dims: int) -> tuple[Path, list[Path]]:
    what, wanted = ("images", is_image) if dims == 2 else ("volumes", _is_single_volume)
    if not source.exists():
        raise UsageError(f"The input {source} does not exist.", f"Give a file, or a folder of {what}.")
    if source.is_file():
        return source.parent, [source]
    if source.resolve() == out.resolve():
        raise UsageError(f"--out {out} is the input folder itself.", "Choose another --out.")
    found, others = [], 0
    for folder, folders, names in os.walk(source):  # does not follow links to folders, so no loop
        folders[:] = sorted(name for name in folders if not _is_left_alone(Path(folder) / name, out))
        paths = [Path(folder) / name for name in names if not name.startswith(".")]
        found += [path for path in paths if wanted(path)]
        others += sum(not wanted(path) for path in paths)
    if not found:
        endings = SUFFIXES if dims == 2 else VOLUMES
        raise UsageError(f"No {what} below {source} ({others} other files).", f"Their names end in {', '.join(endings)}.")
    if others:
        terminal.say(f"{others} file(s) that are no {what} are left alone.")
    return source, sorted(found, key=lambda path: natural_order(str(path)))


def _is_single_volume(path: Path) -> bool:
    return path.name.lower().endswith(VOLUMES)


def _is_left_alone(folder: Path, out: Path) -> bool:
    """Hidden folders, and what this or an earlier call has written."""
    return folder.name.startswith(".") or folder.resolve() == out.resolve() or (folder / RECORD).exists()


def _output_names(keys: Sequence[str]) -> list[str]:
    """Names without extension where that is unambiguous; inputs that share a stem keep theirs.

    >>> _output_names(["a/x.png", "a/x.jpg", "b/x.png"])
    ['a/x.png', 'a/x.jpg', 'b/x']
    """
    names = [_stem(key) for key in keys]
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


def _stem(key: str) -> str:
    """
    >>> _stem("a/b.c.png"), _stem("a/x.nii.gz"), _stem("a/x.dat")
    ('a/b.c', 'a/x', 'a/x.dat')
    """
    path = Path(key)
    if is_volume(path):
        return key[: len(key) - len(path.name)] + volume_stem(path)
    return key.rpartition(".")[0] if is_image(path) else key


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


def _is_same_input(owner: dict[str, Any] | None, job: Job) -> bool:
    """Whether an output was made from this job's input: the same path, or the same content elsewhere."""
    if owner is None:
        return False
    return owner.get("input") == str(job.source.absolute()) or owner.get("input_sha256") == digest_of(job.source)


def digest_of(path: Path) -> str:
    """Of a file's content; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
