"""Files appear whole or not at all, and a full disk is named in whatever words a library says so."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from segkit.errors import DiskFullError, SegkitError
from segkit.files import replacing


class LibraryError(Exception):
    """As safetensors, torch and OpenCV have them."""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_and_no_more_quota_are_one_error_that_names_the_file(number: int, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("before")
    with pytest.raises(DiskFullError, match=r"no space left on the disk to write .*x.json"), replacing(tmp_path / "x.json"):
        raise OSError(number, "whatever the system says")
    assert (tmp_path / "x.json").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "error",
    [RuntimeError("unexpected pos 663552 vs 663448"), OSError("655360 requested and 100 written"), LibraryError("I/O")],
    ids=["torch", "numpy", "safetensors"],
)
@pytest.mark.parametrize("full", [True, False])
def test_an_error_that_names_no_reason_is_no_space_where_there_is_none(
    error: Exception, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    if full:
        monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(DiskFullError if full else type(error)), replacing(tmp_path / "x.pt"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_what_is_said_already_is_not_said_otherwise(tmp_path: Path) -> None:
    with pytest.raises(SegkitError, match="mine"), replacing(tmp_path / "x"):
        raise SegkitError("mine")
