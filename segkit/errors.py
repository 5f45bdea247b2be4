"""What goes wrong, in words: every error that a user sees names the thing, its value, what is allowed and what to type."""

from __future__ import annotations

from collections.abc import Iterable


class SegkitError(Exception):
    """Something failed; the command ends with `exit_code` and no traceback.

    Args:
        message: what happened, with the name, the value and the allowed ones.
        hint: what to type or do next.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[type[SegkitError], tuple[str, str]]:
        return type(self), (self.message, self.hint)


class UsageError(SegkitError):
    """The command was typed wrongly, or its input is not there (exit code 2)."""

    exit_code = 2


class MissingDataError(UsageError):
    """The files of a dataset are not where they were looked for."""


class DiskFullError(SegkitError):
    """A file could not be written because its disk, or the share of it that one may use, is full."""


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """Words that name the closest allowed name, or list them all if they are few.

    >>> did_you_mean("resnuet", ["unet", "resunet"])
    "Did you mean 'resunet'?"
    """
    from difflib import get_close_matches

    names = sorted(allowed)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "Allowed: " + ", ".join(names) + "." if names else ""


def first_line(error: BaseException) -> str:
    """What a library said, without the rest of it; its class where it said nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
