"""Opening a dataset and reading its cases, so that nothing wrong goes any further: whatever fails becomes one error that
names the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segkit import plugins
from segkit.config.resolve import Choice, resolve_data, where_to_get
from segkit.data.plugin_contract import checked_dataset, checked_sample
from segkit.data.volumes import distance_of_grids, is_volume
from segkit.errors import MissingDataError, SegkitError, UsageError
from segkit.task import Case, Dataset, Sample, Task
from segkit.words import counted

SAME_GRID = 0.1  # of a voxel: what rounding leaves of an affine, far below what moves a label to another voxel


def open_dataset(choice: Choice, root: Path | None, labelled: bool = True) -> Dataset:
    """Open a chosen dataset and check what every dataset must keep.

    Raises:
        UsageError: its files are not there; with the expected tree and the homepage of its spec.
        SegkitError: the plugin fails, gives no Dataset, lists what is no Case, or gives two cases one id.
    """
    try:
        dataset = choice.make(root, labelled=labelled)
    except MissingDataError as error:
        raise UsageError(error.message, where_to_get(choice.spec)) from None
    return checked_dataset(dataset, choice.name)


def open_cases(name: str, roots: Sequence[str], options: Mapping[str, Any], task: Task) -> Dataset:
    """The cases of a dataset with or without masks, for a model of this task.

    Raises:
        UsageError: more than one folder, no such dataset or data, or another task.
    """
    if len(roots) > 1:
        raise UsageError(f"--dataset {name} reads one folder, not {len(roots)}.", "Give the folder that holds the cases.")
    root = {"root": roots[0]} if roots else {}
    choice, folder, _ = resolve_data({"dataset": {**options, "name": name, **root}}, plugins.load())
    dataset = open_dataset(choice, folder, labelled=False)
    for fact in ("dims", "channels", "channel_names"):
        ours, theirs = getattr(task, fact), getattr(dataset.task, fact)
        if ours != theirs and ours and theirs:
            hint = f"-o dataset.KEY sets what it is asked for; 'segkit datasets {name}' lists the keys."
            raise UsageError(
                f"The model was trained on {fact} = {_shown(ours)}; --dataset {name} has {_shown(theirs)}"
                + (f" (for instance {dataset.cases[0].shown})." if dataset.cases else "."),
                hint,
            )
    return dataset


def _shown(fact: Any) -> str:
    return ", ".join(fact) if isinstance(fact, tuple) else str(fact)


def read_case(dataset: Dataset, case: Case) -> Sample:
    """Image and mask of a case, checked against each other and the task.

    Raises:
        SegkitError: it cannot be read, or its arrays contradict each other or the task.
    """
    if case.problem:
        raise SegkitError(case.problem)
    sample = read_sample(dataset, case)
    _check(sample.image, sample.mask, case, dataset.task)
    check_grids(case.files.values(), _where(case))
    return sample


def read_sample(dataset: Dataset, case: Case) -> Sample:
    """What the dataset makes of a case, with or without a mask.

    Raises:
        SegkitError: it cannot be read, or the plugin gives something else than a Sample of finite numbers.
    """
    try:
        sample = dataset.read(case)
    except SegkitError:
        raise
    except (Exception, SystemExit) as error:
        raise SegkitError(f"{_where(case)} cannot be read: {type(error).__name__}: {error}") from error
    return checked_sample(sample, _where(case))


def check_grids(files: Iterable[Path], where: str) -> None:
    """Volumes of one case are each turned by their own affine, so these must agree, by their headers.

    Raises:
        SegkitError: one lies elsewhere, by how many mm.
    """
    first, *others = [path for path in files if is_volume(path)] or [Path()]
    for path in others:
        mm, voxels = distance_of_grids(first, path)
        if voxels > SAME_GRID:
            far = f"up to {mm:.3g} mm ({voxels:.2g} voxels) away" if voxels < np.inf else "it has another size"
            raise SegkitError(
                f"{where}: {path} lies on another grid (affine) than {first}: {far}.",
                "Write it again on the grid of the scan that it was drawn on.",
            )


def _check(image: NDArray[Any], mask: NDArray[Any] | None, case: Case, task: Task) -> None:
    where = _where(case)
    if image.ndim != task.dims + 1 or image.shape[0] != task.channels:
        last = image.ndim == task.dims + 1 and image.shape[-1] == task.channels
        raise SegkitError(
            f"{where}: image of shape {image.shape}; the task has {counted(task.channels, 'channel')} in {task.dims}D.",
            "The channels come first, (C, *S): np.moveaxis(image, -1, 0) puts them there." if last else "",
        )
    if mask is None:
        raise SegkitError(f"{where} has no mask.")
    lead = (task.outputs,) if task.mode == "multilabel" else ()
    if mask.shape[: -task.dims] != lead:
        raise SegkitError(f"{where}: mask of shape {mask.shape}; that of a {task.mode} task is {(*lead, *image.shape[1:])}.")
    if mask.shape[-task.dims :] != image.shape[1:]:
        raise SegkitError(f"{where}: the mask's size {mask.shape[-task.dims :]} is not the image's {image.shape[1:]}.")
    allowed = {0, 1} if task.mode == "multilabel" else set(range(len(task.classes)))
    strange = set(np.unique(mask).tolist()) - allowed - {task.ignore_index}
    if strange:
        raise SegkitError(
            f"{where}: its mask holds {sorted(strange)[:8]}, which are not among the labels {sorted(allowed)}."
        )


def _where(case: Case) -> str:
    return f"case {case.id!r}" + (f" ({case.files['image']})" if "image" in case.files else "")
