"""Several processes that share one training, evaluation or prediction, on one machine or many.

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
LOST_PEER = ("Connection closed by peer", "Connection reset by peer", "ProcessGroupGloo", "NCCL error")
_joined: list[bool] = []  # true once this process has met the others


class EndedElsewhereError(SegkitError):
    """Another process has failed, and says why."""


def world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def local_world_size() -> int:
    """Processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size()))


def rank() -> int:
    return int(os.environ.get("RANK", 0)) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process decides, writes and speaks for all."""
    return rank() == 0


def local_device(name: str) -> str:
    """The device that a name means for this process: of several GPUs, the one of its local rank.

    Raises:
        UsageError: there are not as many.
    """
    import torch

    if world_size() > 1 and name.startswith("cuda:"):
        raise UsageError(
            f"--device {name} names one GPU, but {world_size()} processes need one each.", "Leave --device out."
        )
    if world_size() == 1 or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    if int(os.environ.get("LOCAL_RANK", 0)) >= torch.cuda.device_count():
        raise UsageError(
            f"{local_world_size()} processes need as many GPUs; this machine has {torch.cuda.device_count()}.",
            f"--devices {torch.cuda.device_count()}, or --device cpu.",
        )
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}"


def init_process_group(cpu: bool = True) -> None:
    """Join the process group; comes before any of the functions below.

    Args:
        cpu: exchange tensors on the CPU (gloo); training on GPUs exchanges its gradients there.
    """
    if world_size() > 1:
        import torch
        from accelerate.state import PartialState

        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_world_size()))
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        PartialState(cpu=cpu)
        _joined.append(True)


def destroy_process_group() -> None:
    """Leave the process group at the end of a command."""
    if _joined:
        import gc

        import torch.distributed as distributed

        gc.collect()  # what still holds the group would end with the interpreter, when its threads must not run any more
        if distributed.is_initialized():
            distributed.destroy_process_group()


def shard(items: Sequence[T]) -> Sequence[T]:
    """This process' share of the items: every world_size-th, starting at its rank."""
    return items[rank() :: world_size()] if world_size() > 1 else items


def gather_shards(items: Sequence[T]) -> list[T]:
    """The items of all processes, one rank after the other (not in the order before `shard`)."""
    return [item for part in all_gather(list(items)) for item in part]


def all_gather(value: T) -> list[T]:
    """The value that each process has, by rank."""
    if world_size() == 1:
        return [value]
    import torch.distributed as distributed

    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast_object(value: T) -> T:
    """The main process' value, in all of them."""
    return all_gather(value)[0]


def barrier() -> None:
    """Wait until every process has come here."""
    all_gather(None)


def collective_error(error: SegkitError) -> SegkitError:
    """An error that every process runs into: the main one reports it, the others end silently."""
    elsewhere = EndedElsewhereError(error.message)
    elsewhere.exit_code = error.exit_code
    return error if is_main() else elsewhere


def is_reported_elsewhere(error: Exception) -> bool:
    """Whether another process reports this error: it failed there, or on this machine before the group was joined."""
    if is_main():
        return False
    if isinstance(error, EndedElsewhereError) or any(word in str(error) for word in LOST_PEER):
        return True
    return not _joined and os.environ.get("LOCAL_RANK", "0") != "0"
