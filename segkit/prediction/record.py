"""predictions.json: what was done with which weights, by input; says what a second call may skip."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit import __version__
from segkit.errors import UsageError
from segkit.files import alone_in, write_json
from segkit.prediction.jobs import RECORD, Job

logger = logging.getLogger(__name__)

SHARE = 20  # between two writings pass at least so many times what one takes


class PredictionRecord:
    """predictions.json: what was done with which weights, by input."""

    def __init__(self, out: Path, decisive: dict[str, Any], needs: str | None = None) -> None:
        """Args: the output folder, what besides the input decides a result, and what an entry must have to be done."""
        self.out, self.decisive, self.needs = out, decisive, needs
        self.entries = _read_record(out)
        self.ours: dict[str, None] = {}  # in order
        self.earlier: dict[str, dict[str, Any]] = {}  # what the record said of ours before
        self.dropped: set[str] = set()
        self._next_save = 0.0

    def remaining(self, jobs: Sequence[Job], overwrite: bool) -> list[Job]:
        """The jobs whose result is not there yet.

        Raises:
            UsageError: an output exists that is not one of ours, and `overwrite` is not set.
        """
        renumbered = _renumbered(self.entries, jobs)
        owners = {
            name: entry for key, entry in self.entries.items() for name in entry.get("outputs", []) if key not in renumbered
        }
        ours = {name for key in renumbered for name in self.entries[key].get("outputs", [])}
        foreign = [
            name
            for job in jobs
            for name in job.outputs
            if os.path.lexists(self.out / name) and name not in ours and not _is_same_input(owners.get(name), job)
        ]
        if foreign and not overwrite:
            raise UsageError(
                f"{self.out / foreign[0]} exists and was not made from this input, as far as {RECORD} says.",
                "Choose another --out, or type --overwrite to replace it.",
            )
        return [job for job in jobs if overwrite or not self._is_done(job)]

    def begin(self, jobs: Sequence[Job]) -> None:
        self.earlier = {job.key: self.entries[job.key] for job in jobs if job.key in self.entries}
        for job in jobs:
            self.entries[job.key] = {"status": "pending", "input": str(job.input.source.absolute()), "outputs": job.outputs}
            self.ours[job.key] = None
        self.save()

    def is_pending(self, job: Job) -> bool:
        return bool(self.entries[job.key]["status"] == "pending")

    def done(self, job: Job, digest: str, found: dict[str, Any]) -> None:
        self.entries[job.key] |= {"status": "done", **self.decisive, "input_sha256": digest, **found}
        self._remove(self._abandoned(job, job.outputs))

    def failed(self, job: Job, reason: str, begun: bool = False) -> None:
        """Name the reason, and take away what is no result of it: what was `begun` to be written, and what an earlier call
        made of another picture that had this name. What was made of a file that cannot be read just now, or is gone, stays.
        """
        before, digest = self.earlier.get(job.key, {}), digest_of(job.input.files)
        if begun:
            self._remove(job.outputs)
        if digest and before.get("input_sha256") != digest:
            self._remove(self._abandoned(job, ()))
        self.entries[job.key] |= {"status": "failed", "reason": reason}
        if "input_sha256" in before and not digest:
            self.entries[job.key]["input_sha256"] = before["input_sha256"]
        logger.error(reason)

    def drop_superseded(self, jobs: Sequence[Job]) -> int:
        """Remove what earlier calls made of series that have another name now, or were taken from their folder: a folder of
        two series gives series-1 and series-2, of one its own name. Only what the record says that we wrote, and only once
        all series of the folder are predicted.

        Returns:
            How many entries are gone.
        """
        unfinished = {_place(job.key) for job in jobs if self.entries.get(job.key, {}).get("status") != "done"}
        keys = _renumbered(self.entries, jobs) - {job.key for job in jobs}
        keys = {key for key in keys if _place(key) not in unfinished}
        entries = {key: self.entries.pop(key) for key in keys}
        kept = {name for entry in self.entries.values() for name in entry.get("outputs", [])}
        names = [name for entry in entries.values() for name in entry.get("outputs", []) if name not in kept]
        self._remove(names)
        for folder in {(self.out / name).parent for name in names} - {self.out}:
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()
        if keys:
            self.dropped |= keys
            self.save()
            logger.warning(f"removed, since the series of their folders are others now: {', '.join(sorted(names or keys))}")
        return len(keys)

    def _abandoned(self, job: Job, kept: Sequence[str]) -> list[str]:
        """Earlier outputs of an input that no input owns any more."""
        others = {name for key, entry in self.entries.items() if key != job.key for name in entry.get("outputs", [])}
        return [name for name in self.earlier.get(job.key, {}).get("outputs", []) if name not in kept and name not in others]

    def _remove(self, names: Sequence[str]) -> None:
        for path in (self.out / name for name in names):
            if self.out.resolve() in path.resolve().parents:
                with contextlib.suppress(OSError):  # it is not there, or its name is too long to be
                    path.unlink()

    def save(self) -> None:
        """Write our entries beside those that another call may have written meanwhile."""
        started = time.monotonic()
        self.out.mkdir(parents=True, exist_ok=True)
        with alone_in(self.out):
            earlier = {key: entry for key, entry in _read_record(self.out).items() if key not in self.dropped}
            self.entries = earlier | {key: self.entries[key] for key in self.ours}
            write_json(self.out / RECORD, {"format": 1, "segkit": __version__, "files": self.entries})
        now = time.monotonic()
        self._next_save = now + max(1.0, SHARE * (now - started))

    def save_if_due(self) -> None:
        """Often, but not so often that writing a long record takes most of the time."""
        if time.monotonic() > self._next_save:
            self.save()

    def _is_done(self, job: Job) -> bool:
        entry = self.entries.get(job.key, {})
        expected = {"status": "done", **self.decisive}
        if any(entry.get(key) != value for key, value in expected.items()):
            return False
        if not set(job.outputs) <= set(entry.get("outputs", [])) or (self.needs is not None and self.needs not in entry):
            return False
        there = all(os.path.lexists(self.out / name) for name in job.outputs)
        return there and entry.get("input_sha256") == digest_of(job.input.files)


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
    return owner.get("input") == str(job.input.source.absolute()) or owner.get("input_sha256") == digest_of(job.input.files)


def _place(key: str) -> str:
    """The folder of a series, whether it is the only one or one of several."""
    return re.sub(r"/series-\d+$", "", key)


def _renumbered(entries: Mapping[str, Mapping[str, Any]], jobs: Sequence[Job]) -> set[str]:
    """Keys of entries made of a series that is a job of another name now, or is not in its folder any more."""
    names = {str(path.absolute()): job.key for job in jobs if job.input.form == "series" for path in job.input.files}
    folders = {(_place(names[path]), Path(path).parent) for path in names}
    found = set()
    for key, entry in entries.items():
        source = str(entry.get("input", ""))
        renamed = (_place(key), Path(source).parent) in folders and names.get(source) != key
        if renamed and (source in names or not os.path.lexists(source)):
            found.add(key)
    return found


def digest_of(files: Sequence[Path]) -> str:
    """A hash of the content of one file, or of several in order; empty where one cannot be read."""
    try:
        digests = []
        for path in files:
            with path.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return ""
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
