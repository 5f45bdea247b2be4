"""What plans have found out before, kept in the cache: facts of data, and what trials took on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from segkit import distributed
from segkit.config.complete import Config, to_toml
from segkit.cpus import usable_cpus
from segkit.data.cache import fingerprint, source_of_preprocessing
from segkit.errors import SegkitError
from segkit.files import cache_folder, to_json, write_text
from segkit.source import source_digest
from segkit.task import Case, Dataset, Task

COSTS = ("model", "loss", "augment", "train")  # sections that decide what a step costs
FREE = ("time", "epochs", "epoch_steps", "seed", "lr")  # of train: they cost nothing


def remembered(what: Any, make: Callable[[], Any]) -> Any:
    """The value that was made of the same things before, else what `make` gives, which is kept.

    Processes that train together do not remember: they measure, and all decide by the same figures.

    Args:
        what: all that the value depends on; like the value, as JSON knows values.
        make: is called where nothing is kept, or what is kept cannot be read.
    """
    if distributed.world_size() > 1:
        return make()
    whole = [source_digest(__name__.rpartition(".")[0]), what]
    key = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / key[:2] / f"{key}.json"  # an entry of the cache like any other (data/cache_entries.py)
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        os.utime(path)  # the last use
        return found
    value = json.loads(to_json(make()))
    with suppress(OSError, SegkitError):  # the next plan finds it out again; whoever needs the cache says what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, to_json(value))
    return value


def cases_as_key(dataset: Dataset, cases: Sequence[Case], origin: Sequence[Any]) -> list[Any]:
    """What tells these cases from others: their files' content, the code that reads them, and its options."""
    content = fingerprint(replace(dataset, cases=tuple(cases)))
    return [content, source_of_preprocessing(), list(origin), dataset.task.to_dict()]


def step_as_key(config: Config, task: Task, size: tuple[int, ...], device: str) -> list[Any]:
    """What a step's cost depends on, this machine included."""
    settings = to_toml(config)
    settings["train"] = {key: value for key, value in settings["train"].items() if key not in FREE}
    machine = [platform.platform(), platform.processor(), usable_cpus(), os.environ.get("OMP_NUM_THREADS"), device]
    return [[settings[one] for one in COSTS], settings["plugins"], task.to_dict(), size, machine, version("torch")]
