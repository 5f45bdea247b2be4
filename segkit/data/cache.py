"""Preprocessed cases on disk, read back memory-mapped, so that decoding and resizing happen once.

A few files per case, among them where its classes lie, named by a hash of everything they depend on: the dataset and its
options, the case's files (path, size, time of change) and the preprocessing. Files appear whole, so two processes may fill
the cache at once and one that is killed leaves nothing half-written.

Where: `SEGKIT_CACHE`, else `$XDG_CACHE_HOME/segkit`, else `~/.cache/segkit`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import reporter
from segkit.data.preprocess import Geometry, forward_image, forward_mask, geometry_of, normalisation_of, to_slices
from segkit.data.reading import read_case
from segkit.errors import SegkitError
from segkit.files import cache_folder, replacing, write_json
from segkit.options import plain
from segkit.settings import Preprocess
from segkit.task import Case, Dataset, Task

SAMPLE = 4096  # bytes that the fingerprint reads at three places of a file
PLACES = 1000, 50  # voxels of a class that are remembered: of a whole case, of a slice
LAYOUT = 4  # of the cached arrays; raised when preprocessing itself changes


@dataclass(frozen=True)
class Cached:
    """A preprocessed case on disk.

    Args:
        case: that it was made from.
        image: file of (C, *S) float32; of (slices, C, *S) where a 2D network sees a volume.
        mask: file of (*S) int32 or (K, *S); likewise (slices, ...).
        places: file of rows (slice, class, *voxel) int32, some voxels of each class; a whole case is slice 0.
        geometry: where the stored image went.
    """

    case: Case
    image: Path
    mask: Path
    places: Path
    geometry: Geometry

    def load(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Memory-mapped: only what is used is read."""
        return np.load(self.image, mmap_mode="r"), np.load(self.mask, mmap_mode="r")


@dataclass(frozen=True)
class CacheRecipe:
    """Everything but the case itself that a cached array depends on.

    Args:
        dataset: opened.
        origin: what tells this dataset from others: its name, plugin, folder and options, as JSON knows values.
        preprocess: complete.
        dims: the network's spatial dimensions.
    """

    dataset: Dataset
    origin: Sequence[Any]
    preprocess: Preprocess
    dims: int


def fill_cache(recipe: CacheRecipe, cases: Sequence[Case], unreadable: dict[str, str] | None = None) -> list[Cached]:
    """The cached form of labelled cases; what is not there yet is made.

    Args:
        recipe: how the cases are made.
        cases: of its dataset.
        unreadable: takes the ids of cases that cannot be used, with the reasons, instead of an error; those that are in it
            already are left out.

    Raises:
        SegkitError: a case cannot be read, or its mask does not fit its image or its classes.
    """
    made = []
    with reporter.progress("preprocessing", len(cases)) as bar:
        for case in cases:
            bar.advance()
            if unreadable is not None and case.id in unreadable:
                continue
            try:
                made.append(_cached(recipe, case))
            except SegkitError as error:
                if unreadable is None:
                    raise
                unreadable[case.id] = error.message
    return made


def _cached(recipe: CacheRecipe, case: Case) -> Cached:
    key = _key(recipe, case)
    stem = cache_folder() / key[:2] / key
    image, mask, places = (stem.with_name(f"{key}.{part}.npy") for part in ("image", "mask", "places"))
    geometry = stem.with_name(f"{key}.json")
    if not _is_whole((image, mask, places), geometry):
        _make(recipe, case, (image, mask, places), geometry)
    return Cached(case, image, mask, places, _read_geometry(geometry))


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """A hash over all cases: ids, groups, file names, sizes and samples of the content. Equal for the same copy anywhere."""
    digest = hashlib.sha256()
    if not all(case.files for case in dataset.cases) and dataset.options is not None:
        digest.update(json.dumps(plain(dataset.options), sort_keys=True).encode())  # generated: its options are the data
    for case in sorted(dataset.cases, key=lambda case: case.id):
        files = {role: [path.name, _sample_of(path)] for role, path in sorted(case.files.items())}
        digest.update(json.dumps([case.id, case.group, case.subset, files]).encode())
    return {"cases": len(dataset.cases), "sha256": digest.hexdigest(), "of": "ids, groups, file names, sizes and samples"}


def _make(recipe: CacheRecipe, case: Case, files: Sequence[Path], geometry_file: Path) -> None:
    image_file, mask_file, places_file = files
    sample = read_case(recipe.dataset, case)
    assert sample.mask is not None, "read_case saw to it"
    geometry = geometry_of(sample.image.shape[1:], recipe.preprocess, recipe.dims, sample.spacing)
    intensity = normalisation_of(sample.image, recipe.preprocess, sample.spacing)
    image = forward_image(sample.image, recipe.preprocess, geometry, intensity)
    mask = forward_mask(sample.mask.astype(np.int32), geometry)
    if geometry.slice_axis is not None:
        image = to_slices(image, geometry.slice_axis, lead=1)
        mask = to_slices(mask, geometry.slice_axis, lead=mask.ndim - 3)
    sliced = geometry.slice_axis is not None
    _save(places_file, _places(mask if sliced else mask[None], recipe.dataset.task, PLACES[sliced]))
    _save(mask_file, np.ascontiguousarray(mask))
    _save(image_file, np.ascontiguousarray(image))
    write_json(geometry_file, asdict(geometry))


def _places(masks: NDArray[Any], task: Task, most: int) -> NDArray[np.int32]:
    """Some voxels of each foreground class in each of (slices, *S) or (slices, K, *S): rows (slice, class, *voxel)."""
    rows, draw = [np.empty((0, masks.ndim + 1 - (task.mode == "multilabel")), np.int32)], np.random.default_rng(0)
    for number, mask in enumerate(masks):
        for value in range(1, len(task.classes)):
            found = np.argwhere(mask[value - 1] == 1 if task.mode == "multilabel" else mask == value)
            chosen = found if len(found) <= most else found[np.sort(draw.choice(len(found), most, replace=False))]
            rows.append(np.insert(chosen, 0, [[number], [value]], axis=1).astype(np.int32))
    return np.concatenate(rows)


def _is_whole(arrays: Sequence[Path], geometry: Path) -> bool:
    """Whether a case is there undamaged, as far as headers and file sizes tell."""
    if not geometry.exists():  # written last
        return False
    try:
        [np.load(path, mmap_mode="r") for path in arrays]
        _read_geometry(geometry)
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return False
    return True


def _read_geometry(path: Path) -> Geometry:
    values: dict[str, Any] = json.loads(path.read_text())
    sizes = {key: tuple(value) for key, value in values.items() if key != "slice_axis"}
    return Geometry(**sizes, slice_axis=values["slice_axis"])


def _save(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as temporary:
        np.save(temporary, array, allow_pickle=False)


def _key(recipe: CacheRecipe, case: Case) -> str:
    files: Mapping[str, Any] = {role: [str(path), *_stat(path)] for role, path in sorted(case.files.items())}
    own = [case.id, files, plain(recipe.preprocess), recipe.dims, recipe.dataset.task.to_dict()]
    return hashlib.sha256(json.dumps([LAYOUT, *recipe.origin, *own], sort_keys=True).encode()).hexdigest()


def _sample_of(path: Path) -> str:
    """A hash of a file's size and of its beginning, middle and end: small files as a whole."""
    size = _stat(path)[0]
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for start in sorted({0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)}):
            file.seek(start)
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def _stat(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    return status.st_size, status.st_mtime_ns


def measure(folder: Path) -> tuple[int, int]:
    """How many files the cache holds, and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return len(sizes), sum(sizes)


def clear_cache(folder: Path) -> None:
    """Remove the cache's own files: two-letter folders of hash-named entries, and nothing else that may lie there."""
    for entry in folder.glob("[0-9a-f][0-9a-f]") if folder.is_dir() else ():
        shutil.rmtree(entry)
