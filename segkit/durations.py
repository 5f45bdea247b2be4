"""Lengths of time as they are typed and said: 90s, 10m, 2h, 1h30m."""

from __future__ import annotations

import re
import time
from datetime import datetime

UNITS = {"h": 3600, "m": 60, "s": 1}
FORM = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
ALLOWED = "a length of time such as 90s, 10m, 2h or 1h30m"


def seconds_of(text: str) -> float:
    """The seconds that a length of time has.

    Raises:
        ValueError: it has no unit, is nothing or less, or is no length of time, in words for the user.

    >>> seconds_of("1h30m"), seconds_of("90 s"), seconds_of("0.5h")
    (5400.0, 90.0, 1800.0)
    """
    word = "".join(text.lower().split())
    found = FORM.fullmatch(word)
    if found is None or not word:
        unit = " has no unit; it must be" if re.fullmatch(r"[\d.]+", word) else " is not"
        raise ValueError(f"{text!r}{unit} {ALLOWED}")
    total = sum(float(number or 0) * size for number, size in zip(found.groups(), UNITS.values(), strict=True))
    if total <= 0:
        raise ValueError(f"{text!r} is no time at all; it must be {ALLOWED}")
    return total


def duration_words(seconds: float) -> str:
    """Seconds as one would say them, and as they may be typed: rounded to whole ones, and to minutes from ten on.

    >>> duration_words(5400), duration_words(90), duration_words(754), duration_words(0.25)
    ('1h30m', '1m30s', '13m', '0.25s')
    """
    if seconds < 10:
        return f"{seconds:.2g}s"
    whole = round(seconds) if seconds < 600 else 60 * round(seconds / 60)
    parts = {"h": whole // 3600, "m": whole % 3600 // 60, "s": whole % 60}
    return "".join(f"{number}{unit}" for unit, number in parts.items() if number)


def clock_in(seconds: float) -> str:
    """What a clock here shows after so many seconds; with the day if it is another one."""
    now = time.time()
    then = datetime.fromtimestamp(now + seconds)
    return then.strftime("%H:%M" if then.date() == datetime.fromtimestamp(now).date() else "%a %H:%M")
