"""Which inputs are meant: the cases of a dataset, or files found one by one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segkit.data.reading import open_cases
from segkit.errors import UsageError
from segkit.prediction.inputs import Input, check_output, find_inputs, inputs_of, is_list, read_lists
from segkit.prediction.jobs import RECORD
from segkit.task import Dataset, Task
from segkit.words import counted

logger = logging.getLogger(__name__)


def select_inputs(
    words: Sequence[str],
    out: Path,
    task: Task,
    dataset: str | None,
    options: Mapping[str, Any],
    stdin: bytes | None,
    null: bool,
) -> tuple[list[Input], Dataset | None]:
    """All inputs, and the dataset that they are cases of, if one was named.

    Args:
        words: files, folders, lists (.txt), "-" for the list `stdin`; with a dataset its folder.
        out: where results go; it is left out.
        task: of the model.
        dataset, options: its name, and options of it.
        stdin, null: a list, and whether entries of lists end with NUL.

    Raises:
        UsageError: there is no input, or a name that does not exist.
    """
    if null and (dataset is not None or not any(word == "-" or is_list(word) for word in words)):
        raise UsageError("--null is about names in lists, and no list is given.", "Leave out --null, or give a list.")
    if stdin is not None and (dataset is not None or "-" not in words):
        raise UsageError("A list on stdin was given, but no input is '-'.", "Add '-' to the inputs.")
    if dataset is not None:
        check_output(out, [Path(word) for word in words])
        opened = open_cases(dataset, words, options, task)
        return inputs_of(opened), opened
    if options:
        raise UsageError("-o dataset.KEY needs --dataset NAME.")
    if not words:
        raise UsageError("There is no input.", "After the model, give images, folders, a list, or -.")
    names, listed = read_lists(words, stdin, null)
    inputs, others = find_inputs(names, listed, out, RECORD, volumes=task.dims == 3)
    if others:
        logger.info(f"left alone: {counted(others, 'file')}, hidden or no image.")
    return inputs, None
