"""What will be done: the request, completed with what only the data can tell, and checked as a whole."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.config.monitored import LOSS, MonitoredValue, choose_monitored
from segkit.config.plan import Plan
from segkit.config.resolve import Choice, RequestedConfig
from segkit.errors import SegkitError, UsageError
from segkit.options import in_words, plain
from segkit.plugins import Catalogue, RegisteredSpec
from segkit.settings import BY_LENGTH, SECTIONS, Augment, Preprocess, Split, Train, strengths_of
from segkit.sides import flips_exchange, mirror_axis
from segkit.source import source_digest
from segkit.specs import DatasetSpec, ModelSpec
from segkit.task import Dataset, Task
from segkit.words import counted

FLIPS_EXCHANGE = "flips (augment.flip) exchange {}, which are told apart by their side alone"
PATIENCE = 30  # epochs, with schedules that have no end of their own
SGD_RATE = 1e-2  # learning rate of sgd, where none is typed (nnU-Net)
PREPROCESS_DEFAULTS: Mapping[str, Any] = {"fit": "stretch", "size": 256, "intensity": "scale255"}


@dataclass(frozen=True)
class Config:
    """Everything that a training is made of; nothing is left open but `train.batch_size`, which a trial may decide.

    Args:
        dims: the network's spatial dimensions; a 2D network on volumes sees slices.
        monitored: what decides best weights, plateau and early stopping.
        recipe: what it was started from.
        seen: smallest and largest value that the network sees of the images, where a fixed scaling makes them.
        plan: what was decided for what was left open, and why.
    """

    dataset: Choice
    root: Path | None
    model: Choice
    loss: Choice
    metrics: tuple[Choice, ...]
    preprocess: Preprocess
    augment: Augment
    split: Split
    train: Train
    dims: int
    monitored: MonitoredValue
    recipe: RegisteredSpec | None = None
    seen: tuple[float, float] | None = None
    plan: Plan = field(default_factory=Plan)

    @property
    def headline(self) -> str:
        """The value that is shown where there is room for one: what is monitored, or beside the loss the first metric."""
        if self.monitored.name != LOSS:
            return self.monitored.name
        return next((metric.spec.name for metric in self.metrics if metric.spec.higher_is_better is not None), LOSS)

    @property
    def plugins(self) -> dict[str, dict[str, str]]:
        """Every plugin that is used: name -> distribution and version."""
        found = [choice.found for choice in (self.dataset, self.model, self.loss, *self.metrics)]
        found += [self.recipe] if self.recipe else []
        used = {item.plugin.name: item.plugin for item in found}
        return {name: {"distribution": used[name].distribution, "version": used[name].version} for name in sorted(used)}

    @property
    def data_origin(self) -> tuple[Any, ...]:
        """What identifies this data: plugin and its code, folder and options, as JSON knows values."""
        return origin_of(self.dataset, self.root)


def origin_of(dataset: Choice, root: Path | None) -> tuple[Any, ...]:
    """What identifies the data of a dataset: plugin and its code, folder and options, as JSON knows values."""
    plugin, package = dataset.found.plugin, dataset.spec.target.partition(".")[0].partition(":")[0]
    code = (plugin.distribution, plugin.version, source_digest(package))
    return (dataset.name, *code, str(root), plain(dataset.options))


def complete_config(requested: RequestedConfig, dataset: Dataset, catalogue: Catalogue) -> Config:
    """Fill in what depends on the data, and check that everything goes together.

    Raises:
        UsageError: a model, loss or metric that cannot take this task.
    """
    slices = _asks_for_slices(requested, dataset.task)
    dims = _check_model(requested.model, requested.dataset, dataset.task, catalogue, slices)
    check_features(requested.model.spec, requested.train)
    _check_pretrained(requested.model, requested.train)
    _check_tracker(requested.train)
    task = dataset.task.learned_by(requested.model.spec.kind)
    preprocess = _complete_preprocess(requested, dims, dataset.task)
    model = with_size(requested.model, preprocess.size)
    model.spec.strides(model.options, dims)  # refuses options that are made for another number of axes
    if task.kind == "classification" and preprocess.fit == "patch":
        raise UsageError("preprocess.fit=patch: a classification model sees whole images or slices.", "Use stretch or pad.")
    metrics = complete_metrics(requested.metrics, task, catalogue)
    monitored, added = choose_monitored(requested.train.monitor, metrics, task, catalogue)
    seed = requested.train.seed if requested.split.seed is None else requested.split.seed
    return Config(
        dataset=Choice(requested.dataset.found, dataset.options or requested.dataset.options),
        root=requested.root,
        model=model,
        loss=_complete_loss(requested.loss, task, catalogue),
        metrics=(*metrics, added) if added else metrics,
        preprocess=preprocess,
        augment=_complete_augment(requested.augment, dims),
        split=dataclasses.replace(requested.split, seed=seed),
        train=_complete_train(requested.train, monitored.name, model.spec),
        dims=dims,
        monitored=monitored,
        recipe=requested.recipe,
    )


def _complete_train(train: Train, monitor: str, spec: ModelSpec) -> Train:
    patience = train.patience
    if patience is None:
        patience = 0 if train.schedule in BY_LENGTH else PATIENCE
    usual = SGD_RATE if train.optimizer == "sgd" else spec.learning_rate
    lr = usual if train.lr is None else train.lr
    return dataclasses.replace(train, monitor=monitor, patience=patience, lr=lr)


def with_size(model: Choice, size: int | tuple[int, ...] | None) -> Choice:
    """The model, built for images of this size where it asks for one (see segkit.protocols.HasSize) and none was typed."""
    if getattr(model.options, "size", 0) is not None:
        return model
    return Choice(model.found, dataclasses.replace(model.options, size=size))


def to_toml(config: Config) -> dict[str, Any]:
    """The settings as run.toml holds them; `gather` with them as base and nothing typed gives the same again."""
    root = {"root": str(config.root)} if config.root else {}
    return {
        "dataset": {"name": config.dataset.name, **root, **plain(config.dataset.options)},
        "model": {"name": config.model.name, **plain(config.model.options)},
        "loss": {"name": config.loss.name, **plain(config.loss.options)},
        "metrics": {metric.name: plain(metric.options) for metric in config.metrics},
        **{section: plain(getattr(config, section)) for section in SECTIONS},
        **({"recipe": {"name": config.recipe.full_name}} if config.recipe else {}),
        "plugins": config.plugins,
    }


def default_intensity(spec: DatasetSpec) -> str:
    """The intensity of a dataset's images where none is asked for."""
    return str({**PREPROCESS_DEFAULTS, **spec.preprocess}["intensity"])


def _unset(settings: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in defaults.items() if getattr(settings, key) is None}


def _complete_preprocess(requested: RequestedConfig, dims: int, task: Task) -> Preprocess:
    defaults = {**PREPROCESS_DEFAULTS, **requested.dataset.spec.preprocess}
    preprocess = dataclasses.replace(requested.preprocess, **_unset(requested.preprocess, defaults))
    if isinstance(preprocess.spacing, tuple) and len(preprocess.spacing) != task.dims:
        numbers = len(preprocess.spacing)
        raise UsageError(
            f"preprocess.spacing has {counted(numbers, 'number')}, the data {counted(task.dims, 'axis')}.",
            "One number fits all.",
        )
    if task.dims == 3:
        preprocess = dataclasses.replace(preprocess, slices=dims == 2)
    if preprocess.intensity == "range":
        low, *high = preprocess.range or (0.0,)
        if len(high) != 1 or low >= high[0]:
            given = "not given" if preprocess.range is None else in_words(preprocess.range)
            raise UsageError(
                f"preprocess.range is {given}: intensity=range needs low and high.", "-o preprocess.range=-160,240"
            )
    if preprocess.intensity == "encoder" and preprocess.mean is None:
        mean, std = _encoder_statistics(requested.model, task.channels)
        preprocess = dataclasses.replace(preprocess, mean=mean, std=std)
    if preprocess.fit in ("stretch", "pad"):
        preprocess = dataclasses.replace(preprocess, frame=preprocess.frame or 1.0)
    if isinstance(preprocess.frame, tuple) and len(preprocess.frame) != dims:
        raise UsageError(
            f"preprocess.frame has {counted(len(preprocess.frame), 'number')}, the network {counted(dims, 'axis')}.",
            "One number fits all.",
        )
    if preprocess.fit == "native":
        return dataclasses.replace(preprocess, size=None)
    size = (preprocess.size,) * dims if isinstance(preprocess.size, int) else tuple(preprocess.size or ())
    if len(size) != dims:
        raise UsageError(
            f"preprocess.size has {counted(len(size), 'number')}, the network {counted(dims, 'axis')}.",
            "One number fits all.",
        )
    return dataclasses.replace(preprocess, size=size)


def _complete_augment(requested: Augment, dims: int) -> Augment:
    augment = dataclasses.replace(requested, **_unset(requested, strengths_of(requested.policy, dims)))
    if not isinstance(augment.flip, tuple):
        return augment
    if len(augment.flip) != dims:
        raise UsageError(
            f"augment.flip has {counted(len(augment.flip), 'number')}, the network {counted(dims, 'axis')}.",
            "One number fits all.",
        )
    return dataclasses.replace(augment, flip=augment.flip[0]) if len(set(augment.flip)) == 1 else augment


def _encoder_statistics(model: Choice, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the intensities that a model's encoder was trained with, taken from timm.

    Images of other than three channels are no colours: each channel gets the mean over the encoder's.

    Raises:
        UsageError: the model has no option `encoder`, or timm does not know the encoder.
    """
    encoder = getattr(model.options, "encoder", None)
    if encoder is None:
        raise UsageError(
            f"preprocess.intensity=encoder: the model {model.name} has no option 'encoder'.",
            "Type -o preprocess.intensity=imagenet or another.",
        )
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(str(encoder))
    if known is None:
        raise UsageError(f"timm knows no pretrained encoder {encoder!r}.", "-o preprocess.intensity=imagenet")
    mean, std = (tuple(float(value) for value in values) for values in (known.mean, known.std))
    if channels != len(mean):
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    return mean, std


def _asks_for_slices(requested: RequestedConfig, task: Task) -> bool | None:
    """Whether volumes are seen slice by slice: as typed, or as a size of two numbers says; None: it is left open."""
    settings = requested.preprocess
    two = isinstance(settings.size, tuple) and len(settings.size) == 2
    return True if settings.slices is None and task.dims == 3 and two and 2 in requested.model.spec.dims else settings.slices


def _check_model(model: Choice, data: Choice, task: Task, catalogue: Catalogue, slices: bool | None) -> int:
    """The network's spatial dimensions: the data's, or 2 for slices of volumes."""
    spec: ModelSpec = model.spec
    dims = 2 if slices or task.dims not in spec.dims else task.dims
    if task.dims == 3 and slices is False and dims == 2:
        raise UsageError(f"preprocess.slices=false: the model {spec.name!r} takes 2D images alone.", "Leave it out.")
    if dims not in spec.dims:
        takes, dataset = " or ".join(f"{dims}D" for dims in spec.dims), data.spec.name
        others = ", ".join(item.spec.name for item in catalogue.all("models") if task.dims in item.spec.dims)
        made = f"-o dataset.dims={spec.dims[0]} makes {spec.dims[0]}D ones. " if hasattr(data.options, "dims") else ""
        raise UsageError(
            f"The model {spec.name!r} takes {takes} images; the dataset {dataset!r} has {task.dims}D ones.",
            f"{made}Models of {task.dims}D images: {others}.",
        )
    if spec.kind != task.learned_by(spec.kind).kind:
        raise UsageError(f"The model {spec.name!r} is for {spec.kind}; the dataset {data.spec.name!r} is for {task.kind}.")
    return dims


def check_features(spec: ModelSpec, train: Train) -> None:
    """Refuse what the model does not claim."""
    asked = {
        "mixed-precision": train.precision in ("bf16", "fp16"),
        "compile": train.compile,
        "checkpointing": train.checkpointing,
        "channels-last": train.layout == "channels-last",
    }
    if train.precision == "fp16" and train.device == "cpu":
        raise UsageError("--precision fp16 needs a GPU.", "On the CPU: --precision bf16 or fp32.")
    if train.compile and train.checkpointing:
        raise UsageError("train.compile and train.checkpointing exclude each other.", "Leave one of them out.")
    for feature, wanted in asked.items():
        if wanted and feature not in spec.supports:
            key = {"mixed-precision": "precision", "channels-last": "layout"}.get(feature, feature)
            claimed = f"It supports: {', '.join(spec.supports)}." if spec.supports else "It supports nothing of this kind."
            raise UsageError(
                f"The model {spec.name!r} does not support {feature} (train.{key}).", f"Leave out train.{key}. {claimed}"
            )


def _check_pretrained(model: Choice, train: Train) -> None:
    """Refuse ImageNet weights for a built-in model without an encoder; of others, building them tells."""
    options = {field.name for field in dataclasses.fields(model.options)}
    if train.pretrained == "imagenet" and model.found.plugin.builtin and not options & {"encoder", "freeze"}:
        raise UsageError(
            f"--pretrained imagenet: the model {model.spec.name!r} has no encoder with ImageNet weights.",
            "--model resnet50-unet has one; --pretrained FILE takes weights of the whole model.",
        )


def _check_tracker(train: Train) -> None:
    if train.tracker != "none" and importlib.util.find_spec(train.tracker) is None:
        raise UsageError(f"--tracker {train.tracker} needs the package {train.tracker}.", f"pip install {train.tracker}")


def _complete_loss(named: Choice | None, task: Task, catalogue: Catalogue) -> Choice:
    offered = [item for item in catalogue.all("losses") if item.spec.suits(task)]
    if named is None:
        defaults = [item for item in offered if item.spec.is_default(task) and item.plugin.builtin]
        if not defaults:
            raise UsageError("No loss was chosen.", "Type --loss NAME; 'segkit losses' lists them.")
        return Choice(defaults[0], defaults[0].spec.options())
    if not named.spec.suits(task):
        names = ", ".join(item.spec.name for item in offered)
        what = "classes" if task.kind == "classification" else f"{task.mode} masks"
        if task.ignore_index is not None and not named.spec.ignore_index:
            what += f" with pixels to ignore ({task.ignore_index})"
        raise UsageError(f"The loss {named.spec.name!r} does not take {what}.", f"These do: {names}.")
    return named


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
        if item.spec.is_default(task) and item.plugin.builtin and item.full_name not in names
    ]
    chosen = (*defaults, *named)
    for metric in named:
        twins = [other.name for other in chosen if other.spec.name == metric.spec.name]
        if len(twins) > 1:
            raise UsageError(f"The metrics {' and '.join(twins)} share a name, so their figures could not be told apart.")
    return chosen


def doubts_about(config: Config, data: Task) -> list[str]:
    """Notes on choices that are probably not what the user wants."""
    options, train, size = config.model.options, config.train, config.preprocess.size
    found = doubts_about_size(config.model, size) if isinstance(size, tuple) else []
    normed = config.preprocess.intensity in ("encoder", "imagenet")
    if train.pretrained == "imagenet" and hasattr(options, "encoder") and not normed:
        found.append("ImageNet weights expect other intensities: -o preprocess.intensity=encoder provides them.")
    if getattr(options, "freeze", False) and train.pretrained == "none":
        found.append(
            "the encoder is frozen and its weights are random: --pretrained imagenet or --pretrained FILE loads better ones."
        )
    flip = config.augment.flip
    mirrored = flip[mirror_axis(data, config.dims)] if isinstance(flip, tuple) else flip
    exchanged = flips_exchange(data) if mirrored else ""
    if exchanged:
        found.append(f"{FLIPS_EXCHANGE.format(exchanged)}: -o augment.flip=0 leaves flips out.")
    return found


def doubts_about_size(model: Choice, size: tuple[int, ...]) -> list[str]:
    """What the model's own options say against images of this size (see segkit.protocols.HasDoubts).

    Raises:
        SegkitError: the plugin's code fails, named.
    """
    doubts = getattr(model.options, "doubts", None)
    if not callable(doubts):
        return []
    try:
        return [str(doubt) for doubt in doubts(size)]
    except Exception as error:
        raise SegkitError(f"The options of {model.name} failed in doubts{size}: {type(error).__name__}: {error}") from error
