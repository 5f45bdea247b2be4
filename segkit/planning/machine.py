"""What the machine and the time decide: precision and layout, how large images may be, how many steps are taken."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from segkit import distributed
from segkit.config.complete import Config
from segkit.config.plan import Decision, Plan
from segkit.config.resolve import RequestedConfig
from segkit.models.build import OutOfMemoryError
from segkit.models.device import choose_device
from segkit.planning import budget
from segkit.planning.decisions import apply
from segkit.planning.draft import Draft, of_smaller_form, shrunk
from segkit.planning.remembered import remembered, step_as_key
from segkit.planning.trials import Trial, compare, fastest
from segkit.task import Dataset
from segkit.training.components import usual_precision
from segkit.training.global_state import preserved_global_state
from segkit.training.time_budget import fit_steps

WORTH_A_TRIAL = 100  # steps from which on a few more are worth it
TRIALS = 0.02  # of the time, for the trials of one size
NO_LIMIT = 3600.0  # seconds of a training for which no time is given, as far as its trials go
BATCH_SIZE = "train.batch_size"
OVERHEAD = 1.5  # of a validation: reading and scoring beside the network


@dataclass(frozen=True)
class Work:
    """What a plan is made for.

    Args:
        dataset: opened.
        train, val: how many cases are trained and validated on.
        complete: makes the configuration of a request.
        deadline: when training and validation must have ended, of time.perf_counter; None: no limit.
    """

    dataset: Dataset
    train: int
    val: int
    complete: Callable[[RequestedConfig], Config]
    deadline: float | None

    @property
    def seconds(self) -> float | None:
        """That are left for training and validation."""
        return None if self.deadline is None else self.deadline - time.perf_counter()

    @property
    def for_trials(self) -> float:
        """Seconds that the trials of one size may take, about."""
        return TRIALS * (NO_LIMIT if self.seconds is None else max(0.0, self.seconds))


@preserved_global_state()
def plan_machine(draft: Draft, work: Work) -> tuple[RequestedConfig, Plan]:
    """Fill in what is left open, by trials on this machine where they are worth their time.

    Raises:
        UsageError: the time is too short for one step.
        OutOfMemoryError: the smallest batch does not fit.
    """
    device = choose_device(draft.requested.train.device)
    distributed.init_process_group(cpu=device.type == "cpu")
    measured: list[Trial] = []
    if work.deadline is not None and draft.base is not None:
        draft = _fit_time(draft, draft.base, work, measured)
    config = work.complete(draft.requested)
    epoch_steps = config.train.epoch_steps or max(1, items_of(draft, config, work.train) // (config.train.batch_size or 1))
    epochs = config.train.epochs or budget.plain_epochs(epoch_steps)
    steps = epochs * epoch_steps
    plain = Decision("train.epochs", epochs, f"of {epoch_steps} steps, no time was given")
    if work.deadline is None and steps < WORTH_A_TRIAL and device.type == "cpu":
        usual = Decision("train.precision", usual_precision(config, device), "usual on this device")
        return _finish(draft, [usual, plain], [], None)
    draft, trials = _tried(draft, work)
    best, config = fastest(trials), work.complete(draft.requested)
    batch = config.train.batch_size or 1
    views = work.val * _views_of_case(draft, config) if config.train.validate else 0
    validation, left = best.forward_seconds / batch * OVERHEAD * views, distributed.broadcast_object(work.seconds)
    length = [plain]
    if left is not None and config.train.epochs is None:  # typed epochs are a limit, which the clock may shorten
        epochs, epoch_steps = fit_steps(left, best.step_seconds, validation, items_of(draft, config, work.train), batch)
        if config.train.epoch_steps is not None:
            epochs, epoch_steps = max(1, epochs * epoch_steps // config.train.epoch_steps), config.train.epoch_steps
        steps, why = epochs * epoch_steps, f"a step takes {best.step_seconds:.2g} s, a validation {validation:.2g} s"
        length = [Decision("train.epochs", epochs, why), Decision("train.epoch_steps", epoch_steps, f"{steps} steps in all")]
    seconds = steps * best.step_seconds + epochs * validation
    return _finish(draft, [*_ways(best, trials), *length], [*measured, *trials], seconds)


def _tried(draft: Draft, work: Work, anew: bool = True) -> tuple[Draft, list[Trial]]:
    """Trials, with a batch that is halved until it fits in memory, where it was not typed; or what they took before."""
    while True:
        config = work.complete(draft.requested)
        try:
            return draft, _compared(config, work, _seen(draft, config), anew)
        except OutOfMemoryError:
            half = (config.train.batch_size or 1) // 2
            if not half or all(one.key != BATCH_SIZE for one in draft.decisions):
                raise
        open_again = replace(draft.requested, train=replace(draft.requested.train, batch_size=half))
        kept = tuple(one for one in draft.decisions if one.key != BATCH_SIZE)
        smaller = Decision(BATCH_SIZE, half, "halved until it fits in memory")
        draft = replace(draft, requested=open_again, decisions=(*kept, smaller))


def _compared(config: Config, work: Work, size: tuple[int, ...], anew: bool) -> list[Trial]:
    task = work.dataset.task
    if anew:
        return compare(config, task, size, work.for_trials)
    key = step_as_key(config, task, size, config.train.device)
    found = remembered(key, lambda: [asdict(one) for one in compare(config, task, size, work.for_trials)])
    return [Trial(**one) for one in found]


def _finish(
    draft: Draft, decisions: list[Decision], trials: list[Trial], seconds: float | None
) -> tuple[RequestedConfig, Plan]:
    requested, taken = apply(draft.requested, decisions)
    return requested, Plan((*draft.decisions, *taken), {"trials": [asdict(one) for one in trials]}, seconds)


def _fit_time(draft: Draft, base: Draft, work: Work, measured: list[Trial]) -> Draft:
    """The form of the model, and the largest images, of which enough are seen in the time.

    A trial of the smaller form on rather small images says what a voxel costs.
    """
    dims, small = work.complete(draft.requested).dims, of_smaller_form(base)
    sizes_open = (
        base.facts is not None and base.requested.preprocess.size is None and draft.requested.preprocess.fit != "native"
    )
    if small is None and not sizes_open:
        return draft
    shrinks = budget.SHRINKS if sizes_open else (1.0,)
    drafts = {shrink: shrunk(small or base, work.dataset, dims, shrink) for shrink in shrinks}
    tried, trials = _tried(drafts[budget.TRIED if sizes_open else 1.0], work, anew=False)
    best, config = fastest(trials), work.complete(tried.requested)
    measured += trials
    voxel_seconds = best.step_seconds / (config.train.batch_size or 1) / math.prod(_seen(tried, config))
    left = distributed.broadcast_object(work.seconds)
    assert left is not None
    views = {
        shrink: budget.views_within(left, voxel_seconds * math.prod(_seen(one, work.complete(one.requested))))
        for shrink, one in drafts.items()
    }
    wanted = budget.views_wanted(dims, items_of(draft, config, work.train))
    shrink = budget.choose_shrink(views, wanted)
    ample = small is not None and shrink == 1.0 and views[1.0] >= budget.AMPLE * wanted
    chosen = shrunk(base, work.dataset, dims, 1.0) if ample else drafts[shrink]
    # the size that was chosen tells which layout is faster; that the precision is does not change with it
    requested, taken = apply(chosen.requested, _ways(best, trials)[:1])
    return replace(chosen, requested=requested, decisions=(*chosen.decisions, *taken))


def _ways(best: Trial, trials: list[Trial]) -> list[Decision]:
    """Precision and layout, with what the trials took."""
    took = ", ".join(f"{one.precision} {one.layout} {one.step_seconds:.2g} s" for one in trials)
    return [Decision("train.precision", best.precision, took), Decision("train.layout", best.layout, took)]


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


def _seen(draft: Draft, config: Config) -> tuple[int, ...]:
    """The size that the network is given; of images at their own size the median.

    Volumes that are smaller than a patch are not filled up to it but to the largest of their batch.
    """
    size, facts = config.preprocess.size, draft.facts
    if not isinstance(size, tuple):
        assert facts is not None, "images at their own size were looked at"
        return facts.seen_of(facts.median_size, config.preprocess, config.dims)
    if facts is None or config.preprocess.fit != "patch" or config.dims != len(facts.median_size):
        return size
    spacing, batch = config.preprocess.spacing, config.train.batch_size or 1
    sizes = facts.sizes_at((spacing,) * config.dims if isinstance(spacing, float) else spacing)
    largest = [sorted(sides)[len(sides) * batch // (batch + 1)] for sides in zip(*sizes, strict=True)]  # of a batch, usually
    return tuple(min(side, own) for side, own in zip(size, largest, strict=True))
