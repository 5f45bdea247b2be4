"""Settings that were typed and would change nothing are refused: whoever types one expects that it does something."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import NamedTuple, get_type_hints

from segkit.config.complete import Config
from segkit.config.resolve import Values
from segkit.errors import UsageError
from segkit.options import coerce, in_words
from segkit.settings import AUGMENT_STRENGTHS, SECTIONS
from segkit.task import Dataset


class Setup(NamedTuple):
    """What will be done, and the data that it is done with."""

    config: Config
    dataset: Dataset

    @property
    def official(self) -> bool:
        """Whether the split is the dataset's own."""
        split, cases = self.config.split, self.dataset.cases
        return split.by == "official" or (split.by == "auto" and not split.folds and all(case.subset for case in cases))

    @property
    def shuffled(self) -> bool:
        """Whether the split draws anything at all: an official one does where it states no validation subset."""
        return not self.official or not any(case.subset == "val" for case in self.dataset.cases)


class Condition(NamedTuple):
    """When a setting has a part in what is done, and what to say where it has not."""

    holds: Callable[[Setup], bool]
    reason: str
    hint: str = ""


_SIZED = Condition(
    lambda setup: setup.config.preprocess.fit != "native", "preprocess.fit=native leaves images at their own size"
)
_FRAMED = Condition(
    lambda setup: setup.config.preprocess.fit in (None, "stretch", "pad"),
    "only preprocess.fit=stretch and pad show a part of the image",
    "-o preprocess.fit=pad",
)
_SLICED = Condition(
    lambda setup: setup.config.dims < setup.dataset.task.dims, "only a 2D model on volumes takes slices along an axis"
)
_VOLUMES = Condition(lambda setup: setup.dataset.task.dims == 3, "these are images, which have no slices")
_ENCODER = Condition(
    lambda setup: setup.config.preprocess.intensity == "encoder",
    "only preprocess.intensity=encoder uses it",
    "-o preprocess.intensity=encoder",
)
_RANGE = Condition(
    lambda setup: setup.config.preprocess.intensity == "range",
    "only preprocess.intensity=range uses it",
    "-o preprocess.intensity=range",
)
_CHANCE = Condition(
    lambda setup: any(getattr(setup.config.augment, name) for name in AUGMENT_STRENGTHS if name != "flip"),
    "no augmentation that it is about is on",
    "-o augment.policy=standard, or a strength such as -o augment.rotate=15",
)
_ELASTIC = Condition(lambda setup: bool(setup.config.augment.elastic), "augment.elastic is 0", "-o augment.elastic=0.05")
_FOLDED = Condition(lambda setup: bool(setup.config.split.folds), "there are no folds to choose from", "--folds 5")
_TEST_SHARE = Condition(
    lambda setup: not setup.official and not setup.config.split.folds,
    "the test subset is the dataset's own, or a fold",
    "--split group makes a split of its own",
)
_DRAWN = Condition(
    lambda setup: setup.shuffled, "the dataset states all its subsets", "--split group makes a split of its own"
)
_SGD = Condition(lambda setup: setup.config.train.optimizer == "sgd", "only sgd uses it", "--optimizer sgd")
_ADAM = Condition(lambda setup: setup.config.train.optimizer != "sgd", "sgd has no such term", "--optimizer adamw")
_VALIDATED = Condition(
    lambda setup: setup.config.train.validate, "train.validate=false validates nothing", "Leave out train.validate."
)


def _scheduled(*kinds: str) -> Condition:
    words = " or ".join(f"train.schedule={kind}" for kind in kinds)
    return Condition(
        lambda setup: setup.config.train.schedule in kinds, f"only {words} uses it", f"-o train.schedule={kinds[0]}"
    )


CONDITIONS: dict[str, Condition] = {
    "preprocess.size": _SIZED,
    "preprocess.frame": _FRAMED,
    "preprocess.slices": _VOLUMES,
    "preprocess.slice_axis": _SLICED,
    "preprocess.intensity_per": _VOLUMES,
    "preprocess.range": _RANGE,
    "preprocess.mean": _ENCODER,
    "preprocess.std": _ENCODER,
    "augment.chance": _CHANCE,
    "augment.elastic_grid": _ELASTIC,
    "split.fold": _FOLDED,
    "split.test": _TEST_SHARE,
    "split.val": _DRAWN,
    "split.seed": _DRAWN,
    "train.momentum": _SGD,
    "train.nesterov": _SGD,
    "train.eps": _ADAM,
    "train.plateau_factor": _scheduled("plateau"),
    "train.plateau_patience": _scheduled("plateau"),
    "train.min_delta": _scheduled("plateau"),
    "train.poly_power": _scheduled("poly"),
    "train.step_every": _scheduled("step"),
    "train.step_factor": _scheduled("step"),
    "train.min_lr": _scheduled("plateau", "cosine", "poly", "step"),
    "train.patience": _VALIDATED,
    "train.monitor": _VALIDATED,
}


def refuse_unused(typed: Values, config: Config, dataset: Dataset) -> None:
    """Refuse what was typed where nothing uses it; a setting's own default may always be typed.

    Args:
        typed: what was typed, from `gather` with an empty base.
        config: complete.
        dataset: opened.

    Raises:
        UsageError: the first such setting, why it is not used, and what would use it.
    """
    setup = Setup(config, dataset)
    for section, options in SECTIONS.items():
        for field in fields(options):
            key = f"{section}.{field.name}"
            condition = CONDITIONS.get(key)
            if condition is None or field.name not in typed.get(section, {}):
                continue
            raw = typed[section][field.name]
            if coerce(raw, get_type_hints(options)[field.name]) != field.default and not condition.holds(setup):
                raise UsageError(
                    f"{key} = {in_words(raw)} would not be used: {condition.reason}.",
                    f"Leave it out, or: {condition.hint}" if condition.hint else "Leave it out.",
                )
