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
from segkit.engine import state, train

moment, number = sys.argv[1], int(sys.argv[2])
count = 0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(before: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        global count
        count += 1
        if count == number and moment in ("weights", "validate"):
            die()
        result = before(*arguments, **named)
        if count == number:
            die()
        return result

    return call


def torn(before: Callable[..., Any]) -> Callable[..., Any]:
    def call(document: Any, path: Path) -> None:
        global count
        count += 1
        before(document, path)
        if count == number:
            os.truncate(path, path.stat().st_size // 2)
            die()

    return call


if moment == "step":
    train._step = counted(train._step)
elif moment == "save":
    torch.save = torn(torch.save)
elif moment == "rename":
    torch.save = counted(torch.save)
elif moment == "weights":
    train._write_weights = counted(train._write_weights)
elif moment == "validate":
    train.validate = counted(train.validate)
assert state
raise SystemExit(run(sys.argv[3:]))
