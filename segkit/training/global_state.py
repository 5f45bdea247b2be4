"""Whatever a training changes for the whole process is put back when it ends, also after an error."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState

from segkit import distributed

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS")


@contextmanager
def preserved_global_state() -> Iterator[None]:
    """Determinism, cuDNN's flags, threads, random numbers, environment variables and accelerate's state."""
    cudnn = torch.backends.cudnn
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark, cudnn_deterministic, threads = cudnn.benchmark, cudnn.deterministic, torch.get_num_threads()
    variables = {name: os.environ.get(name) for name in VARIABLES}
    random_states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    accelerator = {state: dict(state._shared_state) for state in _accelerator_states()}
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.benchmark, cudnn.deterministic = benchmark, cudnn_deterministic
        torch.set_num_threads(threads)
        for name, value in variables.items():
            _set_variable(name, value)
        random.setstate(random_states[0])
        np.random.set_state(random_states[1])
        torch.set_rng_state(random_states[2])
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        for state, shared in accelerator.items():
            state._shared_state.clear()
            state._shared_state.update(shared)


def _accelerator_states() -> tuple[Any, ...]:
    """Of several processes the group stays as it is until the command ends."""
    return (AcceleratorState, GradientState, PartialState) if distributed.world_size() == 1 else ()


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
