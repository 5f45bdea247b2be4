"""From values to a plan: what will be done and the opened dataset, refused before torch comes if it cannot be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segkit import plugins
from segkit.config.complete import Config, complete_config, doubts_about, summarize
from segkit.config.device import check_device
from segkit.config.resolve import Assignments, Values, gather, resolve_config
from segkit.config.starting_point import read_starting_point
from segkit.config.unused import refuse_unused
from segkit.plugins import Catalogue
from segkit.runs.folder import check_new_run
from segkit.task import Dataset

logger = logging.getLogger(__name__)


def plan_training(
    flags: Mapping[str, Any], options: Assignments, config: Path | None, recipe: str | None, out: Path | None
) -> tuple[Config, Dataset]:
    """The configuration and the opened dataset of a new training, said in words.

    Args:
        flags, options: as `gather` takes them.
        config, recipe: the starting point, if any.
        out: the run folder to make, None for one of the next free name.

    Raises:
        UsageError: whatever `configure` refuses, or a folder that holds something.
    """
    catalogue = plugins.load()
    values = gather(read_starting_point(config, recipe, catalogue), flags, options)
    check_new_run(out)
    return configure(values, catalogue, gather({}, flags, options))


def configure(values: Values, catalogue: Catalogue, typed: Values, resumed: bool = False) -> tuple[Config, Dataset]:
    """What will be done and the opened dataset, said in words.

    Args:
        values: that `gather` has put together.
        catalogue: of the plugins.
        typed, resumed: those that were typed now; the split is made already.

    Raises:
        UsageError: something that cannot be, or that was typed and would not be used.
    """
    requested = resolve_config(values, catalogue)

    from segkit.data.reading import open_dataset
    from segkit.data.split import split_cases
    from segkit.data.value_range import fit_to_values

    dataset = open_dataset(requested.dataset, requested.root)
    planned = complete_config(requested, dataset, catalogue)
    refuse_unused(typed, planned, dataset)  # what can be refused is, before any image is read or torch imported
    check_device(planned.train.device)
    if not resumed:
        split_cases(dataset.cases, planned.split)
    config = fit_to_values(planned, requested.preprocess.intensity, dataset)
    logger.info(summarize(config))
    for doubt in doubts_about(config, dataset.task):
        logger.warning(doubt)
    return config, dataset
