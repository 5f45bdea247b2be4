"""Score a folder of masks, from wherever they come, against a folder of truths: no model, no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segkit import plugins, reporter
from segkit.config.complete import complete_metrics
from segkit.config.resolve import Assignments, Choice, gather, resolve_metrics
from segkit.data.images import is_image, read_mask
from segkit.data.pairing import pair_files
from segkit.data.volumes import distance_of_grids, read_label_volume
from segkit.errors import SegkitError, UsageError
from segkit.evaluation.aggregate import CaseScore, build_metrics, score_case
from segkit.evaluation.breakdown import facts_of_case
from segkit.evaluation.regions import with_regions
from segkit.evaluation.result import Evaluation, facts_of, sum_up, write_evaluation
from segkit.files import check_folder
from segkit.task import CaseResult, Task
from segkit.words import counted

logger = logging.getLogger(__name__)

FAR = 0.1  # voxels by which two grids may lie apart
MOST_CLASSES = 256

Labels = NDArray[np.int32]


@dataclass(frozen=True)
class MaskPair:
    """A prediction and its truth.

    Args:
        id: the name that they share.
        prediction, truth: files.
    """

    id: str
    prediction: Path
    truth: Path


def evaluate_masks(
    predictions: str | os.PathLike[str],
    truths: str | os.PathLike[str],
    *,
    classes: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    options: Assignments = (),
    out: str | os.PathLike[str] | None = None,
    by: Sequence[str] = (),
    regions: Sequence[str] = (),
) -> Evaluation:
    """Score every prediction that has a truth of its name; what is wrong with a pair is said in `failed`.

    Args:
        predictions, truths: folders of images or volumes of labels.
        classes: names of the labels 0, 1, 2, ..., background first; None: the labels of the truths by their numbers.
        metrics: beside the default ones; those of probabilities are undefined here.
        options: of the metrics.
        out: folder for cases.csv and metrics.json; None: nothing is written.
        by: figures of parts of the cases, too: "size".
        regions: unions of classes that are scored as well, NAME=CLASS,CLASS.

    Raises:
        UsageError: no names that meet, or labels that cannot be classes.
    """
    folders, place, catalogue = (Path(predictions), Path(truths)), None if out is None else Path(out), plugins.load()
    check_folder(place)
    pairs, failed = _pairs(*folders)
    task, values = _task(pairs, classes, failed)
    task = with_regions(task, regions)
    asked = gather({}, {"metrics": metrics}, options, ("metrics",))
    chosen = complete_metrics(resolve_metrics(asked, catalogue), task, catalogue)
    made, scores = build_metrics(chosen, task), list[CaseScore]()
    with reporter.progress("scoring", len(pairs)) as bar:
        for pair in pairs:
            bar.advance()
            try:
                result = _result(pair, task, values)
                scores.append(replace(score_case(made, pair.id, pair.id, result), facts=facts_of_case(None, result)))
            except SegkitError as error:
                failed[pair.id] = error.message
                logger.error(f"{pair.id}: {error.message}")
    evaluation = Evaluation(tuple(scores), failed, about=_about(*folders, task, chosen), folder=place)
    evaluation = sum_up(evaluation, made, task, by)
    if place is not None:
        write_evaluation(evaluation, place)
    return evaluation


def _about(predictions: Path, truths: Path, task: Task, chosen: Sequence[Choice]) -> dict[str, Any]:
    return {"predictions": str(predictions), "dataset": str(truths), "subset": "all", **facts_of(task, chosen)}


def _pairs(predictions: Path, truths: Path) -> tuple[list[MaskPair], dict[str, str]]:
    """Files of one name, and the truths that nothing was predicted for."""
    for folder in (predictions, truths):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder.")
    if predictions.resolve() == truths.resolve():
        raise UsageError(f"{predictions} would be scored against itself.", "--truth names another folder.")
    found = pair_files(predictions, truths)
    pairs, failed = [], dict[str, str]()
    for key, prediction, masks in found.pairs:
        if len(masks) > 1:
            failed[key] = f"{len(masks)} truths are called alike: {', '.join(path.name for path in masks)}"
        elif masks:
            pairs.append(MaskPair(key, prediction, masks[0]))
    if not pairs:
        names = [[path.name for path in paths][:2] or ["nothing"] for paths in (found.unpaired_images, found.unpaired_masks)]
        raise UsageError(
            f"No file in {predictions} is called like one in {truths}: {', '.join(names[0])} beside {', '.join(names[1])}.",
            "A prediction is called like its truth, which may end in _mask, _gt or _seg.",
        )
    if found.unpaired_images:
        several = counted(len(found.unpaired_images), "prediction")
        logger.warning(f"{several} without a truth left out: {found.unpaired_images[0].name}")
    failed |= {path.name: "nothing was predicted for this truth" for path in found.unpaired_masks}
    for name, reason in failed.items():
        logger.error(f"{name}: {reason}")
    return pairs, failed


def _task(pairs: Sequence[MaskPair], classes: Sequence[str] | None, failed: dict[str, str]) -> tuple[Task, tuple[int, ...]]:
    """The facts of the truths, and the label of each class."""
    volumes = {not is_image(pair.truth) for pair in pairs}
    if len(volumes) > 1:
        raise UsageError("Some truths are images and some are volumes.", "Score them one after the other.")
    held: set[int] = set()
    with reporter.progress("looking at the truths", len(pairs)) as bar:
        for pair in pairs:
            bar.advance()
            try:
                held |= {int(value) for value in np.unique(_read(pair.truth)[0])}
            except SegkitError as error:
                failed[pair.id] = error.message
    if min(held, default=0) < 0 or len(held) > MOST_CLASSES:
        raise UsageError(f"The truths hold {len(held)} values from {min(held)} to {max(held)}: they are no labels.")
    values = tuple(sorted({0, *held})) if classes is None else tuple(range(len(classes)))
    if classes is not None and (more := held - set(values)):
        if len(classes) == 2 and len(held - {0}) == 1:
            values = (0, max(held))  # 255 is what programs write for 1
        else:
            named = ", ".join(classes)
            raise UsageError(f"The truths hold the label {min(more)}; --classes names {len(classes)}: {named}.")
    if len(values) < 2:
        raise UsageError("The truths hold the background alone: there is nothing to score.")
    names = tuple(classes or ("background", *(("foreground",) if len(values) == 2 else map(str, values[1:]))))
    mode: Literal["binary", "multiclass"] = "binary" if len(values) == 2 else "multiclass"
    return Task(1, names, 3 if True in volumes else 2, mode), values


def _result(pair: MaskPair, task: Task, values: Sequence[int]) -> CaseResult:
    """Raises SegkitError where the two do not fit."""
    (found, spacing), (truth, true_spacing) = _read(pair.prediction), _read(pair.truth)
    if found.ndim != truth.ndim or found.shape != truth.shape:
        sizes = [" x ".join(map(str, mask.shape)) for mask in (found, truth)]
        raise SegkitError(f"the prediction has {sizes[0]} pixels, the truth {sizes[1]}")
    if spacing is not None and true_spacing is not None:
        mm, voxels = distance_of_grids(pair.truth, pair.prediction)
        if voxels > FAR:
            raise SegkitError(f"the prediction lies on another grid, {mm:.3g} mm ({voxels:.2g} voxels) from the truth's")
    own = np.unique(found)
    if task.mode == "binary" and len(own) <= 2 and own.min(initial=0) == 0:  # 1 and 255 both mean foreground
        found = (found > 0).astype(np.int32)
    else:
        found = _numbered(found, values, "the prediction")
    shape = (task.outputs, *truth.shape)
    probabilities = np.broadcast_to(np.float32(np.nan), shape)  # nobody knows them: what needs them is undefined
    return CaseResult(probabilities, found, _numbered(truth, values, "the truth"), task, true_spacing)


def _numbered(mask: Labels, values: Sequence[int], which: str) -> Labels:
    """Labels as numbers of classes. Raises SegkitError where one is no class."""
    unknown = set(map(int, np.unique(mask))) - set(values)
    if unknown:
        known = ", ".join(map(str, values))
        raise SegkitError(f"{which} holds the label {min(unknown)}, which is no class of the truths ({known})")
    return np.searchsorted(np.array(values), mask).astype(np.int32)


def _read(path: Path) -> tuple[Labels, tuple[float, ...] | None]:
    if is_image(path):
        return np.asarray(read_mask(path), np.int32), None
    labels, volume = read_label_volume(path)
    return labels, tuple(volume.spacing)
