"""The metadata of an ONNX file, read without the network in it: a few kilobytes of a file of any size, and no library.

An ONNX file is a Protocol Buffers message (onnx.proto, ModelProto), whose field 14 holds pairs of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from segkit.errors import SegkitError

PROPERTIES = 14  # ModelProto.metadata_props
LARGEST = 100_000_000  # bytes of one property


def read_properties(path: Path) -> dict[str, str]:
    """Key -> value of an ONNX file's metadata_props.

    Raises:
        SegkitError: it cannot be read, or is not an ONNX file.
    """
    try:
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        with path.open("rb") as file:
            return dict(_pair(file, length) for field, length in _fields(file, size) if field == PROPERTIES)
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError):
        raise SegkitError(f"{path} is not an ONNX file.", "Give a file that segkit export wrote.") from None


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """Number and length of each field up to `end`; what is not read of its content meanwhile is skipped."""
    following = file.tell()
    while following != end:
        file.seek(following)
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _varint(file)
            length = 0
        else:
            length = _varint(file) if kind == 2 else {1: 8, 5: 4}[kind]
        following = file.tell() + length
        if following > end or number == 0:
            raise ValueError("a field goes beyond its message")
        yield number, length


def _pair(file: BinaryIO, length: int) -> tuple[str, str]:
    """A StringStringEntryProto."""
    if length > LARGEST:
        raise ValueError("a property is too long")
    end = file.tell() + length
    texts = {field: file.read(size).decode() for field, size in _fields(file, end)}
    return texts[1], texts.get(2, "")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number is cut short")
