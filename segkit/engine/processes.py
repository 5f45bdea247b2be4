"""Several processes that train, evaluate or predict one thing together, on one machine or many.

`segkit ... --devices N` starts them here (cli/launch.py), `torchrun` and `accelerate launch` anywhere; each finds its number
in RANK and how many there are in WORLD_SIZE. A process that is alone never asks torch: every function here is then trivial.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from segkit.errors import SegkitError, UsageError

T = TypeVar("T")
# torch's words when another process has ended
LOST = ("Connection closed by peer", "Connection reset by peer", "ProcessGroupGloo", "NCCL error")
_met: list[bool] = []  # true once this process has met the others


class EndedElsewhereError(SegkitError):
    """Another process has failed, and says why."""


def count() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def count_here() -> int:
    """Those on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count()))


def rank() -> int:
    return int(os.environ.get("RANK", 0)) if count() > 1 else 0


def is_main() -> bool:
    """Whether this process decides, writes and speaks for all."""
    return rank() == 0


def own_device(name: str) -> str:
    """The device that a name means for this process: of several GPUs the one with its number.

    Raises:
        UsageError: there are not as many.
    """
    import torch

    if count() > 1 and name.startswith("cuda:"):
        raise UsageError(f"--device {name} is one GPU; {count()} processes take one each.", "Leave --device out.")
    if count() == 1 or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    if int(os.environ.get("LOCAL_RANK", 0)) >= torch.cuda.device_count():
        raise UsageError(
            f"{count_here()} processes need as many GPUs; this machine has {torch.cuda.device_count()}.",
            f"--devices {torch.cuda.device_count()}, or --device cpu.",
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def join(cpu: bool = True) -> None:
    """Meet the others, before any of the functions below.

    Args:
        cpu: whether what they exchange lies there; training on GPUs exchanges gradients.
    """
    if count() > 1:
        import torch
        from accelerate.state import PartialState

        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // count_here()))
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        PartialState(cpu=cpu)
        _met.append(True)


def leave() -> None:
    """Part from the others at the end of a command."""
    if _met:
        import gc

        import torch.distributed as distributed

        gc.collect()  # what still holds the group would end with the interpreter, when its threads must not run any more
        if distributed.is_initialized():
            distributed.destroy_process_group()


def share(items: Sequence[T]) -> Sequence[T]:
    """This process' part of them."""
    return items[rank() :: count()] if count() > 1 else items


def gather(items: Sequence[T]) -> list[T]:
    """What all processes have, by rank; `share` took it apart in another order."""
    return [item for part in each(list(items)) for item in part]


def each(value: T) -> list[T]:
    """The value that each process has, by rank."""
    if count() == 1:
        return [value]
    import torch.distributed as distributed

    values: list[Any] = [None] * count()
    distributed.all_gather_object(values, value)
    return values


def agree(value: T) -> T:
    """The main process' value, in all of them."""
    return each(value)[0]


def wait() -> None:
    """Until all are here."""
    each(None)


def for_all(error: SegkitError) -> SegkitError:
    """An error that all processes come to: the main one says it."""
    elsewhere = EndedElsewhereError(error.message)
    elsewhere.exit_code = error.exit_code
    return error if is_main() else elsewhere


def silent(error: Exception) -> bool:
    """Whether another process says why: of one that has failed, and of what went wrong on this machine before they met."""
    if is_main():
        return False
    if isinstance(error, EndedElsewhereError) or any(word in str(error) for word in LOST):
        return True
    return not _met and os.environ.get("LOCAL_RANK", "0") != "0"
