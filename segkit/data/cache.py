"""Preprocessed cases on disk, read back memory-mapped, so that decoding and resizing happen once.

A few files per case, among them where its classes lie, named by a hash of everything they depend on: the dataset, its
options and its code, the case as it was listed, its files (path, size, times of change, samples of the content), the
preprocessing and its code. Files appear whole, so two processes may fill the cache at once and one that is killed leaves
nothing half-written.

Where: `SEGKIT_CACHE`, else `$XDG_CACHE_HOME/segkit`, else `~/.cache/segkit`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import reporter
from segkit.data.preprocess import Geometry, forward_image, forward_mask, geometry_of, normalisation_of, to_slices
from segkit.data.reading import read_case
from segkit.errors import DiskFullError, SegkitError
from segkit.files import SET_CACHE, cache_folder, replacing, write_json
from segkit.options import plain
from segkit.settings import Preprocess
from segkit.source import source_digest
from segkit.task import Case, Dataset, Task

SAMPLE = 4096  # bytes that the fingerprint reads at three places of a file
PLACES = 1000, 50  # voxels of a class that are remembered: of a whole case, of a slice
LAYOUT = 4  # of the cached arrays; raised when preprocessing itself changes


@dataclass(frozen=True)
class Cached:
    """A preprocessed case on disk; its files are called KEY.image.npy, KEY.mask.npy, KEY.places.npy and KEY.json.

    Args:
        case: that it was made from.
        image: file of (C, *S) float32; of (slices, C, *S) where a 2D network sees a volume.
        mask: file of (*S) int32 or (K, *S); likewise (slices, ...).
        places: file of rows (slice, class, *voxel) int32, some voxels of each class; a whole case is slice 0.
        geometry: where the stored image went.
        made: just now; False where it was there before.
    """

    case: Case
    image: Path
    mask: Path
    places: Path
    geometry: Geometry
    made: bool = False

    @property
    def key(self) -> str:
        """The name of its entry."""
        return self.image.name.partition(".")[0]

    def load(self) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Memory-mapped: only what is used is read."""
        return np.load(self.image, mmap_mode="r"), np.load(self.mask, mmap_mode="r")


@dataclass(frozen=True)
class CacheRecipe:
    """Everything but the case itself that a cached array depends on.

    Args:
        dataset: opened.
        origin: what tells this dataset from others: its name, plugin, code, folder and options, as JSON knows values.
        preprocess: complete.
        dims: the network's spatial dimensions.
    """

    dataset: Dataset
    origin: Sequence[Any]
    preprocess: Preprocess
    dims: int


class CacheError(SegkitError):
    """The cache itself cannot be used; no case is to blame."""


def fill_cache(recipe: CacheRecipe, cases: Sequence[Case], unreadable: dict[str, str] | None = None) -> list[Cached]:
    """The cached form of labelled cases; what is not there yet is made.

    Args:
        recipe: how the cases are made.
        cases: of its dataset.
        unreadable: takes the ids of cases that cannot be used, with the reasons, instead of an error; those that are in it
            already are left out.

    Raises:
        CacheError: the cache cannot be written.
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
            except CacheError:
                raise
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
    made = not _is_whole((image, mask, places), geometry)
    if made:
        _make(recipe, case, (image, mask, places), geometry)
        if _key(recipe, case) != key:  # what was read may be neither the old files nor the new ones
            geometry.unlink(missing_ok=True)
            raise SegkitError(
                f"The files of case {case.id!r} changed while they were read.", "Start again when they are whole."
            )
    with suppress(OSError):  # a cache that others have filled
        os.utime(geometry)  # the last use
    return Cached(case, image, mask, places, _read_geometry(geometry), made)


def fingerprint(dataset: Dataset) -> dict[str, Any]:
    """A hash over all cases: ids, groups, file names, sizes and samples of the content. Equal for the same copy anywhere."""
    digest = hashlib.sha256()
    if not all(case.files for case in dataset.cases) and dataset.options is not None:
        digest.update(json.dumps(plain(dataset.options), sort_keys=True).encode())  # generated: its options are the data
    for case in sorted(dataset.cases, key=lambda case: case.id):
        files = {role: [path.name, _sample_or_none(path)] for role, path in sorted(case.files.items())}
        digest.update(json.dumps([case.id, case.group, case.subset, files]).encode())
    return {"cases": len(dataset.cases), "sha256": digest.hexdigest(), "of": "ids, groups, file names, sizes and samples"}


def _sample_or_none(path: Path) -> str | None:
    """None for a file that cannot be read: whoever reads the case says so."""
    try:
        return _sample_of(path)
    except SegkitError:
        return None


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
    try:
        _save(places_file, _places(mask if sliced else mask[None], recipe.dataset.task, PLACES[sliced]))
        _save(mask_file, np.ascontiguousarray(mask))
        _save(image_file, np.ascontiguousarray(image))
        write_json(geometry_file, asdict(geometry))
    except DiskFullError as error:
        more = "'segkit data cache --limit 10GB' removes what was not used for long. " + SET_CACHE
        raise CacheError(f"There is no space left on the disk of the cache, {cache_folder()}.", more) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise CacheError(f"The cache cannot be written in {cache_folder()}: {reason}.", SET_CACHE) from error


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
    files = {role: [str(path), _state_of(path), _sample_of(path)] for role, path in sorted(case.files.items())}
    own = [case.id, files, _as_json(case.metadata), plain(recipe.preprocess), recipe.dims, recipe.dataset.task.to_dict()]
    whole = [LAYOUT, source_of_preprocessing(), *recipe.origin, *own]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


@lru_cache
def source_of_preprocessing() -> str:
    """A hash of the code of this room, which plugins read their files with as well."""
    return source_digest(__name__.rpartition(".")[0])


def _as_json(value: Any) -> Any:
    """Any value as JSON knows it; of an object that it does not know, its class."""
    if isinstance(value, Mapping):
        return sorted(([str(key), _as_json(own)] for key, own in value.items()), key=lambda pair: str(pair[0]))
    if isinstance(value, (list, tuple)):
        return [_as_json(own) for own in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return (
        value if isinstance(value, str | int | float | None) else str(value) if isinstance(value, Path) else str(type(value))
    )


def _sample_of(path: Path) -> str:
    """A hash of a file's size and of its beginning, middle and end: small files as a whole; of a folder, of all files in it.

    Raises:
        SegkitError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for inside in sorted(path.rglob("*")) if path.is_dir() else ():
            if inside.is_file():
                digest.update(f"{inside.relative_to(path).as_posix()}/{_sample_of(inside)}".encode())
        if not path.is_dir():
            size = path.stat().st_size
            digest.update(str(size).encode())
            with path.open("rb") as file:
                for start in sorted({0, max(0, size // 2 - SAMPLE // 2), max(0, size - SAMPLE)}):
                    file.seek(start)
                    digest.update(file.read(SAMPLE))
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    return digest.hexdigest()


def _state_of(path: Path) -> list[tuple[int, int, int]]:
    """Size and times of change: of the content, which can be set back, and of anything about the file, which cannot."""
    try:
        found = [one.stat() for one in (path, *sorted(path.rglob("*") if path.is_dir() else ()))]
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    return [(status.st_size, status.st_mtime_ns, status.st_ctime_ns) for status in found]
