"""What a record says only once the data is known: dimensions, preprocessing, loss, metrics; and whether all go together."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from typing import Any

from segkit.config.resolve import Choice, Config
from segkit.errors import UsageError
from segkit.options import in_words, plain
from segkit.plugins import Catalogue
from segkit.settings import AUGMENT_POLICIES, AUGMENT_STRENGTHS, Augment, Preprocess, Train
from segkit.specs import ModelSpec
from segkit.task import Dataset, Task

PREPROCESS_DEFAULTS: Mapping[str, Any] = {"fit": "stretch", "size": 256, "intensity": "scale255"}


def complete(config: Config, dataset: Dataset, catalogue: Catalogue) -> Config:
    """Fill in what depends on the data, and check that everything goes together.

    Raises:
        UsageError: a model, loss or metric that cannot take this task.
    """
    dims = _check_model(config.model, config.dataset.spec.name, dataset.task)
    check_features(config.model.spec, config.train)
    _check_tracker(config.train)
    task = dataset.task.learned_by(config.model.spec.kind)
    preprocess = _complete_preprocess(config, dims, task.dims)
    if task.kind == "classification" and preprocess.fit == "patch":
        raise UsageError("preprocess.fit=patch: a classification model sees whole images or slices.", "Take stretch or pad.")
    options = config.model.options
    if getattr(options, "size", 0) is None:
        options = dataclasses.replace(options, size=preprocess.size)
    policy = AUGMENT_POLICIES[config.augment.policy]
    augment = dataclasses.replace(config.augment, **_unset(config.augment, policy))
    seed = config.train.seed if config.split.seed is None else config.split.seed
    return dataclasses.replace(
        config,
        dataset=Choice(config.dataset.found, dataset.options or config.dataset.options),
        model=Choice(config.model.found, options),
        loss=_complete_loss(config, task, catalogue),
        metrics=complete_metrics(config.metrics, task, catalogue),
        preprocess=preprocess,
        augment=augment,
        split=dataclasses.replace(config.split, seed=seed),
        dims=dims,
    )


def _unset(settings: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if getattr(settings, key) is None}


def _complete_preprocess(config: Config, dims: int, axes: int) -> Preprocess:
    defaults = {**PREPROCESS_DEFAULTS, **config.dataset.spec.preprocess}
    preprocess = dataclasses.replace(config.preprocess, **_unset(config.preprocess, defaults))
    if isinstance(preprocess.spacing, tuple) and len(preprocess.spacing) != axes:
        raise UsageError(f"preprocess.spacing has {len(preprocess.spacing)} numbers, the data {axes} axes.", "One fits all.")
    if preprocess.fit == "native":
        return dataclasses.replace(preprocess, size=None)
    size = (preprocess.size,) * dims if isinstance(preprocess.size, int) else tuple(preprocess.size or ())
    if len(size) != dims:
        raise UsageError(f"preprocess.size has {len(size)} numbers, the network {dims} axes.", "One number fits all.")
    return dataclasses.replace(preprocess, size=size)


def _check_model(model: Choice, dataset: str, task: Task) -> int:
    """The network's spatial dimensions: the data's, or 2 for slices of volumes."""
    spec: ModelSpec = model.spec
    dims = task.dims if task.dims in spec.dims else 2
    if dims not in spec.dims:
        takes = " or ".join(f"{dims}D" for dims in spec.dims)
        raise UsageError(
            f"The model {spec.name!r} takes {takes} images; the dataset {dataset!r} has {task.dims}D ones.",
            f"'segkit models' lists the {task.dims}D models.",
        )
    if spec.kind != task.learned_by(spec.kind).kind:
        raise UsageError(f"The model {spec.name!r} is for {spec.kind}; the dataset {dataset!r} is for {task.kind}.")
    return dims


def check_features(spec: ModelSpec, train: Train) -> None:
    """Refuse what the model says it does not stand. (channels-last is the engine's own choice, and left out for it.)"""
    asked = {
        "mixed-precision": train.precision in ("bf16", "fp16"),
        "compile": train.compile,
        "checkpointing": train.checkpointing,
    }
    if train.compile and train.checkpointing:
        raise UsageError("train.compile and train.checkpointing exclude each other.", "Leave one of them out.")
    for feature, wanted in asked.items():
        if wanted and feature in spec.lacks:
            key = "precision" if feature == "mixed-precision" else feature
            raise UsageError(f"The model {spec.name!r} does not stand {feature} (train.{key}).", f"Leave out train.{key}.")


def _check_tracker(train: Train) -> None:
    if train.tracker != "none" and importlib.util.find_spec(train.tracker) is None:
        raise UsageError(
            f"--tracker {train.tracker} needs the package {train.tracker}.", f"pip install segkit[{train.tracker}]"
        )


def _complete_loss(config: Config, task: Task, catalogue: Catalogue) -> Choice:
    offered = [item for item in catalogue.all("losses") if item.spec.suits(task)]
    if config.loss is None:
        defaults = [item for item in offered if item.spec.default and item.plugin.builtin]
        if not defaults:
            raise UsageError("No loss was chosen.", "Type --loss NAME; 'segkit losses' lists them.")
        return Choice(defaults[0], defaults[0].spec.options())
    if not config.loss.spec.suits(task):
        names = ", ".join(item.spec.name for item in offered)
        what = "classes" if task.kind == "classification" else f"{task.mode} masks"
        raise UsageError(f"The loss {config.loss.spec.name!r} does not take {what}.", f"These do: {names}.")
    return config.loss


def complete_metrics(named: tuple[Choice, ...], task: Task, catalogue: Catalogue) -> tuple[Choice, ...]:
    """The default metrics that suit the task, and those that were named. Raises UsageError if one of these does not."""
    for metric in named:
        if not metric.spec.suits(task):
            what = "classes" if task.kind == "classification" else f"{task.mode} masks"
            raise UsageError(f"The metric {metric.spec.name!r} does not take {what}.", "See 'segkit metrics'.")
    names = {metric.name for metric in named}
    defaults = [
        Choice(item, item.spec.options())
        for item in catalogue.all("metrics")
        if item.spec.default and item.plugin.builtin and item.spec.suits(task) and item.full_name not in names
    ]
    chosen = (*defaults, *named)
    for metric in named:
        twins = [other.name for other in chosen if other.spec.name == metric.spec.name]
        if len(twins) > 1:
            raise UsageError(f"The metrics {' and '.join(twins)} share a name, so their figures could not be told apart.")
    return chosen


def summary(config: Config) -> str:
    """What was chosen, for the user, before the training begins."""
    assert config.loss is not None, "complete() comes first"

    def words(choice: Choice) -> str:
        options = ", ".join(f"{key} {in_words(value)}" for key, value in plain(choice.options).items())
        return f"{choice.spec.name} ({options})" if options else choice.spec.name

    size = " x ".join(map(str, config.preprocess.size)) if isinstance(config.preprocess.size, tuple) else "its own size"
    train = config.train
    schedule: str = train.schedule
    if schedule == "plateau":
        schedule += f" x {train.plateau_factor:g} after {train.plateau_patience}"
    return "\n".join(
        (
            f"dataset     {words(config.dataset)}" + (f" in {config.root}" if config.root else ""),
            f"model       {words(config.model)}",
            f"loss        {words(config.loss)}",
            f"preprocess  {config.preprocess.fit} to {size}, intensity {config.preprocess.intensity}",
            f"augment     {_augment_words(config.augment)}",
            f"train       {train.optimizer}, lr {train.lr:g}, batch {in_words(train.batch_size)}, "
            f"up to {train.epochs} epochs, schedule {schedule}, patience {train.patience}, seed {train.seed}",
        )
    )


def _augment_words(augment: Augment) -> str:
    """The policy, and what is switched on."""
    strengths = {name: getattr(augment, name) for name in AUGMENT_STRENGTHS if getattr(augment, name)}
    if strengths.keys() - {"flip"}:
        strengths["chance"] = augment.chance
    words = ", ".join(f"{name} {value:g}" for name, value in strengths.items())
    return f"{augment.policy}: {words}" if words else augment.policy


def notes(config: Config) -> list[str]:
    """What was chosen and is hardly what the user wants."""
    found, options, train = [], config.model.options, config.train
    normed = config.preprocess.intensity in ("encoder", "imagenet")
    if train.pretrained == "imagenet" and hasattr(options, "encoder") and not normed:
        found.append("ImageNet weights know other intensities: -o preprocess.intensity=encoder gives them theirs.")
    if getattr(options, "freeze", False) and train.pretrained == "none":
        found.append("the encoder is frozen and its weights are random: --pretrained imagenet or FILE gives it better ones.")
    return found


def fill_statistics(config: Config, channels: int) -> Config:
    """For intensity=encoder: put the mean and std of the model's encoder into the preprocessing record.

    Images of other than three channels are no colours: each channel gets the mean over the encoder's.

    Raises:
        UsageError: the model has no option `encoder`, or timm does not know the encoder.
    """
    if config.preprocess.intensity != "encoder" or config.preprocess.mean is not None:
        return config
    encoder = getattr(config.model.options, "encoder", None)
    if encoder is None:
        raise UsageError(
            f"preprocess.intensity=encoder: the model {config.model.name} has no option 'encoder'.",
            "Type -o preprocess.intensity=imagenet or another.",
        )
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(str(encoder))
    if known is None:
        raise UsageError(f"timm knows no pretrained encoder {encoder!r}.", "-o preprocess.intensity=imagenet")
    mean, std = (tuple(float(value) for value in values) for values in (known.mean, known.std))
    if channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return dataclasses.replace(config, preprocess=dataclasses.replace(config.preprocess, mean=mean, std=std))
