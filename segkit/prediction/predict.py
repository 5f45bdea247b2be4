"""Predict inputs: outputs mirror them, a second call does what is left, a bad file stops nothing.

Reading and preprocessing, the network, and writing run beside each other. What is written stands in `jobs`; besides
OUT/predictions.json    what was done with which weights and options; says what a second call may skip
OUT/predictions.csv     of a classification: classes and probabilities
OUT/measures.csv        with a table: size, components, centroid and confidence of each class
OUT/polygons.json       with polygons: COCO
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from segkit import distributed, reporter
from segkit.errors import DiskFullError, SegkitError, UsageError
from segkit.inference.doubts import Doubts, is_cut
from segkit.inference.network import Network, with_flips
from segkit.inference.postprocess import Postprocess, clean_up, options_of, segment
from segkit.inference.predictor import ImageProbabilities, PreparedImage, predict_prepared, prepare_image
from segkit.options import plain
from segkit.prediction.doubts import say_doubts
from segkit.prediction.inputs import Input, Picture, read_input
from segkit.prediction.jobs import MEASURES, POLYGONS, RECORD, TABLE, Job, OutputOptions
from segkit.prediction.prefetch import BackgroundWriter, prefetch
from segkit.prediction.record import PredictionRecord, digest_of
from segkit.prediction.tables import write_classes, write_measures, write_polygons
from segkit.prediction.writers import of_classes, write_outputs
from segkit.reporter import Bar
from segkit.runs.weights import Header
from segkit.sides import flips_exchange
from segkit.task import Dataset, Task
from segkit.words import counted

logger = logging.getLogger(__name__)

SHOWN = 5  # inputs that a preview names
LOOKED_AT = 10  # inputs of each form, before saying that a model can take none


@dataclass(frozen=True)
class PredictionOptions:
    """How to predict.

    Args:
        post: thresholds and clean-up.
        outputs: what is written.
        flips: test-time augmentation.
        dataset: that the inputs are cases of.
        overwrite: do again what is done, and replace what is not ours.
    """

    post: Postprocess = field(default_factory=Postprocess)
    outputs: OutputOptions = field(default_factory=OutputOptions)
    flips: bool = False
    dataset: Dataset | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Prediction:
    """The result of a call.

    Args:
        entries: of predictions.json by input, those of earlier calls too.
        keys: the inputs of this call.
        kind: segmentation or classification.
        done, skipped, failed: how many inputs of this call were predicted, were done already, and failed.
    """

    entries: dict[str, dict[str, Any]]
    keys: tuple[str, ...]
    kind: str
    done: int
    skipped: int
    failed: int


@dataclass(frozen=True)
class ReadJob:
    """A job whose input was read; `digest` is a hash of the input's files."""

    job: Job
    picture: Picture
    digest: str


@dataclass(frozen=True)
class UnreadableJob:
    """A job whose input cannot be read or preprocessed."""

    job: Job
    error: SegkitError


@dataclass(frozen=True)
class FinishedJob:
    """A job whose outputs are written, with what the record says about them; or, with an error, could not be.

    `empty`: its mask holds no foreground; None of a classification. `cut`: it ends where the network's view ends.
    """

    job: Job
    digest: str
    entry: dict[str, Any]
    error: SegkitError | None = None
    empty: bool | None = None
    cut: bool = False


def check_inputs(inputs: Sequence[Input], task: Task, dataset: Dataset | None) -> None:
    """Before anything runs: refuse inputs if the model can take none of the first ones of each form.

    Raises:
        UsageError: why, of each.
    """
    misfits: list[UsageError] = []
    by_form: dict[str, list[Input]] = {}
    for entry in inputs:
        by_form.setdefault(entry.form, []).append(entry)
    for entry in itertools.chain.from_iterable(own[:LOOKED_AT] for own in by_form.values()):
        try:
            read_input(entry, task, dataset)
            return
        except UsageError as error:
            misfits.append(error)
        except SegkitError:  # what cannot be read at all says nothing about the model
            continue
    if misfits:
        more = (
            f" {len(misfits) - SHOWN} more of those that were looked at do not fit either." if len(misfits) > SHOWN else ""
        )
        raise UsageError(" ".join(error.message for error in misfits[:SHOWN]) + more, misfits[0].hint)


def predict_jobs(
    networks: Sequence[Network],
    jobs: Sequence[Job],
    out: Path,
    models: Sequence[str],
    changes: Mapping[str, Any],
    how: PredictionOptions,
) -> Prediction:
    """Do the jobs that are not done yet.

    Args:
        networks: one, or an ensemble.
        jobs: from `plan`.
        out: the output folder.
        models: hashes of the weights; others make everything new.
        changes: options that the networks were loaded with, other than their own; others make everything new.
        how: what is done and written.

    Raises:
        UsageError: an output exists that is not one of ours, and `overwrite` is not set.
    """
    task = networks[0].task
    shared = {TABLE: task.kind == "classification", MEASURES: how.outputs.table, POLYGONS: how.outputs.polygons}
    known = (out / RECORD).exists()
    for name, written in shared.items():
        if written and (out / name).exists() and not known and not how.overwrite:
            raise UsageError(
                f"{out / name} exists and was not written by segkit.", "Choose another --out, or type --overwrite."
            )
        shared[name] = written or (known and (out / name).exists())  # what an earlier call wrote follows its masks
    record = PredictionRecord(out, _decisive(networks, models, changes, how), "measures" if how.outputs.table else None)
    todo = record.remaining(jobs, how.overwrite)
    skipped = len(jobs) - len(todo)
    if distributed.is_main():
        say_doubts([job.input for job in todo])
    distributed.barrier()  # before any of them writes what another would take for done
    todo = list(distributed.shard(todo))
    record.begin(todo)
    networks = with_flips(networks) if how.flips else networks
    doubts = Doubts(networks[0])

    with reporter.progress("predicting", len(todo)) as bar:
        try:
            _run_all(networks, todo, out, record, bar, how, doubts)
        finally:
            record.save()
            _write_shared(shared, out, record, task)
    doubts.say_rest()
    failed = sum(record.entries[job.key]["status"] == "failed" for job in todo)
    found = distributed.all_gather((len(todo) - failed, failed))
    if len(found) > 1 and distributed.is_main():  # the others have saved theirs by now
        record.save()
        _write_shared(shared, out, record, task)
    if distributed.is_main() and record.drop_superseded(jobs):
        _write_shared(shared, out, record, task)
    done, failed = (sum(counts) for counts in zip(*found, strict=True))
    return Prediction(record.entries, tuple(job.key for job in jobs), task.kind, done, skipped, failed)


def _run_all(
    networks: Sequence[Network],
    jobs: Sequence[Job],
    out: Path,
    record: PredictionRecord,
    bar: Bar,
    how: PredictionOptions,
    doubts: Doubts,
) -> None:
    """Predict all together, and one by one where the network cannot take some image of a batch: to find out which."""
    left: list[Job] = []
    try:
        _run(networks, jobs, out, record, bar, how, doubts)
    except DiskFullError:
        raise
    except SegkitError:
        left = [job for job in jobs if record.is_pending(job)]
    for job in left:
        try:
            _run(networks, [job], out, record, bar, how, doubts)
        except DiskFullError:
            raise
        except SegkitError as error:
            record.failed(job, f"{job.input.source}: {error.message}")
            bar.advance()


def _write_shared(shared: Mapping[str, bool], out: Path, record: PredictionRecord, task: Task) -> None:
    """What is written once for all inputs, by the main process."""
    if not distributed.is_main():
        return
    if shared[TABLE]:
        write_classes(out, record.entries, task)
    if shared[MEASURES]:
        write_measures(out, record.entries)
    if shared[POLYGONS]:
        left_out = write_polygons(out, record.entries, task)
        if left_out:
            logger.warning(
                f"no outlines in {out / POLYGONS} for {counted(left_out, 'input')}: "
                "they are drawn of images, not of stacks or volumes."
            )


def preview_jobs(
    headers: Sequence[Header],
    jobs: Sequence[Job],
    out: Path,
    models: Sequence[str],
    changes: Mapping[str, Any],
    how: PredictionOptions,
) -> Prediction:
    """What `predict_jobs` would do, from the headers of the weights alone: nothing is loaded or written.

    Returns:
        Entries that say of each input whether it is "done" or "to do", and its outputs; none counts as predicted.
    """
    record = PredictionRecord(out, _decisive(headers, models, changes, how), "measures" if how.outputs.table else None)
    todo = {job.key for job in record.remaining(jobs, how.overwrite)}
    status = {True: "to do", False: "done"}
    entries = {job.key: {"status": status[job.key in todo], "outputs": job.outputs} for job in jobs}
    for job in [job for job in jobs if job.key in todo][:SHOWN]:
        names = ", ".join(str(out / name) for name in job.outputs) or str(out / TABLE)
        logger.info(f"{job.input.source} -> {names}")
    if len(todo) > SHOWN:
        logger.info(f"... and {counted(len(todo) - SHOWN, 'more input')}")
    return Prediction(entries, tuple(entries), headers[0].task.kind, 0, len(jobs) - len(todo), 0)


def _decisive(
    networks: Sequence[Network] | Sequence[Header], models: Sequence[str], changes: Mapping[str, Any], how: PredictionOptions
) -> dict[str, Any]:
    """Everything except the input that a result depends on."""
    options = {**changes, **options_of(how.post)}
    flips = "but those from left to right" if flips_exchange(networks[0].task) else True
    options |= {"flips": flips} if how.flips else {}
    options |= {"palette": True} if how.outputs.palette else {}
    return {
        "model": models[0] if len(models) == 1 else list(models),
        "preprocess": plain(networks[0].preprocess) if len(networks) == 1 else [plain(one.preprocess) for one in networks],
        "options": options,
    }


def _run(
    networks: Sequence[Network],
    jobs: Sequence[Job],
    out: Path,
    record: PredictionRecord,
    bar: Bar,
    how: PredictionOptions,
    doubts: Doubts,
) -> None:
    """Predict and write; a file that cannot be read or written is named in the record. Raises what the network raises."""
    task = networks[0].task

    def read() -> Iterator[tuple[ReadJob, PreparedImage] | UnreadableJob]:
        for job in jobs:
            try:
                yield made_ready(job)
            except SegkitError as error:
                yield UnreadableJob(job, error)

    def made_ready(job: Job) -> tuple[ReadJob, PreparedImage]:
        picture = read_input(job.input, task, how.dataset)
        doubts.look(job.key, picture.image)
        doubts.note_converted(job.key, picture.converted)
        prepared = prepare_image(networks, picture.image, picture.spacing)
        if "overlay" not in job.files:  # the gray values are not needed any more
            picture = replace(picture, image=np.empty(0))
        return ReadJob(job, picture, digest_of(job.input.files)), prepared

    def readable() -> Iterator[tuple[ReadJob, PreparedImage]]:
        for item in made:
            if isinstance(item, UnreadableJob):
                record.failed(item.job, f"{item.error.message} {item.error.hint or ''}".rstrip())
                bar.advance()
            else:
                yield item

    def note(finished: Sequence[FinishedJob]) -> None:
        for one in finished:
            if one.error is not None:
                record.failed(one.job, one.error.message, begun=True)
            else:
                record.done(one.job, one.digest, one.entry)
                if one.empty is not None:
                    doubts.count(one.empty)
                    doubts.count_cut(one.cut)
        record.save_if_due()

    writer, made = (
        BackgroundWriter[FinishedJob](),
        prefetch(read(), lambda item: 0 if isinstance(item, UnreadableJob) else item[1].bytes),
    )
    try:
        for read_job, found in predict_prepared(networks, readable()):
            note(writer.submit(_finishing(read_job, found, out, networks[0], how, bar)))
        note(writer.rest())
    finally:
        made.close()
        writer.close()


def _finishing(
    read: ReadJob, found: ImageProbabilities, out: Path, network: Network, how: PredictionOptions, bar: Bar
) -> Callable[[], FinishedJob]:
    """Run the network to the end of one input; what is left to do with the result is returned."""
    job, picture, digest = read.job, read.picture, read.digest
    task, outputs = network.task, how.outputs
    if task.kind == "classification":
        probabilities = found.gather()
        bar.advance()
        return lambda: FinishedJob(job, digest, of_classes(probabilities, task))
    segmented = segment(found, task, how.post, outputs.table, outputs.probabilities, bar.advance)

    def write() -> FinishedJob:
        try:
            cleaned = replace(segmented, labels=clean_up(segmented.labels, how.post))
            entry = write_outputs(job, out, picture, cleaned, task, network.preprocess, outputs)
            cut = is_cut(cleaned.labels, found.shape[1:], network, picture.spacing)
            return FinishedJob(job, digest, entry, empty=not cleaned.labels.any(), cut=cut)
        except DiskFullError:
            raise
        except SegkitError as error:
            return FinishedJob(job, digest, {}, error)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            failure = SegkitError(f"The mask of {job.input.source} cannot be written: {error.strerror}.")
            return FinishedJob(job, digest, {}, failure)

    return write
