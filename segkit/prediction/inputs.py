"""What there is to predict: images, TIFF stacks, NIfTI volumes, DICOM files and series, found and read one way.

Every input has a key, its name below the folder that all inputs have in common; results mirror it.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segkit.data.dicom import SUFFIXES as DICOM_SUFFIXES
from segkit.data.dicom import inspect, is_dicom, spacing_of
from segkit.data.dicom_series import Grouped, by_series, say_left
from segkit.data.foreign import count_foreign, foreign_format, how_to_convert
from segkit.data.images import SUFFIXES, is_image, is_tiff, read_image
from segkit.data.listing import is_stray, lost_link, natural_order, walk
from segkit.data.reading import check_grids, read_sample
from segkit.data.tiff import count_slices
from segkit.data.volumes import is_volume, read_series, read_volume
from segkit.errors import SegkitError, UsageError
from segkit.inference.doubts import Converted
from segkit.task import Case, Dataset, Task
from segkit.words import counted

logger = logging.getLogger(__name__)

LISTS = (".txt", ".lst", ".list")
VOLUMES = (".nii", ".nii.gz", ".hdr", ".mgz", ".mgh")
COLOURS = {"red", "green", "blue", "gray", "grey"}
Form = Literal["image", "tiff", "volume", "series"]


@dataclass(frozen=True)
class Input:
    """One thing to predict.

    Args:
        key: its name below the common folder; unique.
        files: what it is read from.
        form: how; a case of a dataset has the form of what comes out of it, image or volume.
        problem: why it cannot be read, found while listing: a link to nothing, a folder without permission.
        case: of a dataset, which then reads it.
    """

    key: str
    files: tuple[Path, ...]
    form: Form
    problem: str = ""
    case: Case | None = None

    @property
    def source(self) -> Path:
        return self.files[0]


@dataclass(frozen=True)
class Picture:
    """An input, read.

    Args:
        image: (C, *S) in stored units; a volume's axes are closest RAS, a stack's are (H, W, pages).
        spacing: mm along each axis, where known.
        affine: (4, 4) voxel to world of a volume, mm.
        like: the file on whose grid results are written, if it is NIfTI.
        stack: it is a TIFF of several pages.
        converted: the image was gray, or shown as gray: what it was made for the model, in the words of `Doubts`.
    """

    image: NDArray[Any]
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None
    like: Path | None = None
    stack: bool = False
    converted: Converted = ""


def find_inputs(
    words: Sequence[str], listed: Sequence[str], skip: Path, marker: str, volumes: bool
) -> tuple[list[Input], int]:
    """All inputs below what was typed and listed, each once, in natural order.

    Args:
        words: files and folders as typed.
        listed: files and folders of a list; one that does not exist is an input with a problem.
        skip: a folder that is left out, the one that results go to.
        marker: folders that hold a file of this name are left out too.
        volumes: DICOM files of one series are a volume; otherwise each is an image.

    Returns:
        The inputs, and how many other files were seen.

    Raises:
        UsageError: a typed name does not exist, or nothing is there to predict.
    """
    absent = next((word for word in words if not os.path.lexists(word)), None)
    if absent is not None:
        raise UsageError(
            f"The input {absent} does not exist.", "Give files, folders, a list of them (.txt), or - for stdin."
        )
    paths = list(dict.fromkeys(map(_absolute, (*words, *listed))))
    if not paths:
        raise UsageError("There is nothing to predict: the list is empty.")
    check_output(skip, paths)
    made = {path for path in map(_absolute, listed) if _was_written(path, skip, marker)}
    paths = [path for path in paths if path not in made]
    if not paths:
        raise UsageError(
            f"All that is listed ({counted(len(made), 'file')}) was written by segkit predict.",
            "List what they were made from.",
        )
    root = Path(os.path.commonpath([path if path.is_dir() else path.parent for path in paths]))
    found: dict[Path, Input] = {}
    others = len(made)
    slices = [path for path in paths if volumes and path.is_file() and not _looks_known(path) and is_dicom(path)]
    for path in [path for path in paths if path not in slices]:
        below = [_from_file(path, root)]
        if path.is_dir():
            below, count = _below(path, root, skip, marker, volumes)
            others += count
        found |= {entry.source: entry for entry in below if entry.source not in found}
    for _, own in itertools.groupby(sorted(slices), key=lambda path: path.parent):
        found |= {entry.source: entry for entry in _dicom(list(own), root, volumes) if entry.source not in found}
    if not found:
        where = ", ".join(map(str, paths[:3]))
        endings = ", ".join((*SUFFIXES, *VOLUMES))
        raise UsageError(
            f"No images below {where} ({counted(others, 'other file')}).", f"Their names end in {endings}, or are DICOM."
        )
    return sorted(_told_apart(found.values()), key=lambda entry: natural_order(entry.key)), others


def check_output(out: Path, sources: Sequence[Path]) -> None:
    """Refuse an output folder that is one of the input folders. Raises UsageError."""
    if any(path.is_dir() and path.resolve() == out.resolve() for path in sources):
        raise UsageError(f"--out {out} is the input folder itself.", "Choose another --out.")


def _absolute(word: str) -> Path:
    return Path(os.path.abspath(word))  # noqa: PTH100  a link keeps its own name


def _was_written(path: Path, out: Path, marker: str) -> bool:
    """Whether a file lies among results, of this or of an earlier call."""
    return any(folder == _absolute(str(out)) or os.path.lexists(folder / marker) for folder in path.parents)


def inputs_of(dataset: Dataset) -> list[Input]:
    """The cases of a dataset, each an input whatever number of files it has.

    Raises:
        UsageError: a case id cannot be a file name.
    """
    form: Form = "volume" if dataset.task.dims == 3 else "image"
    inputs = []
    for case in dataset.cases:
        if Path(case.id).is_absolute() or ".." in Path(case.id).parts:
            raise UsageError(f"The case id {case.id!r} cannot be the name of a result.")
        files = tuple(path for role, path in case.files.items() if not role.startswith("mask"))
        inputs.append(Input(case.id, files, form, case.problem, case))
    return inputs


def is_list(word: str) -> bool:
    """Whether a typed name is a file that lists inputs."""
    return Path(word).suffix.lower() in LISTS and Path(word).is_file()


def read_lists(words: Sequence[str], stdin: bytes | None, null: bool) -> tuple[list[str], list[str]]:
    """What was typed other than lists, and the entries of the lists. Relative entries start at the working folder.

    Raises:
        UsageError: a list cannot be read.
    """
    plain, listed = [], []
    for word in words:
        if word == "-":
            listed += _entries(stdin or b"", null)
        elif is_list(word):
            try:
                listed += _entries(Path(word).read_bytes(), null)
            except OSError as error:
                raise UsageError(f"The list {word} cannot be read: {error.strerror}.") from None
        else:
            plain.append(word)
    return plain, listed


def read_input(source: Input, task: Task, dataset: Dataset | None = None) -> Picture:
    """Read an input, with as many channels as a model takes.

    Args:
        source: what to read.
        task: of the model.
        dataset: that its case belongs to.

    Raises:
        UsageError: its channels or dimensions are not those of what the model was trained on.
        SegkitError: it cannot be read.
    """
    if source.problem:
        raise SegkitError(source.problem)
    picture = _read(source, dataset)
    _check_dims(picture, task, source)
    image, converted = _fit_channels(picture.image, task, source)
    return replace(picture, image=image, converted=converted)


def _read(source: Input, dataset: Dataset | None) -> Picture:
    if source.case is not None:
        assert dataset is not None
        sample = read_sample(dataset, source.case)
        check_grids(source.files, f"The case {source.key}")
        like = next((path for path in source.files if is_volume(path)), None)
        return Picture(sample.image, sample.spacing, sample.affine, like)
    path = source.source
    if source.form == "series":
        volume = read_series(source.files)
        return Picture(volume.array, volume.spacing, volume.affine)
    if source.form == "volume":
        volume = read_volume(path)
        return Picture(volume.array, volume.spacing, volume.affine, like=path)
    if source.form == "tiff" and not is_dicom(path) and count_slices(path) > 1:
        return Picture(read_volume(path).array, stack=True)
    return Picture(read_image(path), spacing_of(path) if is_dicom(path) else None)


def _check_dims(picture: Picture, task: Task, source: Input) -> None:
    """What a model was trained on decides, not its network: one of slices takes volumes, one of photographs none. Pages are
    images that lie in one file.

    Raises:
        UsageError: an image for a model of volumes, or a volume for one of images.
    """
    flat = picture.image.ndim == 3
    if task.dims == 3 and flat:
        raise UsageError(f"{source.source} is an image; the model takes volumes.")
    if task.dims == 3 and picture.stack:
        raise UsageError(
            f"{source.source} is a stack of images, without spacing and place; the model takes volumes.",
            "Convert it to NIfTI; or --dataset NAME reads it as the dataset of the training does.",
        )
    if task.dims == 2 and not flat and not picture.stack:
        raise UsageError(
            f"{source.source} is a volume; the model was trained on images, of {_channels(task)}.",
            "A model for volumes is trained on volumes; a 2D network then sees them slice by slice.",
        )


def _fit_channels(image: NDArray[Any], task: Task, source: Input) -> tuple[NDArray[Any], Converted]:
    """Gray images are repeated for models of colour images; a volume, or one modality, does not stand for them."""
    if len(image) == task.channels:
        return image, ""
    colours = task.channels == 3 and set(task.channel_names) <= COLOURS
    if len(image) == 1 and colours and source.form in ("image", "tiff"):
        return np.broadcast_to(image, (task.channels, *image.shape[1:])), "colours"
    if task.channels == 1 and len(image) == 3 and all(np.array_equal(image[0], other) for other in image[1:]):
        return image[:1], "gray"
    if len(image) == 3 and task.channels == 1 and task.dims == 2:
        hint = "Save it as gray."
    else:
        hint = (
            "Files of one case are put together by their dataset's naming: --dataset brats2020, or nnunet for _0000, _0001."
        )
    raise UsageError(f"{source.source} has {counted(len(image), 'channel')}; the model takes {_channels(task)}.", hint)


def _channels(task: Task) -> str:
    names = f" ({', '.join(task.channel_names)})" if task.channel_names else ""
    return f"{counted(task.channels, 'channel')}{names}"


def _below(folder: Path, root: Path, skip: Path, marker: str, volumes: bool) -> tuple[list[Input], int]:
    """All inputs of a tree, those behind links too; what is no case wherever it lies is left alone."""
    found, others = list[Input](), 0

    def unreadable(error: OSError) -> None:
        path = Path(error.filename)
        found.append(Input(_key(path, root), (path,), "image", f"The folder {path} cannot be read: {error.strerror}."))

    foreign = list[str]()
    for place, names in walk(folder, lambda below: _was_made(below, skip, marker), unreadable):
        slices = []
        for path in (place / name for name in names):
            if is_stray(path.name):
                others += 1
            elif _looks_known(path):
                found.append(_from_file(path, root))
            elif problem := lost_link(path):
                found.append(Input(_key(path, root), (path,), "image", problem))
            elif path.is_file() and (is_dicom(path) or path.suffix.lower() in DICOM_SUFFIXES):
                slices.append(path)
            else:
                others += path.suffix.lower() != ".img"  # the other half of a .hdr
                foreign += [path.name] if foreign_format(path.name) else []
        found += _dicom(slices, root, volumes)
    if foreign:
        logger.warning(f"{folder}: {count_foreign(foreign)} left alone: not read here. {how_to_convert(foreign[0])}")
    return found, others


def _dicom(files: Sequence[Path], root: Path, volumes: bool) -> list[Input]:
    """DICOM files of one folder: each series a volume, or each file an image; what holds no image is left alone."""
    if not files:
        return []
    grouped = by_series(files) if volumes else _each_alone(files)
    failed = [Input(_key(path, root), (path,), "image", reason) for path, reason in grouped.failed.items()]
    say_left(files[0].parent, grouped.left)
    if not volumes:
        return failed + [Input(_key(path, root), (path,), "image") for own in grouped.series.values() for path in own]
    key = _key(files[0].parent, root)
    key = files[0].parent.name if key == "." else key
    names = [key] if len(grouped.series) == 1 else [f"{key}/series-{number}" for number, _ in enumerate(grouped.series, 1)]
    return failed + [Input(name, tuple(own), "series") for name, own in zip(names, grouped.series.values(), strict=True)]


def _each_alone(files: Sequence[Path]) -> Grouped:
    """For a model of images; a localizer is one too. What cannot be read is told when it is its turn."""
    images, left = list[Path](), list[str]()
    for path in files:
        try:
            other = inspect(path).other
        except SegkitError:
            other = ""
        if other:
            left.append(f"{path.name} ({other})")
        else:
            images.append(path)
    return Grouped({"": images}, left=left)


def _told_apart(inputs: Iterable[Input]) -> Iterator[Input]:
    """Give inputs of one name different ones: a series is named after its folder."""
    taken: set[str] = set()
    for entry in inputs:
        key = next(
            key for key in itertools.chain([entry.key], (f"{entry.key}-{n}" for n in itertools.count(2))) if key not in taken
        )
        taken.add(key)
        yield replace(entry, key=key)


def _from_file(path: Path, root: Path) -> Input:
    """An input of one file, also where its name says nothing: reading it tells."""
    problem = ""
    if not path.is_file():
        what = "is a link to nothing" if path.is_symlink() else "is no file" if path.exists() else "does not exist"
        problem = f"{path} {what}."
    form: Form = "volume" if is_volume(path) else "tiff" if is_tiff(path) else "image"
    return Input(_key(path, root), (path,), form, problem)


def _looks_known(path: Path) -> bool:
    return is_image(path) or path.name.lower().endswith(VOLUMES)


def _was_made(folder: Path, skip: Path, marker: str) -> bool:
    """Whether a folder holds what this or an earlier call has written."""
    return folder.resolve() == skip.resolve() or os.path.lexists(folder / marker)


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _entries(content: bytes, null: bool) -> list[str]:
    content = content.removeprefix(b"\xef\xbb\xbf")  # which editors put before the first line
    entries = content.split(b"\0") if null else content.splitlines()
    return [os.fsdecode(entry) for entry in entries if entry.strip()]
