"""A training that kills itself: `python interrupted.py MOMENT NUMBER WORDS...` is `segkit WORDS...` until then.

MOMENT is "step" (after the NUMBERth step), "save" (half of the NUMBERth state is written), "rename" (all of it is, under its
temporary name), "weights" (the state is new, model.safetensors is not), "validate" (in the NUMBERth validation) or "never".
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from segkit.cli.app import run
from segkit.training import train


class Moment:
    """When to die: at the `number`th call of what it wraps."""

    def __init__(self, number: int) -> None:
        self.number, self.count = number, 0

    def die_if_due(self) -> None:
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            self.die_if_due()
            return function(*arguments, **named)

        return call

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            result = function(*arguments, **named)
            self.die_if_due()
            return result

        return call

    def within(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def call(document: Any, path: Path) -> None:
            self.count += 1
            save(document, path)
            if self.count == self.number:
                os.truncate(path, path.stat().st_size // 2)
            self.die_if_due()

        return call


def main() -> None:
    name, moment = sys.argv[1], Moment(int(sys.argv[2]))
    if name == "step":
        train._step = moment.after(train._step)
    elif name == "save":
        torch.save = moment.within(torch.save)
    elif name == "rename":
        torch.save = moment.after(torch.save)
    elif name == "weights":
        train._write_weights = moment.before(train._write_weights)
    elif name == "validate":
        train.validate = moment.before(train.validate)
    raise SystemExit(run(sys.argv[3:]))


if __name__ == "__main__":
    main()
