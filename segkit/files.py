"""Files appear whole or not at all: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from segkit.errors import DiskFullError, SegkitError, UsageError

TEMPORARY = ".segkit-"  # names of files that are being written begin with it
FULL = (errno.ENOSPC, errno.EDQUOT)
SET_CACHE = "Name another folder for the cache: export SEGKIT_CACHE=FOLDER"
PROBE = 1 << 20  # bytes that must fit where a writer has failed without saying why


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` (same ending); rename it to `target` when the block ends without error.

    Raises:
        DiskFullError: there was no space, in whatever words the library that wrote says so.
    """
    ending = "".join(target.suffixes[-2:]) if target.suffix == ".gz" else target.suffix
    temporary = target.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}{ending}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except SegkitError:
        raise
    except Exception as error:
        if _is_full(target.parent, error):
            raise DiskFullError(f"There is no space left on the disk to write {target}.", "Make room there.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _is_full(folder: Path, error: Exception) -> bool:
    """Whether it was for want of space that a file could not be written; libraries have errors of their own for it."""
    if isinstance(error, OSError) and error.errno:
        return error.errno in FULL
    probe = folder / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        probe.write_bytes(bytes(PROBE))
    except OSError as refused:
        return refused.errno in FULL
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    return False


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder: processes enter the block one at a time. Does nothing where there are no file locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def check_folder(out: Path | None) -> None:
    """Refuse a folder for results that is a file, or lies below one. Raises UsageError."""
    for path in (out, *out.absolute().parents) if out is not None else ():
        if path.exists():
            if not path.is_dir():
                raise UsageError(f"--out {out}: {path} is a file, not a folder.", "Choose another --out.")
            return


def write_text(target: Path, text: str) -> None:
    with replacing(target) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # file names may be no Unicode


def write_json(target: Path, document: Any) -> None:
    """Strict JSON: a value that is not a number is written as null, so that any reader can open the file."""
    write_text(target, to_json(document) + "\n")


def read_toml(path: Path) -> dict[str, Any]:
    """A run.toml or another configuration file.

    Raises:
        UsageError: missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", "Give the run.toml of a run.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}.") from None


def write_csv(target: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows by column name; what a row does not have, and None, is left empty. Raises ValueError for an unknown column."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(target, text.getvalue())


def to_json(document: Any, encoding: str = "utf-8") -> str:
    """Readable where possible; where a text holds what the encoding lacks (or bytes of a file system), all are escaped."""
    document = _finite(document)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(document, indent=2, allow_nan=False)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value


def cache_folder() -> Path:
    """Where the cache lies: `SEGKIT_CACHE`, else `$XDG_CACHE_HOME/segkit`, else `~/.cache/segkit`; it need not exist.

    Raises:
        UsageError: the user has no home folder.
    """
    own = os.environ.get("SEGKIT_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "segkit"
    try:
        return folder.expanduser()
    except RuntimeError:
        raise UsageError(f"There is no home folder to keep the cache in ({folder}).", SET_CACHE) from None
