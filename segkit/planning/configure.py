"""From values to a plan: what will be done and the opened dataset, refused before torch comes if it cannot be."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit import plugins
from segkit.config.complete import Config, complete_config, doubts_about
from segkit.config.device import check_device
from segkit.config.plan import Plan
from segkit.config.resolve import Assignments, RequestedConfig, Values, gather, resolve_config
from segkit.config.starting_point import read_starting_point
from segkit.config.summary import summarize
from segkit.config.unused import refuse_unused
from segkit.durations import duration_words, seconds_of
from segkit.plugins import Catalogue
from segkit.runs.folder import check_new_run
from segkit.task import Dataset

logger = logging.getLogger(__name__)

LONG = 3600  # seconds from which on a training is announced as a long one
AT_THE_END = 2.0  # seconds for the last files and the end of the process


def plan_training(
    flags: Mapping[str, Any],
    options: Assignments,
    config: Path | None,
    recipe: str | None,
    out: Path | None,
    machine: bool = True,
) -> tuple[Config, Dataset]:
    """The configuration and the opened dataset of a new training, said in words.

    Args:
        flags, options: as `gather` takes them.
        config, recipe: the starting point, if any.
        out: the run folder to make, None for one of the next free name.
        machine: as `configure` takes it.

    Raises:
        UsageError: whatever `configure` refuses, or a folder that holds something.
    """
    catalogue = plugins.load()
    values = gather(read_starting_point(config, recipe, catalogue, flags.get("model")), flags, options)
    check_new_run(out)
    return configure(values, catalogue, gather({}, flags, options), machine=machine)


def configure(
    values: Values, catalogue: Catalogue, typed: Values, resumed: bool = False, machine: bool = True
) -> tuple[Config, Dataset]:
    """What will be done and the opened dataset, said in words.

    Args:
        values: that `gather` has put together.
        catalogue: of the plugins.
        typed, resumed: those that were typed now; the split is made already, and nothing is planned anew.
        machine: whether to decide what needs trials on this machine, and with them torch.

    Raises:
        UsageError: something that cannot be, or that was typed and would not be used.
    """
    began = time.perf_counter()
    requested = resolve_config({**values, "model": _model_of(values, catalogue)}, catalogue)

    from segkit.data.reading import open_dataset
    from segkit.data.split import split_cases
    from segkit.data.value_range import fit_to_values

    dataset = open_dataset(requested.dataset, requested.root)
    first = complete_config(requested, dataset, catalogue)
    refuse_unused(typed, first, dataset)  # what can be refused is, before any image is read or torch imported
    check_device(first.train.device)
    if resumed:
        config = fit_to_values(first, requested.preprocess.intensity, dataset)
    else:
        ids = split_cases(dataset.cases, first.split)
        ready, plan = _plan(requested, dataset, ids, catalogue, first.dims, began if machine else None)
        config = fit_to_values(complete_config(ready, dataset, catalogue), requested.preprocess.intensity, dataset)
        config = replace(config, plan=plan)
    logger.info(summarize(config))
    if config.train.time is None and (config.plan.seconds or 0) > LONG:
        long = duration_words(config.plan.seconds or 0)
        logger.warning(f"this will take about {long} on this machine; --time 1h makes a training that fits into an hour.")
    for doubt in doubts_about(config, dataset.task):
        logger.warning(doubt)
    return config, dataset


def _model_of(values: Values, catalogue: Catalogue) -> dict[str, Any]:
    """The model as asked for; where none is named, the default one, with an encoder where its weights are asked for."""
    asked = values.get("model", {})
    if asked.get("name") is not None:
        return asked
    encoder = values.get("train", {}).get("pretrained") == "imagenet"
    defaults = [item for item in catalogue.all("models") if item.spec.default and item.plugin.builtin]
    suited = [item for item in defaults if encoder == hasattr(item.spec.options(), "encoder")]
    return {"name": suited[0].full_name, **asked} if suited else asked


def _plan(
    requested: RequestedConfig,
    dataset: Dataset,
    ids: Mapping[str, Sequence[str]],
    catalogue: Catalogue,
    dims: int,
    began: float | None,
) -> tuple[RequestedConfig, Plan]:
    """The request with nothing left open, or nothing but what the machine decides where no time has begun to count."""
    from segkit.planning.draft import draft_plan
    from segkit.planning.facts import doubts_of

    looked = time.perf_counter()
    draft = draft_plan(requested, dataset, ids, dims)
    for doubt in doubts_of(draft.facts, dataset.task) if draft.facts else ():
        logger.warning(doubt)
    if began is None:
        return draft.requested, Plan(draft.decisions)

    from segkit.planning.machine import Work, plan_machine

    reading, limit = time.perf_counter() - looked, draft.requested.train.time
    # preprocessing all cases will take about as long as looking at them did
    deadline = None if limit is None else began + seconds_of(limit) - reading - AT_THE_END
    counts = len(ids["train"]), len(ids["val"])
    return plan_machine(draft, Work(dataset, *counts, lambda asked: complete_config(asked, dataset, catalogue), deadline))
