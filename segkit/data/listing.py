"""Which files below a folder may be data: links are followed; what systems, archives and people leave there is no case."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segkit.data.foreign import count_foreign, foreign_format, how_to_convert

logger = logging.getLogger(__name__)

STRAY_FOLDERS = {
    *("__macosx", "__pycache__", "@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "@recently-snapshot"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "network trash folder", "temporary items"),
}
STRAY_FILES = re.compile(r"(eh)?thumbs(_vista)?\.db(:.*)?|desktop\.ini|icon\r|~\$.*|(readme|licen[cs]e)(\.[^.]*)?", re.I)
LONGEST_LINK = 1024  # bytes of a link that was unpacked as text


def is_stray(name: str) -> bool:
    """Whether a file or folder of this name is no part of any dataset: hidden, a system's own, or a note about the data.

    >>> [name for name in ("._1.png", "Thumbs.db", "@eaDir", "README.png", "1.png") if not is_stray(name)]
    ['1.png']
    """
    return name.startswith(".") or name.lower() in STRAY_FOLDERS or bool(STRAY_FILES.fullmatch(name))


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which 2 comes before 10.

    >>> sorted(["10", "1", "2"], key=natural_order)
    ['1', '2', '10']
    """
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)


def walk(
    root: Path,
    leave_out: Callable[[Path], bool] = lambda folder: False,
    unreadable: Callable[[OSError], None] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below root, root among them, with the names of its files; stray folders are left out.

    Links to folders are followed once the rest is done. One that leads to a folder that was seen, or to one that holds a
    folder that is being walked, is not: loops end, and no file comes twice.

    Args:
        root: where to begin.
        leave_out: of a folder, whether it is not entered.
        unreadable: takes the error of a folder that cannot be listed.
    """
    seen, starts, waiting = set[str](), list[str](), [str(root)]
    while waiting:
        start = waiting.pop(0)
        real = os.path.realpath(start)
        if real in seen or any(f"{other}{os.sep}".startswith(f"{real.rstrip(os.sep)}{os.sep}") for other in starts):
            continue
        starts.append(real)
        for place, folders, names in os.walk(start, onerror=unreadable):
            here = real + place[len(start) :]
            seen.add(here)
            entered = [name for name in sorted(folders) if not is_stray(name) and not leave_out(Path(place, name))]
            links = [name for name in entered if os.path.islink(os.path.join(place, name))]
            waiting += [os.path.join(place, name) for name in links]
            folders[:] = [name for name in entered if name not in links and f"{here}{os.sep}{name}" not in seen]
            yield Path(place), sorted(names)


def list_files(folder: Path, endings: Sequence[str], leave_out: Callable[[Path], bool] = lambda folder: False) -> list[Path]:
    """All files below a folder whose names have one of these endings (lower case), in natural order.

    Stray files are left out, links are followed. What is left out though it may hold data is said: folders that cannot be
    read, links to nothing, pictures that are called README, and images in formats that are not read.
    """

    def say(error: OSError) -> None:
        logger.warning(f"{error.filename} cannot be read and is left out: {error.strerror}.")

    found, foreign = list[str](), list[str]()
    for place, names in walk(folder, leave_out, say):
        for name in names:
            foreign += [name] if foreign_format(name) and not is_stray(name) else []
            known = name.lower().endswith(tuple(endings))
            if known and not is_stray(name):
                found.append(os.path.join(place, name))
            elif known and name[0] != ".":
                logger.warning(f"{place / name} is taken for a note about the data, and is left out.")
            elif not known and not is_stray(name) and (problem := lost_link(place / name)):
                logger.warning(f"{problem} What it stands for is left out.")
    if foreign:
        logger.warning(f"{folder}: {count_foreign(foreign)} left out: not read here. {how_to_convert(foreign[0])}")
    return [Path(path) for path in sorted(found, key=natural_order)]


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name; stray ones are left out."""
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and not is_stray(path.name)]


def lost_link(path: Path) -> str:
    """Why a name without ending may stand for a folder that is not there; empty where it does not.

    Git on Windows, and archives, unpack a link to a folder as a small text file.
    """
    if path.suffix:
        return ""
    if path.is_symlink():
        return "" if path.exists() else f"{path} is a link to nothing ({path.readlink()})."
    try:
        if not path.is_file() or not 0 < path.stat().st_size <= LONGEST_LINK:
            return ""
        target = path.read_bytes().decode()
        is_link = "\n" not in target and "\0" not in target and (path.parent / target).is_dir()
    except (OSError, ValueError):
        return ""
    return f"{path} is a link that was unpacked as text ({target})." if is_link else ""
