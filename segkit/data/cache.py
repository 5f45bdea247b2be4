"""Preprocessed cases on disk, read back memory-mapped, so that decoding and resizing happen once.

One pair of .npy files per case, named by a hash of everything they depend on: the dataset and its options, the case's files
(path, size, time of change) and the preprocessing. Files appear whole, so two processes may fill the cache at once and
one that is killed leaves nothing half-written.

Where: `SEGKIT_CACHE`, else `$XDG_CACHE_HOME/segkit`, else `~/.cache/segkit`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import terminal
from segkit.config import Config
from segkit.data.preprocess import forward_image, forward_mask
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.files import replacing
from segkit.options import plain
from segkit.settings import Preprocess
from segkit.task import Case, Dataset

LAYOUT = 1  # of the cached arrays; raised when preprocessing itself changes


@dataclass(frozen=True)
class Cached:
    """A preprocessed case: files of (C, *S) float32 and (*S) int32 (or (K, *S))."""

    case: Case
    image: Path
    mask: Path

    def load(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        return np.load(self.image, mmap_mode="r"), np.load(self.mask, mmap_mode="r")


def fill(dataset: Dataset, cases: Sequence[Case], config: Config) -> list[Cached]:
    """The cached form of labelled cases, making what is not there yet.

    Raises:
        SegkitError: a case cannot be read, or its mask does not fit its image or its classes.
    """
    folder = cache_folder()
    made = []
    with terminal.progress("preprocessing", len(cases)) as bar:
        for case in cases:
            key = _key(case, config)
            image, mask = folder / key[:2] / f"{key}.image.npy", folder / key[:2] / f"{key}.mask.npy"
            if not (image.exists() and mask.exists()):
                _make(dataset, case, config.preprocess, image, mask)
            made.append(Cached(case, image, mask))
            bar.advance()
    return made


def cache_folder() -> Path:
    if "SEGKIT_CACHE" in os.environ:
        return Path(os.environ["SEGKIT_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "segkit"


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """A hash over all cases: ids, groups, file names and sizes. Equal on any machine that holds the same copy."""
    digest = hashlib.sha256()
    for case in sorted(dataset.cases, key=lambda case: case.id):
        files = {role: [path.name, _stat(path)[0]] for role, path in sorted(case.files.items())}
        digest.update(json.dumps([case.id, case.group, case.subset, files]).encode())
    return {"cases": len(dataset.cases), "sha256": digest.hexdigest(), "of": "ids, groups, file names and sizes"}


def _make(dataset: Dataset, case: Case, settings: Preprocess, image_file: Path, mask_file: Path) -> None:
    sample = read_case(dataset, case)
    assert sample.mask is not None
    _save(mask_file, forward_mask(sample.mask.astype(np.int32), settings))
    _save(image_file, forward_image(sample.image, settings))


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _key(case: Case, config: Config) -> str:
    files: Mapping[str, Any] = {role: [str(path), *_stat(path)] for role, path in sorted(case.files.items())}
    record = [
        LAYOUT,
        config.dataset.name,
        config.dataset.found.plugin.version,
        plain(config.dataset.options),
        case.id,
        files,
        plain(config.preprocess),
    ]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size, status.st_mtime_ns
