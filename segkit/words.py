"""Numbers beside their nouns, as a person would write them."""

from __future__ import annotations

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
