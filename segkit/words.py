"""Numbers beside their nouns, and commands to type, as a person would write them."""

from __future__ import annotations

import shlex
from pathlib import Path

IRREGULAR = {"class": "classes", "axis": "axes", "process": "processes", "batch": "batches", "patch": "patches"}


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the singular or plural.

    Args:
        number: of things.
        noun: in the singular; of several words the last one changes.

    >>> counted(1, "case"), counted(3, "test case"), counted(2, "axis")
    ('1 case', '3 test cases', '2 axes')
    """
    before, space, last = noun.rpartition(" ")
    many = IRREGULAR.get(last, f"{last}s")
    return f"{number:,} {before}{space}{last if number == 1 else many}"


def command(*words: str | Path) -> str:
    """A segkit command that a shell takes as it stands: names with blanks are quoted.

    >>> command("train", "--resume", Path("my runs/first"))
    "segkit train --resume 'my runs/first'"
    """
    return shlex.join(("segkit", *map(str, words)))
