"""Command lines in processes of their own, forked from one that has imported torch: the import takes longer than they do.

A process may be told to kill itself at a moment of its training, which is one of

    step      after the Nth step of the optimiser
    save      half of the Nth state is written
    rename    all of the Nth state is written, under its temporary name
    weights   the state is new, the Nth model.safetensors is not yet written
    validate  at the beginning of the Nth validation
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import multiprocessing
import os
import pty
import runpy
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import Result, save_blank

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    "segkit.training.train segkit_unets.unet segkit_losses.dice segkit.evaluation.evaluate segkit.workflows "
    "matplotlib.pyplot torch._inductor rich.progress pydantic.type_adapter".split()
)


@dataclass(frozen=True)
class Started:
    """A command line that runs: its process, and the files that take what it prints."""

    process: Any
    out: Any
    err: Any

    def end(self, seconds: float = 120) -> Result:
        """Wait for its end; fails after so many seconds."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {seconds} s: {Path(self.err.name).read_text()}")
        with self.out, self.err:
            return Result(self.process.exitcode, Path(self.out.name).read_text(), Path(self.err.name).read_text())


def start(*words: Any, dies_at: tuple[str, int] | None = None, **variables: Any) -> Started:
    """`segkit WORDS...`, on one thread, as the leader of its group; with `--devices N` its own are forked as well.

    Variables of its environment may be given, such as `TERM="dumb"`; of Python's own it heeds PYTHONPATH alone.
    """
    return _started(_run, [str(word) for word in words], dies_at, variables=variables)


def launch(*words: Any, dies_at: tuple[str, int] | None = None, **variables: Any) -> Result:
    """`start` it and wait for its end; a moment to die at must come."""
    done = start(*words, dies_at=dies_at, **variables).end()
    assert dies_at is None or done.code == -signal.SIGKILL, done.err
    return done


def launch_script(path: Path, *words: Any) -> Result:
    """`python PATH WORDS...`, and wait for its end."""
    return _started(_run_script, str(path), [str(word) for word in words], variables={}).end()


def on_a_terminal(*words: Any, **variables: Any) -> str:
    """What `segkit WORDS...` writes to a terminal."""
    main, other = pty.openpty()
    name = os.ttyname(other)
    process = SERVER.Process(target=_prepared, args=(name, name, variables, _run, [str(word) for word in words], None))
    process.start()
    parts: list[bytes] = []
    reader = threading.Thread(target=_read_to_the_end, args=(main, parts))
    reader.start()
    process.join(120)
    process.kill()  # where it is still running
    process.join()
    os.close(other)
    reader.join()
    os.close(main)
    assert process.exitcode == 0, b"".join(parts)
    return b"".join(parts).decode()


def _read_to_the_end(terminal: int, parts: list[bytes]) -> None:
    with contextlib.suppress(OSError):  # both ends are closed
        while part := os.read(terminal, 65536):
            parts.append(part)


def _started(work: Callable[..., None], *arguments: Any, variables: dict[str, Any]) -> Started:
    out, err = tempfile.NamedTemporaryFile(), tempfile.NamedTemporaryFile()  # noqa: SIM115 (closed at its end)
    process = SERVER.Process(target=_prepared, args=(out.name, err.name, variables, work, *arguments))
    process.start()
    return Started(process, out, err)


def _prepared(out: str, err: str, variables: dict[str, Any], work: Callable[..., None], *arguments: Any) -> None:
    os.setsid()
    for name, descriptor in ((out, 1), (err, 2)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY), descriptor)
    sys.stdout, sys.stderr = (open(number, "w", 1, errors="backslashreplace", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.update({key: str(value) for key, value in variables.items()})
    sys.path[:0] = [str(variables["PYTHONPATH"])] if "PYTHONPATH" in variables else []
    work(*arguments)


def _run_script(path: str, words: list[str]) -> None:
    sys.argv = [path, *words]
    runpy.run_path(path, run_name="__main__")


def _run(words: list[str], dies_at: tuple[str, int] | None) -> None:
    import torch
    from matplotlib.figure import Figure

    from segkit.cli.app import run

    Figure.savefig = save_blank  # type: ignore[method-assign,assignment]
    multiprocessing.set_start_method("fork", force=True)  # for its readers, as in an ordinary process
    torch.set_num_threads(1)
    spawn = importlib.import_module("torch.multiprocessing.spawn")
    whole = spawn.start_processes
    spawn.start_processes = lambda work, *rest, **named: whole(  # type: ignore[attr-defined]
        functools.partial(_begin, work), *rest, **named, start_method="fork"
    )
    if dies_at is not None:
        _die_at(*dies_at)
    sys.exit(run(words))


def _begin(work: Callable[..., Any], *arguments: Any) -> Any:
    """One of the processes of `--devices`: a fork would print twice, once for the handler of the process it comes from."""
    logging.getLogger("segkit").handlers.clear()
    return work(*arguments)


def _die_at(moment: str, number: int) -> None:
    import safetensors.torch
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from segkit.training import train

    due = _Countdown(number)
    if moment == "step":
        register_optimizer_step_post_hook(lambda *_: due.die_if(due.next()))
    elif moment == "save":
        torch.save = due.half_written(torch.save)
    elif moment == "rename":
        torch.save = due.after(torch.save)
    elif moment == "weights":
        safetensors.torch.save_file = due.before(safetensors.torch.save_file)
    elif moment == "validate":
        train.validate = due.before(train.validate)
    else:
        raise ValueError(moment)


class _Countdown:
    """Kills the process at the `number`th call of what it wraps."""

    def __init__(self, number: int) -> None:
        self.left = number

    def next(self) -> bool:
        self.left -= 1
        return self.left == 0

    def die_if(self, due: bool) -> None:
        if due:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self.die_if(self.next())
            return function(*arguments, **named)

        return call

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            self.die_if(self.next())
            return result

        return call

    def half_written(self, save: Callable[..., Any]) -> Callable[..., Any]:
        def call(document: Any, path: Path) -> None:
            save(document, path)
            if due := self.next():
                os.truncate(path, path.stat().st_size // 2)
            self.die_if(due)

        return call
