"""What the machine and the time decide: precision and layout, how large images may be, how many steps are taken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from segkit import distributed
from segkit.config.complete import Config
from segkit.config.plan import Decision, Plan
from segkit.config.resolve import RequestedConfig
from segkit.models.device import choose_device
from segkit.planning import budget
from segkit.planning.decisions import apply
from segkit.planning.draft import Draft, shrunk
from segkit.planning.trials import Trial, compare, fastest
from segkit.task import Dataset
from segkit.training.components import usual_precision
from segkit.training.time_budget import fit_steps

WORTH_A_TRIAL = 100  # steps from which on a few more are worth it
TRIALS = 0.02  # of the time, for the trials of one size
NO_LIMIT = 3600.0  # seconds of a training for which no time is given, as far as its trials go
OVERHEAD = 1.5  # of a validation: reading and scoring beside the network


@dataclass(frozen=True)
class Work:
    """What a plan is made for.

    Args:
        dataset: opened.
        train, val: how many cases are trained and validated on.
        complete: makes the configuration of a request.
        seconds: that are left for training and validation; None: no limit.
    """

    dataset: Dataset
    train: int
    val: int
    complete: Callable[[RequestedConfig], Config]
    seconds: float | None

    @property
    def for_trials(self) -> float:
        """Seconds that the trials of one size may take, about."""
        return TRIALS * (self.seconds or NO_LIMIT)


def plan_machine(draft: Draft, work: Work) -> tuple[RequestedConfig, Plan]:
    """Fill in what is left open, by trials on this machine where they are worth their time.

    Raises:
        UsageError: the time is too short for one step.
        OutOfMemoryError: the smallest batch does not fit.
    """
    device = choose_device(draft.requested.train.device)
    distributed.init_process_group(cpu=device.type == "cpu")
    measured: list[Trial] = []
    if work.seconds is not None and draft.base is not None:
        draft = _fit_size(draft.base, work, measured)
    config = work.complete(draft.requested)
    train, batch = config.train, config.train.batch_size or 1
    items = items_of(draft, config, work.train)
    one_pass = max(1, items // batch)
    epochs = train.epochs or budget.plain_epochs(one_pass)
    steps = epochs * (train.epoch_steps or one_pass)
    if work.seconds is None and steps < WORTH_A_TRIAL:
        found = [Decision("train.precision", usual_precision(config, device), "usual on this device")]
        return _finish(draft, [*found, *_plain_length(epochs, one_pass)], [], None)
    trials = compare(config, work.dataset.task, work.for_trials)
    best = fastest(trials)
    found = _ways(best, trials)
    validation = best.forward_seconds / batch * OVERHEAD * work.val * _views_of_case(draft, config)
    if work.seconds is None:
        found += _plain_length(epochs, one_pass)
    else:
        epochs, epoch_steps = fit_steps(work.seconds, best.step_seconds, validation, items, batch)
        steps, why = epochs * epoch_steps, f"a step takes {best.step_seconds:.2g} s, a validation {validation:.2g} s"
        found += [Decision("train.epochs", epochs, why), Decision("train.epoch_steps", epoch_steps, f"{steps} steps in all")]
    return _finish(draft, found, [*measured, *trials], steps * best.step_seconds + epochs * validation)


def _finish(
    draft: Draft, decisions: list[Decision], trials: list[Trial], seconds: float | None
) -> tuple[RequestedConfig, Plan]:
    requested, taken = apply(draft.requested, decisions)
    return requested, Plan((*draft.decisions, *taken), {"trials": [asdict(one) for one in trials]}, seconds)


def _fit_size(base: Draft, work: Work, measured: list[Trial]) -> Draft:
    """The largest images of which enough are seen in the time; a trial of the smallest ones says what a voxel costs."""
    dims = work.complete(base.requested).dims
    drafts = {shrink: shrunk(base, work.dataset, dims, shrink) for shrink in budget.SHRINKS}
    smallest = work.complete(drafts[budget.SHRINKS[-1]].requested)
    trials = compare(smallest, work.dataset.task, work.for_trials)
    best = fastest(trials)
    measured += trials
    voxel_seconds = best.step_seconds / (smallest.train.batch_size or 1) / _voxels(smallest)

    def view_seconds(shrink: float) -> float:
        return voxel_seconds * _voxels(work.complete(drafts[shrink].requested))

    wanted = budget.views_wanted(dims, items_of(drafts[1.0], smallest, work.train))
    assert work.seconds is not None
    chosen = drafts[budget.choose_shrink(work.seconds, view_seconds, wanted)]
    requested, taken = apply(chosen.requested, _ways(best, trials))
    return replace(chosen, requested=requested, decisions=(*chosen.decisions, *taken))


def _ways(best: Trial, trials: list[Trial]) -> list[Decision]:
    """Precision and layout, with what the trials took."""
    took = ", ".join(f"{one.precision} {one.layout} {one.step_seconds:.2g} s" for one in trials)
    return [Decision("train.precision", best.precision, took), Decision("train.layout", best.layout, took)]


def _plain_length(epochs: int, steps: int) -> list[Decision]:
    return [Decision("train.epochs", epochs, f"of {steps} steps, no time was given")]


def items_of(draft: Draft, config: Config, cases: int) -> int:
    """What is trained on: cases, or the slices of that many."""
    if draft.facts is None or config.dims == len(draft.facts.median_size):
        return cases
    return cases * _slices(draft, config)


def _slices(draft: Draft, config: Config) -> int:
    assert draft.facts is not None
    return draft.facts.median_size[draft.facts.slice_axis(config.preprocess)]


def _views_of_case(draft: Draft, config: Config) -> int:
    """How many images or windows the network sees of a median case in validation."""
    if draft.facts is None or not isinstance(config.preprocess.size, tuple):
        return 1
    if config.dims < len(draft.facts.median_size):
        return _slices(draft, config)
    if config.preprocess.fit != "patch":
        return 1
    spacing = config.preprocess.spacing
    wanted = (spacing,) * config.dims if isinstance(spacing, float) else spacing
    sizes = draft.facts.sizes_at(wanted)
    middle = sizes[len(sizes) // 2]
    sides = zip(middle, config.preprocess.size, strict=True)
    return math.prod(1 + max(0, math.ceil(2 * (own - window) / window)) for own, window in sides)


def _voxels(config: Config) -> int:
    size = config.preprocess.size
    return math.prod(size) if isinstance(size, tuple) else 1
