"""What the cache holds: how much, when it was last used, and what is removed where that is too much or too old.

Each case is an entry of a few files that share a name. The time of change of the last of them is that of its last use.
What a training uses is written down in a file that it keeps locked, so that nobody removes it meanwhile.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from segkit.errors import DiskFullError, UsageError
from segkit.files import SET_CACHE, TEMPORARY, write_text

logger = logging.getLogger(__name__)

IN_USE = "in-use-"  # names of the files that say what is used begin with it
LIMIT = "limit"  # file that holds the limit, in bytes
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
FRESH = 3600.0  # seconds in which what another training has prepared may not be noted as in use yet


@dataclass(frozen=True)
class Entry:
    """A case in the cache, or what a process that was killed has left of one.

    Args:
        key: what the names of its files begin with.
        files: of it.
        size: bytes of them all.
        used: when it was made or last used, in seconds since 1970.
    """

    key: str
    files: tuple[Path, ...]
    size: int
    used: float


def entries(folder: Path) -> list[Entry]:
    """What the cache holds, least recently used first."""
    parts: dict[str, list[tuple[Path, os.stat_result]]] = defaultdict(list)
    for path in folder.glob("[0-9a-f][0-9a-f]/*") if folder.is_dir() else ():
        with suppress(OSError):  # removed meanwhile
            parts[path.name if path.name.startswith(TEMPORARY) else path.name.partition(".")[0]].append((path, path.stat()))
    found = [
        Entry(
            key,
            tuple(path for path, _ in files),
            sum(status.st_size for _, status in files),
            max(status.st_mtime for _, status in files),
        )
        for key, files in parts.items()
    ]
    return sorted(found, key=lambda entry: (entry.used, entry.key))


@contextmanager
def in_use(folder: Path, keys: Sequence[str]) -> Iterator[None]:
    """Within the block nobody removes these entries. Does nothing where there are no file locks."""
    try:
        import fcntl

        note = folder / f"{IN_USE}{secrets.token_hex(8)}"
        write_text(note, "\n".join(keys))
        handle = os.open(note, os.O_RDONLY)
    except (ImportError, OSError, DiskFullError):  # on Windows; a cache that cannot be written
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        note.unlink(missing_ok=True)
        os.close(handle)


def keys_in_use(folder: Path) -> set[str]:
    """The entries that trainings use now; the notes of those that were killed are taken away."""
    found: set[str] = set()
    try:
        import fcntl
    except ImportError:
        return found
    for note in folder.glob(f"{IN_USE}*"):
        with suppress(OSError):
            handle = os.open(note, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                note.unlink(missing_ok=True)
            except BlockingIOError:
                found.update(note.read_text().split())
            finally:
                os.close(handle)
    return found


def prune(
    folder: Path, limit: int | None = None, older_than: float | None = None, spared: float = 0.0
) -> tuple[list[Entry], list[Entry]]:
    """Remove what is too old, and then the least recently used until the rest is within the limit.

    Args:
        folder: of the cache.
        limit: bytes that may stay; 0 removes everything, None nothing.
        older_than: days since the last use after which an entry goes.
        spared: what was used in the last so many seconds stays.

    Returns:
        What was removed, and what would have been but is in use.
    """
    found, held, now = entries(folder), keys_in_use(folder), time.time()
    left, removed, kept = sum(entry.size for entry in found), list[Entry](), list[Entry]()
    for entry in found:
        age = now - entry.used
        if not ((limit is not None and left > limit) or (older_than is not None and age > older_than * 86400)):
            continue
        if entry.key in held or age < (FRESH if entry.key.startswith(TEMPORARY) else spared):
            kept.append(entry)
            continue
        for path in sorted(entry.files, key=lambda path: path.suffix != ".json"):  # without it the rest counts for nothing
            path.unlink(missing_ok=True)
        removed.append(entry)
        left -= entry.size
    for pair in folder.glob("[0-9a-f][0-9a-f]") if removed else ():
        with suppress(OSError):  # it holds something
            pair.rmdir()
    return removed, kept


def parse_size(text: str) -> int | None:
    """Bytes that a text means; None for "none". A unit is asked for: 20 is likelier to mean gigabytes than bytes.

    Raises:
        UsageError: neither a size nor "none".

    >>> parse_size("20GB"), parse_size("1.5 GiB"), parse_size("none")
    (20000000000, 1610612736, None)
    """
    if text.strip().lower() == "none":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if match is not None and not match[2] and float(match[1]) == 0:
        return 0
    if match is None or match[2] not in UNITS:
        raise UsageError(f"--limit {text}: that is no size.", "A number with a unit, such as 500MB or 20GB; or none.")
    return int(float(match[1]) * UNITS[match[2]])


def read_limit(folder: Path) -> int | None:
    """The bytes that the cache may hold, as `--limit` set them; None where there is no limit."""
    try:
        return int((folder / LIMIT).read_text())
    except (OSError, ValueError):
        return None


def write_limit(folder: Path, limit: int | None) -> None:
    """Remember the limit for all trainings to come; None lifts it. Raises UsageError where that cannot be written."""
    try:
        if limit is None:
            (folder / LIMIT).unlink(missing_ok=True)
        else:
            write_text(folder / LIMIT, f"{limit}\n")
    except OSError as error:
        raise UsageError(f"The cache cannot be written in {folder}: {error.strerror}.", SET_CACHE) from None


def keep_limit(folder: Path) -> None:
    """After new entries: remove the least recently used ones beyond the limit, where one is set."""
    limit = read_limit(folder)
    removed, _ = prune(folder, limit, spared=FRESH) if limit is not None else ([], [])
    if removed:
        size = sum(entry.size for entry in removed) / 1e6
        logger.info(f"cache       {len(removed)} least recently used cases were removed ({size:,.1f} MB over the limit)")
