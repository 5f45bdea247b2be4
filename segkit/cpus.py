"""How many CPUs this process may use, which containers and schedulers make fewer than the machine has."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """CPUs that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
