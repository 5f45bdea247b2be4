"""What happens before a training's first step: data into the cache, batches and their order, what the user should know."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from segkit import distributed
from segkit.config.complete import Config
from segkit.cpus import usable_cpus
from segkit.data.cache import Cached, CacheRecipe, fill_cache, fingerprint
from segkit.data.cache_entries import keep_limit
from segkit.data.split import find_leaks
from segkit.errors import SegkitError
from segkit.files import cache_folder
from segkit.inference.probabilities import presence_of
from segkit.runs.folder import RunDescription, RunFolder
from segkit.settings import Train
from segkit.task import Case, Dataset, Task
from segkit.training.components import TrainingComponents
from segkit.training.doubts import doubt_of_cases
from segkit.training.loader import TrainingItems
from segkit.training.optim import Schedule
from segkit.training.order import Order
from segkit.training.time_budget import Clock
from segkit.words import counted

logger = logging.getLogger(__name__)

PATCHES_AROUND = 1 / 3  # of patches, where nothing else is said (nnU-Net's share)


@dataclass(frozen=True)
class TrainingSession:
    """A training under way.

    Args:
        components, schedule: what is trained, and its learning rate.
        run, description: its folder, and what besides the state describes it.
        items, order: what is trained on, and in which order.
        cases: validation cases.
        clock: what steps and validations take, and when all must be over.
    """

    components: TrainingComponents
    schedule: Schedule
    run: RunFolder
    description: RunDescription
    items: TrainingItems
    order: Order
    cases: Sequence[Cached]
    clock: Clock

    @property
    def record(self) -> RunDescription:
        """The description, with what became of the number of steps if it was changed on the way."""
        if not self.schedule.changes:
            return self.description
        steps = {"total": self.schedule.end, "changes": self.schedule.changes}
        return replace(self.description, manifest={**self.description.manifest, "steps": steps})

    @property
    def keys(self) -> list[str]:
        """Of the entries of the cache that it uses."""
        return list(dict.fromkeys(case.key for case in (*(cached for cached, _ in self.items.items), *self.cases)))


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, what is validated on, and which cases were left out because they cannot be read."""

    items: TrainingItems
    cases: Sequence[Cached]
    unreadable: Mapping[str, str]


def build_data(dataset: Dataset, ids: Mapping[str, Sequence[str]], config: Config, known: Mapping[str, str]) -> TrainingData:
    """Fill the cache with the cases of a split, each process with its share of them.

    Args:
        known: cases that an earlier call has left out, with the reasons; they are left out again.

    Raises:
        SegkitError: a case cannot be read, and `train.skip_bad` is off; or nothing is left.
    """
    by_id = {case.id: case for case in dataset.cases}
    groups = {name: len({by_id[id].group for id in members}) for name, members in ids.items()}
    logger.info("cases       " + ", ".join(f"{name} {len(ids[name])} ({counted(groups[name], 'group')})" for name in ids))
    settings = config.train
    unreadable = dict(known) if settings.skip_bad or known else None
    recipe = cache_recipe(config, dataset)
    hint = f"'{check_command(config)}' names all such cases; --skip-bad trains without them."
    try:
        found = {name: _cached(recipe, [by_id[id] for id in ids[name]], unreadable) for name in ("train", "val")}
    except SegkitError as error:
        error.hint = error.hint or hint
        raise
    _say_cached([cached for cases in found.values() for cached in cases])
    new = {id: reason for id, reason in (unreadable or {}).items() if id not in known}
    if new and not settings.skip_bad:
        raise SegkitError(next(iter(new.values())), hint)
    for reason in new.values() if distributed.is_main() else ():
        logger.error(reason)
    if not found["train"]:
        raise distributed.collective_error(
            SegkitError("No training case can be read.", f"'{check_command(config)}' says why.")
        )
    if ids["val"] and not found["val"]:
        logger.warning("No validation case can be read: the last weights are kept, plateau and early stopping are off.")
    patch = config.preprocess.size if config.preprocess.fit == "patch" else None
    share = settings.foreground if settings.foreground is not None else PATCHES_AROUND if patch else 0.0
    items = TrainingItems(found["train"], patch, settings.seed, share, settings.skip_bad)  # type: ignore[arg-type]
    return TrainingData(items, found["val"] if settings.validate else [], unreadable or {})


def check_command(config: Config) -> str:
    """The command that reads every case of a training's data, as it may be typed."""
    root = ["--data-dir", str(config.root)] if config.root else []
    return f"segkit data check {config.dataset.spec.name} {shlex.join(root)}".rstrip()


def cache_recipe(config: Config, dataset: Dataset) -> CacheRecipe:
    """How the cases of an opened dataset are preprocessed and cached."""
    return CacheRecipe(dataset, config.data_origin, config.preprocess, config.dims)


def _cached(recipe: CacheRecipe, cases: Sequence[Case], unreadable: dict[str, str] | None) -> list[Cached]:
    if distributed.world_size() == 1:
        return fill_cache(recipe, cases, unreadable)
    made = {cached.case.id for cached in fill_cache(recipe, distributed.shard(cases), unreadable) if cached.made}
    for others, failed in distributed.all_gather((made, unreadable)):
        made |= others
        (unreadable or {}).update(failed or {})
    return [replace(cached, made=cached.case.id in made) for cached in fill_cache(recipe, cases, unreadable)]


def _say_cached(cases: Sequence[Cached]) -> None:
    """Whether anything was preprocessed in an earlier training, and keep the limit of the cache."""
    before = sum(not cached.made for cached in cases)
    if before:
        logger.info(f"cache       {before} of {len(cases)} cases were preprocessed before, in {cache_folder()}")
    if before < len(cases) and distributed.is_main():
        keep_limit(cache_folder())


def build_session(
    components: TrainingComponents, data: TrainingData, run: RunFolder, description: RunDescription, clock: Clock
) -> TrainingSession:
    """Connect components and data with an order of batches and a schedule; the clock is told what a validation is."""
    settings = components.config.train
    assert settings.batch_size is not None, "chosen by now"
    logger.info(f"run folder  {run.path}")
    if components.task != components.mask_task:
        say_presence([cached for cached, number in data.items.items if not number], components.mask_task)
    pools = _pools(data.items, settings, components.task, components.mask_task)
    order = Order(
        len(data.items),
        settings.batch_size,
        settings.seed,
        pools,
        settings.foreground or 0.0,
        distributed.rank(),
        distributed.world_size(),
        settings.epoch_steps,
    )
    schedule = Schedule(components.optimizer, settings, len(order), validated=bool(data.cases))
    clock.epoch_steps, clock.validation_steps = len(order), _validation_steps(data, settings.batch_size)
    return TrainingSession(components, schedule, run, description, data.items, order, data.cases, clock)


def _validation_steps(data: TrainingData, batch: int) -> float:
    """How many training steps a validation takes, roughly: by voxels, at half the time each, of windows that overlap."""
    first, patch = data.items.items[0][0], data.items.patch
    image = first.load()[0]
    own = image.shape[-len(patch) - 1] * math.prod(patch) if patch else image.size
    if not patch and first.geometry.slice_axis is not None:
        own = image[0].size
    overlap = 2 ** len(patch) if patch else 1
    seen = sum(cached.load()[0].size for cached in data.cases)
    return 0.5 * overlap * seen / own / batch


def _pools(items: TrainingItems, settings: Train, task: Task, data: Task) -> list[list[int]]:
    """Slices by the classes that they hold; for a classifier, by whether they hold any."""
    if not settings.foreground:
        return []
    pools = items.pools(len(data.classes))
    if not any(pools) and items.patch is None:
        logger.warning("train.foreground: no image or slice holds a class; all are drawn alike.")
    return pools if task == data else [sorted(set().union(*pools))]


def workers_of(settings: Train, device: torch.device) -> int:
    """Processes that read the data. On a CPU they would take the cores that train; they change no result."""
    if settings.workers is not None:
        return settings.workers
    return 0 if device.type == "cpu" else min(4, usable_cpus() // distributed.local_world_size())


def notes_of(dataset: Dataset, ids: Mapping[str, Sequence[str]]) -> list[str]:
    """What the user must know about data and split; logged, and kept with the run."""
    notes = [*dataset.problems, *dataset.notes]
    if not ids["val"]:
        notes.append("There is no validation subset: the last weights are kept, plateau and early stopping are off.")
    notes += [doubt] if (doubt := doubt_of_cases(ids)) else []
    left_out = len(dataset.cases) - sum(len(members) for members in ids.values())
    if left_out:
        notes.append(f"left out of the cross-validation: {counted(left_out, 'case')} of the official test subset.")
    leaks = find_leaks(dataset.cases, ids)
    if leaks:
        notes.append(f"in more than one subset: {counted(len(leaks), 'group')} (--allow-leak); scores will look too good.")
    for note in notes:
        logger.warning(note)
    return notes


def check_data(dataset: Dataset, description: RunDescription) -> None:
    """Refuse data that is not what a run was trained on. Raises SegkitError."""
    known = {case.id for case in dataset.cases}
    missing = [id for members in description.split.values() for id in members if id not in known]
    if missing or fingerprint(dataset)["sha256"] != description.manifest["data"]["sha256"]:
        what = (
            f"gone: {counted(len(missing), 'case')} ({', '.join(missing[:5])})"
            if missing
            else "files differ (their fingerprint)"
        )
        error = SegkitError(f"The data is not what this run was trained on: {what}.", "Put it back, or start a new run.")
        raise distributed.collective_error(error)


def say_presence(cases: Sequence[Cached], data: Task) -> None:
    """How many images or slices hold any foreground; a classifier learns nothing from one kind alone."""
    counts = [0, 0]
    for cached in cases:
        axis = 0 if cached.geometry.slice_axis is not None else None
        for value in np.atleast_1d(presence_of(np.asarray(cached.load()[1]), data, axis)):
            counts[int(value)] += 1
    logger.info(f"training on {counted(counts[1], 'image')} with foreground, {counts[0]} without")
    if 0 in counts:
        logger.warning("all training images are of one kind: there is nothing to tell apart.")
