"""The metadata of an ONNX file, read without the network in it: a few kilobytes of a file of any size, and no library.

An ONNX file is a Protocol Buffers message (onnx.proto, ModelProto): field 1 is the version of its format (IR), field 8 holds
the operator sets that it uses, field 14 pairs of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from segkit.errors import SegkitError

IR_VERSION, OPERATOR_SETS, PROPERTIES = 1, 8, 14  # ModelProto.ir_version, .opset_import, .metadata_props
LARGEST = 100_000_000  # bytes of one property
# the first onnxruntime that loads it (onnxruntime.ai, "ONNX opset support"; cgmanifest of its releases)
FIRST_OF_IR = {7: "1.6", 8: "1.10", 9: "1.15", 10: "1.18"}
FIRST_OF_OPSET = {15: "1.10", 16: "1.11", 17: "1.12", 18: "1.14", 19: "1.15", 20: "1.17", 21: "1.18", 22: "1.21"}


class OnnxMetadata(NamedTuple):
    """What an ONNX file says about itself.

    Args:
        ir: the version of its format.
        opset: the version of its operators; 0 where it names none.
        properties: its metadata_props.
    """

    ir: int
    opset: int
    properties: dict[str, str]

    @property
    def runtime(self) -> str:
        """Which onnxruntime it needs, in words."""
        needed = f"IR {self.ir}, opset {self.opset}"
        if self.ir > max(FIRST_OF_IR) or self.opset > max(FIRST_OF_OPSET):
            return f"an onnxruntime newer than 1.21, one that knows {needed}"
        firsts = (FIRST_OF_IR.get(self.ir, "1.6"), FIRST_OF_OPSET.get(self.opset, "1.6"))
        return f"onnxruntime {max(firsts, key=lambda text: int(text.partition('.')[2]))} or newer ({needed})"


def read_metadata(path: Path) -> OnnxMetadata:
    """The metadata of an ONNX file.

    Raises:
        SegkitError: it cannot be read, or is not an ONNX file.
    """
    ir, opset, properties = 0, 0, dict[str, str]()
    try:
        size = path.stat().st_size
        if not size:
            raise ValueError("it is empty")
        with path.open("rb") as file:
            for field in _fields(file, size):
                if field.number == IR_VERSION:
                    ir = field.value
                elif field.number == OPERATOR_SETS:
                    opset = opset or _opset(file, field.length)
                elif field.number == PROPERTIES:
                    properties |= [_pair(file, field.length)]
    except OSError as error:
        raise SegkitError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError):
        raise SegkitError(f"{path} is not an ONNX file.", "Give a file that segkit export wrote.") from None
    return OnnxMetadata(ir, opset, properties)


class _Field(NamedTuple):
    """One field of a message: a number, or so many bytes that follow."""

    number: int
    value: int
    length: int


def _fields(file: BinaryIO, end: int) -> Iterator[_Field]:
    """Each field up to `end`; what is not read of its content meanwhile is skipped."""
    following = file.tell()
    while following != end:
        file.seek(following)
        tag = _varint(file)
        number, kind = tag >> 3, tag & 7
        value, length = (_varint(file), 0) if kind == 0 else (0, _varint(file) if kind == 2 else {1: 8, 5: 4}[kind])
        following = file.tell() + length
        if following > end or number == 0:
            raise ValueError("a field goes beyond its message")
        yield _Field(number, value, length)


def _opset(file: BinaryIO, length: int) -> int:
    """The version in an OperatorSetIdProto of ONNX's own domain; 0 for another's."""
    version, end = 0, file.tell() + length
    for field in _fields(file, end):
        if field.number == 1 and file.read(field.length) not in (b"", b"ai.onnx"):
            return 0
        version = field.value if field.number == 2 else version
    return version


def _pair(file: BinaryIO, length: int) -> tuple[str, str]:
    """A StringStringEntryProto."""
    if length > LARGEST:
        raise ValueError("a property is too long")
    end = file.tell() + length
    texts = {field.number: file.read(field.length).decode() for field in _fields(file, end)}
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
