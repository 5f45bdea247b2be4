"""Specs: light, frozen descriptions by which plugins offer models, datasets, losses, metrics and recipes.

A spec is made at import of a plugin, so it names its code (`target="package.module:build"`) instead of importing it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar

from segkit.errors import SegkitError, UsageError
from segkit.options import NoOptions, fields_of, in_words, plain
from segkit.settings import Preprocess
from segkit.task import Task
from segkit.words import counted

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
FORMATS = {"onnx": ".onnx", "torch-export": ".pt2"}  # that a model may claim, and how their files end
FEATURES = ("mixed-precision", "channels-last", "compile", "checkpointing")
TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
ALIAS = re.compile(rf"([\w.-]+/)?{NAME.pattern}")


@dataclass(frozen=True)
class Spec:
    """What all kinds share. Everything but name and summary is given by keyword, so that fields can be added.

    Args:
        name: kebab-case, chosen by the author.
        summary: one line for the listing.
        target: "package.module:function", imported only when it is used.
        options: frozen dataclass, every field with a default (see segkit.options.option).
        requires: import names of extra packages that the target needs, and how to get them: {"monai": "pip install monai"}.
        describe: optional target `describe(options) -> str` for `segkit models NAME --describe`.
        bare: may be asked for by its bare name; False: only as plugin/name.
        aliases: names that it had before, "old-name", or "old-plugin/old-name" where the plugin's own name changed too:
            weights and run.toml written under them still load.
        migrate: optional target `migrate(options, from_version) -> options`, dictionaries of plain values as run.toml holds
            them, called whenever recorded options are read. It renames or drops what is no longer an option and leaves
            today's options as they are. from_version is the distribution's version at that time, "0" where it is unknown.
    """

    group: ClassVar[str] = ""
    reserved: ClassVar[frozenset[str]] = frozenset({"name"})

    name: str
    summary: str
    _: KW_ONLY
    target: str
    options: type = NoOptions
    requires: Mapping[str, str] = field(default_factory=dict)
    describe: str | None = None
    bare: bool = True
    aliases: tuple[str, ...] = ()
    migrate: str | None = None

    def problems(self) -> list[str]:
        """What is wrong with this description, in words; empty if nothing is."""
        found = []
        if not (isinstance(self.name, str) and NAME.fullmatch(self.name)):
            found.append(f"its name {self.name!r} is not kebab-case (like 'attention-unet')")
        if not (isinstance(self.summary, str) and self.summary):
            found.append("it has no summary")
        found += [
            f"its target {target!r} is not 'package.module:function'"
            for target in (self.target, self.describe)
            if target is not None and not (isinstance(target, str) and self.is_target(target))
        ]
        if self.migrate is not None and not (isinstance(self.migrate, str) and TARGET.fullmatch(self.migrate)):
            found.append(f"its migrate {self.migrate!r} is not 'package.module:function'")
        if isinstance(self.aliases, str) or not all(
            isinstance(name, str) and ALIAS.fullmatch(name) for name in self.aliases
        ):
            found.append(f"its aliases {self.aliases!r} are not names like ('old-name', 'old-plugin/old-name')")
        try:
            taken = {option.name for option in fields_of(self.options)} & self.reserved
            found += [f"its options use the reserved names {sorted(taken)}"] if taken else []
        except Exception as error:
            found.append(f"its options are unusable: {error}")
        return found

    @classmethod
    def is_target(cls, target: str) -> bool:
        return bool(TARGET.fullmatch(target))

    def missing(self) -> dict[str, str]:
        """The required packages that are not installed, and how to get them."""
        return {package: remedy for package, remedy in self.requires.items() if not _is_installed(package)}

    def broken_targets(self) -> list[str]:
        """Import everything that this description names; returns what fails, in words."""
        found = []
        for role in ("target", "describe", "migrate", "synthesize"):
            target = getattr(self, role, None)
            try:
                if target is not None and not callable(self.load(target)):
                    found.append(f"{self.group} {self.name!r}: its {role} {target} is no function")
            except SegkitError as error:
                found.append(f"{self.group} {error.message}")
        return found

    def load(self, target: str | None = None) -> Callable[..., Any]:
        """Import and return the target (or another one of this spec).

        Raises:
            SegkitError: a required package is missing, or the import fails.
        """
        for package, remedy in self.missing().items():
            raise SegkitError(f"{self.name!r} needs the package {package!r}, which is not installed.", remedy)
        target = target or self.target
        module, _, attribute = target.partition(":")
        try:
            loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            raise SegkitError(
                f"{self.name!r} cannot be loaded from {target}: {type(error).__name__}: {error}",
                "'segkit plugins' shows which package it comes from.",
            ) from error
        return loaded


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ImportError:  # the parent of a dotted name is missing
        return False


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """`target(task, options) -> torch.nn.Module` whose forward maps (B, channels, *S) to logits (B, outputs, *S).

    Args:
        dims: the spatial dimensions it takes, 2 and/or 3.
        kind: "segmentation" or "classification" (logits (B, outputs)).
        stride: input sizes must be multiples of it, per axis or for all, or a function of the options; the engine pads.
        minimum: smallest input size along an axis, or a function of the options; the engine pads up to it.
        supports: which of `FEATURES` it works with; asking for another is refused. `ModelContract` tells what more it could.
        exports: which of `FORMATS` it can be exported in.
        default: taken where no model is named, one with an encoder where pretrained weights are asked for; heeded in
            built-in plugins only.
        learning_rate: that suits it with adamw and the default schedule, where none is typed.
    """

    group: ClassVar[str] = "models"

    dims: tuple[int, ...] = (2,)
    kind: str = "segmentation"
    stride: int | tuple[int, ...] | Callable[[Any], int | tuple[int, ...]] = 1
    minimum: int | Callable[[Any], int] = 1
    supports: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    default: bool = False
    learning_rate: float = 1e-3

    def strides(self, options: Any, dims: int) -> tuple[int, ...]:
        """The stride along each of `dims` axes for these options.

        Raises:
            UsageError: options with a number for each axis have too few or too many.
            SegkitError: the plugin's function fails, or gives no stride.
        """
        stride = self._called("stride", options)
        steps = (stride,) * dims if isinstance(stride, int) else tuple(stride)
        if len(steps) != dims and (typed := self._by_axis(options, len(steps))):
            raise UsageError(
                f"{typed} has {counted(len(steps), 'number')}; the model {self.name!r} sees {counted(dims, 'axis')} here.",
                f"One number fits all, or {dims} numbers separated by commas.",
            )
        if len(steps) != dims or not all(isinstance(step, int) and step >= 1 for step in steps):
            raise SegkitError(
                f"The stride {stride!r} of the model {self.name!r} is not a whole number above 0 for {dims} axes."
            )
        return steps

    def _by_axis(self, options: Any, axes: int) -> str:
        """The first option that was given so many numbers, as it is typed; empty where there is none."""
        usual = plain(self.options())
        given = {key: value for key, value in plain(options).items() if isinstance(value, list) and value != usual[key]}
        return next((f"model.{key}={in_words(value)}" for key, value in given.items() if len(value) == axes), "")

    def minimum_size(self, options: Any) -> int:
        """The smallest input size for these options."""
        minimum: int = self._called("minimum", options)
        return minimum

    def _called(self, name: str, options: Any) -> Any:
        """A value that may be a function of the options. Raises SegkitError where that fails."""
        value = getattr(self, name)
        try:
            return value(options) if callable(value) else value
        except Exception as error:
            raise SegkitError(f"The {name} of the model {self.name!r} failed: {type(error).__name__}: {error}") from error

    def problems(self) -> list[str]:
        found = super().problems()
        if not self.dims or set(self.dims) - {2, 3}:
            found.append(f"its dims {self.dims!r} are not 2 and/or 3")
        if self.kind not in ("segmentation", "classification"):
            found.append(f"its kind {self.kind!r} is neither segmentation nor classification")
        if not self.learning_rate > 0:
            found.append(f"its learning_rate {self.learning_rate!r} is not above 0")
        if set(self.supports) - set(FEATURES):
            found.append(f"it supports {self.supports!r}; known are {', '.join(FEATURES)}")
        if set(self.exports) - set(FORMATS):
            found.append(f"it exports {self.exports!r}; known are {', '.join(FORMATS)}")
        return found


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """`target(root, options, labelled=True) -> Dataset`.

    Args:
        homepage: where the data comes from.
        licence: as far as known.
        layout: the expected tree, as text.
        remarks: what else one should know before using it.
        preprocess: values of the preprocess section that suit this data.
        synthesize: target `synthesize(out, cases, seed)` that writes synthetic cases in this layout.
        needs_root: False for generated data.
    """

    group: ClassVar[str] = "datasets"
    reserved: ClassVar[frozenset[str]] = frozenset({"name", "root"})

    homepage: str = ""
    licence: str = ""
    layout: str = ""
    remarks: str = ""
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    synthesize: str | None = None
    needs_root: bool = True

    def problems(self) -> list[str]:
        unknown = set(self.preprocess) - {option.name for option in fields_of(Preprocess)}
        return super().problems() + ([f"its preprocess has unknown keys {sorted(unknown)}"] if unknown else [])


@dataclass(frozen=True, kw_only=True)
class _TaskSpec(Spec):
    """What losses and metrics share.

    Args:
        modes, kinds: the task modes and kinds it takes.
        default: used when the user names none, for every task it takes or for those of these kinds; heeded in built-in
            plugins only: installing one changes no result.
    """

    modes: tuple[str, ...] = ("binary", "multiclass", "multilabel")
    kinds: tuple[str, ...] = ("segmentation",)
    default: bool | tuple[str, ...] = False

    def suits(self, task: Task) -> bool:
        return task.mode in self.modes and task.kind in self.kinds

    def is_default(self, task: Task) -> bool:
        """Whether it is used for this task when the user names none."""
        return self.suits(task) and (task.kind in self.default if isinstance(self.default, tuple) else self.default)


@dataclass(frozen=True, kw_only=True)
class LossSpec(_TaskSpec):
    """`target(task, options) -> torch.nn.Module`, (logits, target) -> scalar; the target is the mask, see segkit.api.

    Args:
        ignore_index: whether it leaves out pixels of the task's ignore_index; data that has such pixels is refused without.
    """

    group: ClassVar[str] = "losses"

    ignore_index: bool = False

    def suits(self, task: Task) -> bool:
        return super().suits(task) and (self.ignore_index or task.ignore_index is None)


@dataclass(frozen=True, kw_only=True)
class MetricSpec(_TaskSpec):
    """`target(task, options) -> Metric`.

    Args:
        higher_is_better: whether larger values are better; None for what has no direction, such as a confusion matrix: it
            cannot be monitored.
        unit: of its values, such as "mm"; empty for shares and numbers.
    """

    group: ClassVar[str] = "metrics"

    higher_is_better: bool | None = True
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class RecipeSpec(Spec):
    """A starting point for `segkit train --recipe NAME`: target "package:path/in/package.toml", laid out like run.toml."""

    group: ClassVar[str] = "recipes"

    @classmethod
    def is_target(cls, target: str) -> bool:
        package, _, path = target.partition(":")
        return bool(package) and path.endswith(".toml")

    def broken_targets(self) -> list[str]:
        try:
            self.read()
        except (OSError, ImportError) as error:
            return [f"{self.group} {self.name!r}: its target {self.target} cannot be read: {error}"]
        return []

    def read(self) -> str:
        from importlib.resources import files

        package, _, path = self.target.partition(":")
        return files(package).joinpath(path).read_text(encoding="utf-8")


KINDS: dict[str, type[Spec]] = {kind.group: kind for kind in (ModelSpec, DatasetSpec, LossSpec, MetricSpec, RecipeSpec)}
