"""Several processes that share one training, evaluation or prediction, on one machine or many.

`segkit ... --devices N` starts them here (cli/launch.py), `torchrun` and `accelerate launch` anywhere; each finds its number
in RANK and how many there are in WORLD_SIZE. A process that is alone never asks torch: every function here is then trivial.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from segkit import watchdog
from segkit.cpus import usable_cpus
from segkit.errors import SegkitError, UsageError
from segkit.rendezvous import ALONE, meet, plain_signals

logger = logging.getLogger(__name__)

T = TypeVar("T")
# torch's words when another process has ended, or did not come to an exchange within half an hour
LOST_PEER = (
    "third_party/gloo",
    "ProcessGroupGloo",
    "ProcessGroupNCCL",
    "NCCL error",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
    "failed to recv",
)
OWN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")  # variables that say who this process is
MPI = (
    "OMPI_COMM_WORLD_",
    "PMI_",
    "MPI_LOCAL",
    "MV2_COMM_WORLD_",
)  # how those of MPI begin, which accelerate goes by as well
_joined: list[Callable[[], None]] = []  # what ends the watch over its waits, once this process has met the others
_alone: list[bool] = []  # true in a command that processes do not share


class EndedElsewhereError(SegkitError):
    """Another process has failed, and says why."""


def share_work(shared: bool) -> None:
    """Whether this command is one that processes share; in any other one each of them is alone, and speaks for itself."""
    _alone[:] = [] if shared else [True]


def world_size() -> int:
    return 1 if _alone else max(1, _number("WORLD_SIZE") or 1)


def local_world_size() -> int:
    """Processes on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE") or world_size())


def rank() -> int:
    return _number("RANK") or 0 if world_size() > 1 else 0


def local_rank() -> int:
    """Its number among the processes on this machine."""
    return _number("LOCAL_RANK") or 0 if world_size() > 1 else 0


def _number(name: str) -> int | None:
    """The whole number that an environment variable holds; None where it is not set, empty or something else."""
    text = os.environ.get(name, "").strip()
    return int(text) if text.isdecimal() else None


def check_environment() -> None:
    """Refuse variables that contradict each other; a stray one, without WORLD_SIZE, means nothing.

    Raises:
        UsageError: with the variable, its value and what is allowed.
    """
    words, size = os.environ.get("WORLD_SIZE", "").strip(), _number("WORLD_SIZE")
    if _alone or not words or size == 1:
        return
    if not size:
        raise UsageError(f"WORLD_SIZE={words} is no number of processes.", "unset WORLD_SIZE")
    own, port = _number("RANK"), _number("MASTER_PORT")
    for name, wrong, allowed in (
        ("RANK", own is None or own >= size, f"0 to {size - 1}"),
        ("LOCAL_RANK", bool(os.environ.get("LOCAL_RANK", "").strip()) and _number("LOCAL_RANK") is None, "a whole number"),
        ("MASTER_ADDR", not os.environ.get("MASTER_ADDR", "").strip(), "the address of rank 0"),
        ("MASTER_PORT", port is None or not 0 < port < 65536, "a port number"),
    ):
        if wrong:
            found = f"is {os.environ[name]!r}" if os.environ.get(name) else "is not set"
            raise UsageError(
                f"WORLD_SIZE={size} stands for {size} processes, but {name} {found} (allowed: {allowed}).", ALONE
            )


@contextmanager
def own_environment() -> Iterator[None]:
    """Within the block the variables of launchers say what segkit goes by, whatever MPI and others have left there."""
    own = {"RANK": rank(), "WORLD_SIZE": world_size(), "LOCAL_RANK": local_rank(), "LOCAL_WORLD_SIZE": local_world_size()}
    before = {name: value for name, value in os.environ.items() if name in OWN or name.startswith(MPI)}
    for name in before:
        del os.environ[name]
    if own["WORLD_SIZE"] > 1:
        os.environ.update({name: str(value) for name, value in own.items()})
    try:
        yield
    finally:
        for name in OWN:
            os.environ.pop(name, None)
        os.environ.update(before)


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
    if local_rank() >= torch.cuda.device_count():
        raise UsageError(
            f"{local_world_size()} processes need as many GPUs; this machine has {torch.cuda.device_count()}.",
            f"--devices {torch.cuda.device_count()}, or --device cpu.",
        )
    return f"cuda:{local_rank()}"


def init_process_group(cpu: bool = True) -> None:
    """Join the process group; comes before any of the functions below.

    Args:
        cpu: exchange tensors on the CPU (gloo); training on GPUs exchanges its gradients there.

    Raises:
        UsageError: the environment contradicts itself.
        SegkitError: the others did not come.
    """
    check_environment()
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"):
        if (_number(name) or 1) > 1 and world_size() == 1:
            logger.warning(
                f"{name}={os.environ[name]} is not looked at: this process works alone. Several: --devices N, torchrun."
            )
    if world_size() > 1:
        import torch
        from accelerate.state import PartialState

        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, usable_cpus() // local_world_size()))
            os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        with plain_signals(), own_environment():
            if not torch.distributed.is_initialized() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
                store = torch.distributed.PrefixStore("segkit", meet(rank(), world_size()))  # type: ignore[attr-defined]
                backend = "gloo" if cpu or not torch.cuda.is_available() else "nccl"
                torch.distributed.init_process_group(backend, store=store, rank=rank(), world_size=world_size())
            PartialState(cpu=cpu)
        if not _joined:
            _joined.append(watchdog.watch(others()))


def destroy_process_group() -> None:
    """Leave the process group at the end of a command."""
    if _joined:
        import gc

        import torch.distributed as distributed

        gc.collect()  # what still holds the group would end with the interpreter, when its threads must not run any more
        if distributed.is_initialized():
            distributed.destroy_process_group()
        _joined.pop()()


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


def others() -> str:
    """Words for all processes but this one."""
    ranks = [str(other) for other in range(world_size()) if other != rank()]
    shown = f"{', '.join(ranks[:8])}{', ...' if len(ranks) > 8 else ''}"
    return f"process {shown}" if len(ranks) == 1 else f"the other {len(ranks)} processes ({shown})"


def lost_peer(error: BaseException) -> SegkitError | None:
    """What is to be said of an error that comes from another process' end; None if it is about something else."""
    cause: BaseException | None = error
    while cause is not None:
        if world_size() > 1 and any(word in str(cause) for word in LOST_PEER):
            who = others() if world_size() == 2 else f"one of {others()}"
            return SegkitError(
                f"{who[0].upper()}{who[1:]} has ended, or gave no sign of life for too long.",
                "Its own message, if there is one, says why; a process without one was killed, perhaps as memory ran out.",
            )
        cause = cause.__cause__
    return None


def is_reported_elsewhere(error: Exception) -> bool:
    """Whether another process reports this error: it failed there, or on this machine before the group was joined."""
    if is_main():
        return False
    if isinstance(error, EndedElsewhereError):
        return True
    if lost_peer(error):
        return multiprocessing.parent_process() is not None  # which tells of its children's ends
    return not _joined and local_rank() != 0
