"""How many steps fit into a time: pure arithmetic, and the clock that watches a training against its end."""

from __future__ import annotations

import bisect
import math
import time
from collections import deque

from segkit.durations import duration_words, seconds_of
from segkit.errors import UsageError

VALIDATIONS = 5, 30  # fewer choose the best weights badly, more are not needed
SHARE = 0.1  # of the time that validation may take
MOST = 0.2  # of it, where fewer than the least number of validations would fit into that share
ENOUGH = 0.97  # of the time that could be used, if there are more validations for it, or epochs are whole passes
RECENT = 100  # steps that the clock goes by; earlier half as many as there were: the first ones fill caches
EVIDENCE = 0.1  # of the time for training must be over before the clock judges it
SETTLED = 3  # steps, too: a first one may compile
SLACK = 0.05  # of the time, by which the end may come later or earlier before the number of steps is changed
AT_THE_END = 1.0  # seconds for curves and farewell


def fit_steps(
    seconds_left: float, step_seconds: float, validation_seconds: float, items: int, batch: int
) -> tuple[int, int]:
    """Epochs, and steps of each, that end just inside a time, each with its validation.

    Validation takes at most a tenth of the time (a fifth, where there would be fewer than five), and there are at most 30.
    An epoch is a number of whole passes over the items where that costs hardly any step.

    Args:
        seconds_left: for all steps and validations.
        step_seconds, validation_seconds: what one takes; 0 s without validation.
        items, batch: that are trained on, and that a step takes.

    Raises:
        UsageError: not even one step fits.

    >>> fit_steps(600, 0.5, 2, items=64, batch=2)
    (30, 36)
    """
    most = int((seconds_left - validation_seconds) / step_seconds)
    if most < 1:
        raise too_short(seconds_left, step_seconds, validation_seconds)
    few, many = VALIDATIONS
    afforded = int(SHARE * seconds_left / max(validation_seconds, 1e-9))
    if afforded < few:
        afforded = min(few, int(MOST * seconds_left / validation_seconds))
    highest, one_pass = max(1, min(many, afforded, most)), max(1, -(-items // batch))
    found = []  # the time that is used, epochs, steps
    for epochs in range(max(1, min(few, highest), highest // 2), highest + 1):
        steps = int((seconds_left - epochs * validation_seconds) / epochs / step_seconds)
        while steps and epochs * (steps * step_seconds + validation_seconds) > seconds_left:  # floating point
            steps -= 1
        for kept in {steps, steps - steps % one_pass} - {0}:
            found.append((epochs * (kept * step_seconds + validation_seconds), epochs, kept))
    most_used = max(found, default=(0.0, 1, 1))
    enough = [one for one in found if one[0] >= ENOUGH * most_used[0]] or [most_used]
    _, epochs, steps = max(enough, key=lambda one: (one[2] % one_pass == 0, *one[1:]))
    return epochs, steps


def too_short(seconds: float, step_seconds: float, validation_seconds: float) -> UsageError:
    """The error of a time in which not even one step can be done."""
    validation = f" and a validation {duration_words(validation_seconds)}" if validation_seconds else ""
    return UsageError(
        f"The time is too short for one step: {duration_words(max(0.0, seconds))} are left for training, a step takes "
        f"{duration_words(step_seconds)}{validation}.",
        "A longer --time, or a smaller model, image or batch.",
    )


def seconds_needed(
    total: int, done: int, validated: int, epoch_steps: int, step_seconds: float, validation_seconds: float
) -> float:
    """What is left of a training takes: `total` steps of which `done` are done, with `validated` validations so far."""
    return (total - done) * step_seconds + (-(-total // epoch_steps) - validated) * validation_seconds


def steps_within(
    seconds: float, limit: int, done: int, validated: int, epoch_steps: int, step_seconds: float, validation_seconds: float
) -> int:
    """The largest total of steps, up to a limit, that ends within so many seconds; `done` where no more step does."""

    def needed(total: int) -> float:
        return seconds_needed(total, done, validated, epoch_steps, step_seconds, validation_seconds)

    return max(done, bisect.bisect_right(range(limit + 1), seconds, lo=done, key=needed) - 1)


def clock_of(limit: str | None, began: float | None) -> Clock:
    """A clock for a time as `train.time` has it, counted from `began` (of time.perf_counter) or from now on."""
    return Clock(None if limit is None else seconds_of(limit), time.perf_counter() if began is None else began)


class Clock:
    """Measures steps and validations while a training runs, and says when it will end.

    Args:
        limit: seconds that all may take; None: as long as it takes.
        began: when they began to count, of time.perf_counter.

    Attributes:
        epoch_steps: steps between two validations.
        validation_steps: how many steps a validation takes, guessed until one was measured.
    """

    def __init__(self, limit: float | None, began: float) -> None:
        self.limit, self.began = limit, began
        self.epoch_steps, self.validation_steps = 1, 0.0
        self.measured: float | None = None  # seconds of the last validation, with all that comes before the next epoch
        self._steps = deque[float](maxlen=2 * RECENT)
        self._last = began
        self._known: float | None = None  # when enough was watched to judge by

    def begin(self) -> None:
        """What comes now is a step."""
        self._last = time.perf_counter()
        if self._known is None:
            self._known = self._last + EVIDENCE * max(0.0, self.left)

    def tick(self) -> None:
        """A step is done."""
        now = time.perf_counter()
        self._steps.append(now - self._last)
        self._last = now

    @property
    def left(self) -> float:
        """Seconds until all must be over, less what the end itself takes; endless without a limit."""
        return math.inf if self.limit is None else self.limit - (time.perf_counter() - self.began) - AT_THE_END

    @property
    def step_seconds(self) -> float | None:
        """Of late; None before the first."""
        late = list(self._steps)[len(self._steps) // 2 :]
        return sum(late) / len(late) if late else None

    @property
    def validation_seconds(self) -> float:
        return self.measured if self.measured is not None else self.validation_steps * (self.step_seconds or 0.0)

    def seconds_left(self, total: int, done: int, validated: int) -> float | None:
        """Until `total` steps will be done; None before that is known."""
        if self.step_seconds is None:
            return None
        return seconds_needed(total, done, validated, self.epoch_steps, self.step_seconds, self.validation_seconds)

    def fitting(self, total: int, planned: int, done: int, validated: int) -> int | None:
        """The total of steps, up to the planned one, that ends in time; None where `total` does, or nobody can say yet.

        So a training that was shortened gets its steps back once the machine is as fast as before.
        """
        needed = self.seconds_left(total, done, validated)
        if self.limit is None or needed is None or self.step_seconds is None:
            return None
        if self.left > 0 and (len(self._steps) < SETTLED or self._known is None or self._last < self._known):
            return None
        late = needed > self.left + SLACK * self.limit
        if not late and (total >= planned or needed >= self.left - SLACK * self.limit):
            return None
        found = steps_within(
            self.left,
            total if late else planned,
            done,
            validated,
            self.epoch_steps,
            self.step_seconds,
            self.validation_seconds,
        )
        return found if found != total else None
