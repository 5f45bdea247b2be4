"""What the data decides of a request: the first half of a plan (machine.py is the second)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from segkit.config.complete import origin_of
from segkit.config.plan import Decision
from segkit.config.resolve import RequestedConfig
from segkit.errors import UsageError
from segkit.planning.decisions import (
    BATCH,
    apply,
    asks_for_balance,
    balance_weights,
    choose_flips,
    decide,
    fit_model,
    keep_upright,
    make_smaller,
)
from segkit.planning.facts import DataFacts, coarse_axis, look_at
from segkit.planning.remembered import cases_as_key, remembered
from segkit.task import Dataset


@dataclass(frozen=True)
class Draft:
    """A request that the data has completed.

    Args:
        requested: with nothing open that the data decides.
        decisions: that were taken.
        facts: of the training cases; None where nothing had to be looked at.
        base: what this was made of, before the size of what the network sees and with it the rest was decided.
    """

    requested: RequestedConfig
    decisions: tuple[Decision, ...]
    facts: DataFacts | None = None
    base: Draft | None = None


def draft_plan(requested: RequestedConfig, dataset: Dataset, ids: Mapping[str, Sequence[str]], dims: int) -> Draft:
    """Complete a request by what the training cases are like; they are read only if that decides anything.

    Raises:
        SegkitError: none of them can be read.
    """
    own = dict(requested.dataset.spec.preprocess)
    if "size" in own:
        own.setdefault("fit", "stretch")
    of_dataset = [Decision(f"preprocess.{key}", value, "the dataset's own") for key, value in own.items()]
    requested, taken = apply(requested, of_dataset)
    preprocess = requested.preprocess
    decided = preprocess.fit not in (None, "native") and preprocess.size is not None
    if decided and not asks_for_balance(requested):
        return shrunk(Draft(requested, tuple(taken)), dataset, dims, 1.0)
    wanted = set(ids["train"])
    cases = [case for case in dataset.cases if case.id in wanted]
    key = cases_as_key(dataset, cases, origin_of(requested.dataset, requested.root))
    facts = DataFacts.from_dict(remembered(key, lambda: look_at(dataset, cases).to_dict()))
    coarse = facts.median_spacing is not None and coarse_axis(facts.median_spacing) is not None
    if not decided and dims == 3 and coarse and _takes_slices(requested):
        requested, sliced = apply(requested, [Decision("preprocess.slices", True, _coarse(facts))])
        taken, dims = [*taken, *sliced], 2 if requested.preprocess.slices else 3
    return shrunk(Draft(requested, tuple(taken), facts), dataset, dims, 1.0)


def _takes_slices(requested: RequestedConfig) -> bool:
    """Whether the model takes images of two axes, and nothing that was typed is for the three of a volume."""
    model = requested.model
    typed = (requested.preprocess.size, requested.augment.flip)
    if 2 not in model.spec.dims or any(isinstance(by_axis, tuple) for by_axis in typed):
        return False
    try:
        return len(model.spec.strides(model.options, 2)) == 2
    except UsageError:
        return False


def _coarse(facts: DataFacts) -> str:
    assert facts.median_spacing is not None
    first, second = sorted(facts.median_spacing)[:-3:-1]
    return f"one axis has a spacing of {first:.3g} mm, the next {second:.3g} mm"


def shrunk(base: Draft, dataset: Dataset, dims: int, shrink: float) -> Draft:
    """The request completed for images whose sides are so much smaller than stored, or patches of coarser volumes."""
    requested, taken = base.requested, list[Decision]()
    if base.facts is not None:
        requested, taken = decide(requested, base.facts, dims, shrink)
    requested, usual = apply(requested, [Decision("train.batch_size", BATCH[dims], f"usual for {dims}D")])
    requested, balance = balance_weights(requested, base.facts, dataset.task)
    requested, sides = choose_flips(requested, dataset.task, dims)
    requested, upright = keep_upright(requested, base.facts)
    spacing = base.facts.common_spacing if base.facts is not None and dims == dataset.task.dims else None
    requested, levels = fit_model(requested, dims, spacing)
    return Draft(requested, (*base.decisions, *taken, *usual, *balance, *sides, *upright, *levels), base.facts, base)


def of_smaller_form(base: Draft) -> Draft | None:
    """The same with the model's smaller form; None where it has none, or the user typed all that would change."""
    requested, taken = make_smaller(base.requested)
    return replace(base, requested=requested, decisions=(*base.decisions, *taken)) if taken else None
