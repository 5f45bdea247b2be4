"""Which run a file of weights was made in: an exported file carries a reference, so that its held-out cases are found."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from segkit.errors import SegkitError, UsageError
from segkit.runs.folder import RunFolder, find_run, read_split
from segkit.runs.weights import Header, read_header

IDENTITY = ("model", "options", "task", "metrics")  # of a header: what two files of one training have in common


def reference_to(run: RunFolder, file: Path) -> dict[str, str]:
    """What the header of a file says about the run that it is made of.

    Returns:
        folder: the run, as seen from the file's own folder; data: the fingerprint of its data; split: a hash of its split.
    """
    folder = os.path.relpath(run.path, file.absolute().parent)
    return {"folder": folder, "data": trained_on(run) or "", "split": _split_hash(run)}


def trained_on(run: RunFolder) -> str | None:
    """The fingerprint of a run's data."""
    try:
        return str(json.loads(run.manifest.read_text(encoding="utf-8"))["data"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def run_of(file: Path, header: Header, named: Path | None) -> RunFolder | None:
    """The run that a file of weights was made in.

    Args:
        file: weights of a run, or standing alone, or exported.
        header: its header.
        named: a run that the user says it is.

    Returns:
        The run: named, or that it lies in, or that its reference leads to. None where it is not known or not there.

    Raises:
        UsageError: `named` is no run, or not the one.
    """
    if named is not None:
        run = find_run(named)
        if run is None:
            raise UsageError(f"--run {named} is not a run folder.", "Give the folder that segkit train made.")
        beside = find_run(file)
        elsewhere = beside is not None and is_own(beside, file) and not beside.path.samefile(run.path)
        if elsewhere or not _made_in(run, file, header):
            raise UsageError(
                f"{file} was not made in the run {named}: its training or its split was another.",
                "Give the run that it was made in, or leave out --run.",
            )
        return run
    folder = _reference(header).get("folder")
    candidates = [find_run(file), find_run(file.absolute().parent / folder) if folder else None]
    return next((run for run in candidates if run is not None and _made_in(run, file, header)), None)


def is_own(run: RunFolder, file: Path) -> bool:
    """Whether a file is the run's model.safetensors itself."""
    return run.weights.is_file() and file.samefile(run.weights)


def referred_data(header: Header) -> str | None:
    """The fingerprint of the data that an exported file was trained on, where its header says it."""
    return _reference(header).get("data") or None


def referred_folder(file: Path, header: Header) -> str:
    """The run folder that an exported file refers to, there or not; empty where its header names none."""
    folder = _reference(header).get("folder")
    return os.path.normpath(file.parent / folder) if folder else ""


def _made_in(run: RunFolder, file: Path, header: Header) -> bool:
    if is_own(run, file):
        return True
    reference = _reference(header)
    if reference:
        return reference.get("data") == trained_on(run) and reference.get("split") == _split_hash(run)
    try:
        own = read_header(run.weights)
    except SegkitError:
        return False
    return bool(own.metrics) and all(getattr(own, fact) == getattr(header, fact) for fact in IDENTITY)


def _reference(header: Header) -> Mapping[str, str]:
    found = header.export.get("run", {})
    return found if isinstance(found, Mapping) else {}


def _split_hash(run: RunFolder) -> str:
    try:
        split = read_split(run)
    except SegkitError:
        return ""
    return hashlib.sha256(json.dumps(split, sort_keys=True).encode()).hexdigest()
