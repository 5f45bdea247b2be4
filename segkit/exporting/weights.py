"""From a weights file to a model for another runtime, with all that belongs to it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segkit.runs.folder import find_run
from segkit.runs.reference import is_own, reference_to
from segkit.runs.weights import Header, read_header

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Export:
    """What `segkit.export` wrote.

    Args:
        files: the model, and with `runner` the example program and the model card.
        header: that of the model's file; `header.export` holds the comparison with the model that it was made of.
    """

    files: tuple[Path, ...]
    header: Header


def export_weights(
    weights: Path,
    format: str,
    out: Path | None,
    half: bool,
    size: str | None,
    runner: bool,
    overwrite: bool,
    changes: Mapping[str, Any],
) -> Export:
    """Write the model, compare it with the weights, and write what belongs to it.

    Args:
        weights: a model.safetensors.
        format, out, half, size, runner, overwrite: as `segkit.export` takes them.
        changes: of the model's options.

    Raises:
        UsageError: a format, size or file that cannot be used.
        SegkitError: the model cannot be exported, or the file differs from it; then nothing is left.
    """
    from segkit.exporting import artefacts

    header = artefacts.plan_header(read_header(weights), format, size, half)
    files = artefacts.plan_files(weights, format, out, runner, overwrite)
    cases, where_from = artefacts.comparison_cases(weights, header)

    from segkit.exporting.export import check_format, export_model
    from segkit.models.build import load_model

    _, spec, model = load_model(weights, changes)
    check_format(spec, format)
    folder = find_run(weights)
    if folder is not None and is_own(folder, weights):
        header = replace(header, export={**header.export, "run": reference_to(folder, files[0])})
    logger.info(f"exporting   {header.model} as {format}, compared on {where_from}")
    header = export_model(model, header, format, files[0], cases, half)
    if runner:
        artefacts.write_runner(files[1])
        artefacts.write_card(files[2], weights, files[0], header)
    return Export(tuple(files), header)
