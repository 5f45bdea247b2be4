"""What was asked for: gathered from a starting point and the command line, and checked without torch or data.

values = gather(base, flags, assignments)               raw values, by section
requested = resolve_config(values, catalogue)           names found, options checked
config = complete_config(requested, dataset, catalogue) what depends on the data filled in (complete.py)
to_toml(config)                                         what run.toml holds: every value resolved
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segkit.config.suggestions import proposal
from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.options import build, fields_of
from segkit.plugins import Catalogue, RegisteredSpec, load
from segkit.settings import SECTIONS, Augment, Preprocess, Split, Train
from segkit.specs import DatasetSpec
from segkit.task import Task

Values = dict[str, dict[str, Any]]
Assignments = Iterable[str] | Mapping[str, Any]  # "model.width=8", as -o takes it; or {"model.width": 8}
NAMED = ("dataset", "model", "loss")
ALL_SECTIONS = (*NAMED, "metrics", *SECTIONS)
RECORDED = ("recipe", "plugins")  # sections of a run.toml that say where it came from; nobody types them
FLAG_KEYS = {
    "dataset": "dataset.name",
    "data_dir": "dataset.root",
    "model": "model.name",
    "loss": "loss.name",
    "augment": "augment.policy",
    "split": "split.by",
    "folds": "split.folds",
    "fold": "split.fold",
    "allow_leak": "split.allow_leak",
    "freeze_encoder": "model.freeze",
}


@dataclass(frozen=True)
class Choice:
    """A spec that was chosen, with its options."""

    found: RegisteredSpec
    options: Any

    @property
    def name(self) -> str:
        return self.found.full_name

    @property
    def spec(self) -> Any:
        return self.found.spec

    def make(self, *arguments: Any, target: str | None = None, **more: Any) -> Any:
        """Call the spec's target (or another one of it) with these arguments and the options.

        Raises:
            SegkitError: whatever the plugin's code raises, with the plugin named.
        """
        build = self.spec.load(target)
        try:
            return build(*arguments, self.options, **more)
        except SegkitError:
            raise
        except (Exception, SystemExit) as error:
            plugin = self.found.plugin
            raise SegkitError(
                f"{self.name} of {plugin.distribution} {plugin.version} failed: {type(error).__name__}: {error}",
                "Add --debug for the traceback.",
            ) from error


def build_loss(name: str, task: Task, values: Mapping[str, Any]) -> Any:
    """Another loss by its name, for one that is made of several.

    Args:
        name: bare or full.
        task: of the data.
        values: options as -o takes them, without "loss.".

    Returns:
        A torch.nn.Module.

    Raises:
        UsageError: no such loss, not for this task, or an option that it has not.
    """
    found = load().find("losses", name)
    if not found.spec.suits(task):
        raise UsageError(f"The loss {name!r} is not for {task.mode} {task.kind}.", "'segkit losses' lists them.")
    return Choice(found, build(found.spec.options, values, f"loss.{found.spec.name}")).make(task)


@dataclass(frozen=True)
class RequestedConfig:
    """What the user asked for, before the data is known.

    Args:
        loss: None: the default one for the task.
        metrics: those that were named, beside the task's default ones.
        recipe: the one that was started from.
    """

    dataset: Choice
    root: Path | None
    model: Choice
    loss: Choice | None
    metrics: tuple[Choice, ...]
    preprocess: Preprocess
    augment: Augment
    split: Split
    train: Train
    recipe: RegisteredSpec | None = None


def gather(
    base: Mapping[str, Any],
    flags: Mapping[str, Any],
    assignments: Assignments,
    sections: Sequence[str] = ALL_SECTIONS,
) -> Values:
    """Raw values by section; the command line wins over the base.

    Args:
        base: a parsed run.toml or recipe.
        flags: values of the command's flags by parameter name; None means not typed. Names outside `FLAG_KEYS` and
            "metrics" are keys of the section train.
        assignments: any other setting by SECTION.KEY.
        sections: those that the command accepts.

    Raises:
        UsageError: an unknown section, or a text without "=".
    """
    typed: Values = {}
    for flag, value in flags.items():
        if value is None:
            continue
        if flag == "metrics":
            typed.setdefault("metrics", {}).update({name: {} for name in value})
        else:
            section, key = FLAG_KEYS.get(flag, f"train.{flag}").split(".")
            typed.setdefault(section, {})[key] = value
    if isinstance(assignments, Mapping):
        pairs = [(str(target), value) for target, value in assignments.items()]
    else:
        pairs = [_parse_assignment(text) for text in assignments]
    tables = {section: typed.get(section, base.get(section)) for section in NAMED}
    names = {section: table.get("name") for section, table in tables.items() if isinstance(table, Mapping)}
    names |= {target.removesuffix(".name"): value for target, value in pairs if target.removesuffix(".name") in NAMED}
    for target, value in pairs:
        _assign(typed, target, value, sections, names)
    return _merge(base, typed)


def resolve_config(values: Values, catalogue: Catalogue) -> RequestedConfig:
    """Find every name and check every option. Raises UsageError naming the first thing that is wrong."""
    dataset, root, metrics = resolve_data(values, catalogue)
    names = {one: values.get(one, {}).get("name") for one in NAMED}

    def section(name: str) -> Any:
        _check_keys(SECTIONS[name], values.get(name, {}), name, catalogue, names)
        return build(SECTIONS[name], values.get(name, {}), name)

    return RequestedConfig(
        dataset=dataset,
        root=root,
        model=_choose("model", values.get("model", {}), catalogue, values.get("plugins", {})),
        loss=resolve_loss(values, catalogue),
        metrics=metrics,
        preprocess=section("preprocess"),
        augment=section("augment"),
        split=section("split"),
        train=_absolute_pretrained(section("train")),
        recipe=_recorded_recipe(values.get("recipe", {}), catalogue),
    )


def resolve_data(values: Values, catalogue: Catalogue) -> tuple[Choice, Path | None, tuple[Choice, ...]]:
    """The dataset, where it lies, and the metrics that were named: all that an evaluation needs."""
    dataset_values, origins = dict(values.get("dataset", {})), values.get("plugins", {})
    root = dataset_values.pop("root", None)
    dataset = _choose("dataset", dataset_values, catalogue, origins)
    return dataset, _existing_root(dataset, root), resolve_metrics(values, catalogue)


def resolve_loss(values: Values, catalogue: Catalogue) -> Choice | None:
    """The loss that was named, or whose options were; None where neither was."""
    if not values.get("loss"):
        return None
    return _choose("loss", {"name": _default_loss(catalogue), **values["loss"]}, catalogue, values.get("plugins", {}))


def resolve_metrics(values: Values, catalogue: Catalogue) -> tuple[Choice, ...]:
    """The metrics that were named."""
    origins = values.get("plugins", {})
    return tuple(
        _choose("metrics", {**options, "name": name}, catalogue, origins)
        for name, options in values.get("metrics", {}).items()
    )


def _parse_assignment(text: str) -> tuple[str, str]:
    target, equals, value = text.partition("=")
    if not equals:
        words = _instead(target.strip().rpartition(".")[2], {}, ALL_SECTIONS)
        raise UsageError(f"-o {text!r} is not SECTION.KEY=VALUE.", words or "For instance: -o model.width=32")
    return target.strip(), value


def _instead(key: str, names: Mapping[str, Any], sections: Sequence[str]) -> str:
    """What to type for a key that lacks its section, or stands in a wrong one; "" where nothing is like it."""
    return proposal(key, load(), names, sections)


def _assign(typed: Values, target: str, value: Any, sections: Sequence[str], names: Mapping[str, Any]) -> None:
    section, _, key = target.partition(".")
    if not key:
        words = _instead(target, names, sections)
        raise UsageError(f"The option {target!r} is not SECTION.KEY.", words or "For instance: -o model.width=32")
    if section not in ALL_SECTIONS:
        near = did_you_mean(section, sections)
        words = near if near.startswith("Did") else _instead(key, names, sections)
        raise UsageError(f"The option {target!r}: there is no section {section!r}.", words or near)
    if section not in sections:
        raise UsageError(
            f"The option {target!r}: {section} cannot be set here.", f"Sections that can: {', '.join(sections)}."
        )
    if section == "metrics":
        name, _, key = key.rpartition(".")
        if not name:
            raise UsageError(f"The option {target!r} is not metrics.NAME.KEY.", "To add a metric: --metric NAME")
        typed.setdefault("metrics", {}).setdefault(name, {})[key] = value
    else:
        typed.setdefault(section, {})[key] = value


def _merge(base: Mapping[str, Any], typed: Values) -> Values:
    unknown = set(base) - {*ALL_SECTIONS, *RECORDED}
    if unknown:
        name = sorted(unknown)[0]
        raise UsageError(f"The configuration has an unknown section {name!r}.", did_you_mean(name, ALL_SECTIONS))
    for section, values in base.items():
        tables = values.values() if section == "metrics" and isinstance(values, Mapping) else [values]
        if not all(isinstance(table, Mapping) for table in tables):
            raise UsageError(
                f"The configuration's section {section!r} is not a table.", f"Write [{section}] above its keys."
            )
    merged = {section: dict(values) for section, values in base.items()}
    for section, values in typed.items():
        kept = merged.get(section, {})
        if section in NAMED and not _same_name(values.get("name"), kept.get("name")):
            kept = {}  # another model: the options of the base's model mean nothing to it
        if section == "metrics":  # each has a table of its own, in the base under its full name
            named = {next((own for own in kept if _same_name(name, own)), name): table for name, table in values.items()}
            values = {name: {**kept.get(name, {}), **table} for name, table in named.items()}
        merged[section] = {**kept, **values}
    return merged


def _same_name(typed: Any, kept: Any) -> bool:
    """Whether a typed name, bare or full, means the one of the base."""
    if typed is None or kept is None or typed == kept:
        return typed is None or typed == kept
    bare = [str(name).rpartition("/") for name in (typed, kept)]
    return bare[0][2] == bare[1][2] and not (bare[0][0] and bare[1][0])


def _choose(section: str, values: Mapping[str, Any], catalogue: Catalogue, origins: Mapping[str, Any]) -> Choice:
    """The spec that is named, with its options; `origins` says where recorded plugins come from."""
    group = {"dataset": "datasets", "model": "models", "loss": "losses"}.get(section, section)
    name = values.get("name")
    if name is None:
        names = ", ".join(item.spec.name for item in catalogue.all(group))
        raise UsageError(f"No {section} was chosen.", f"Type --{section} NAME; there are: {names}.")
    try:
        found = catalogue.find(group, str(name))
    except UsageError as error:
        raise _missing(section, str(name), catalogue, origins) or error from None
    label = f"metrics.{name}" if section == "metrics" else section
    options = {key: value for key, value in values.items() if key != "name"}
    if (
        section == "model"
        and "freeze" in options
        and "freeze" not in {field.name for field in fields_of(found.spec.options)}
    ):
        words = f"--freeze-encoder (model.freeze): the model {found.spec.name!r} has no encoder that can be frozen"
        raise UsageError(f"{words}.", "Models that have one list an option 'freeze': segkit models NAME.")
    _check_keys(found.spec.options, options, label, catalogue, {section: name})
    return Choice(found, build(found.spec.options, options, label))


def _missing(section: str, name: str, catalogue: Catalogue, origins: Mapping[str, Any]) -> SegkitError | None:
    """The error for a recorded spec whose plugin is gone or broken; None where nobody knows where it came from."""
    plugin = name.partition("/")[0]
    origin = origins.get(plugin)
    if "/" not in name or not isinstance(origin, Mapping) or "distribution" not in origin:
        return None
    distribution, version = origin["distribution"], origin.get("version", "?")
    words = f"The {section.removesuffix('s')} {name} comes with {distribution} {version}"
    broken = [reason for own in catalogue.plugins if own.name == plugin for reason in own.reasons]
    if broken:
        return SegkitError(f"{words}; its plugin is installed but failed to load: {'; '.join(broken)}.", "segkit plugins")
    if any(own.name == plugin for own in catalogue.plugins):
        return None
    return SegkitError(f"{words} and is not installed.", f"pip install {distribution}")


def _check_keys(
    options: type, values: Mapping[str, Any], label: str, catalogue: Catalogue, names: Mapping[str, Any]
) -> None:
    """Refuse a key that is another section's, naming it; one that is nobody's is refused by `build`."""
    known = {field.name for field in fields_of(options)}
    for key in values:
        words = "" if key in known else proposal(key, catalogue, names, ALL_SECTIONS)
        if words and did_you_mean(key, known)[:3] != "Did":
            raise UsageError(f"{label} has no option {key!r}.", words)


def _existing_root(dataset: Choice, root: Any) -> Path | None:
    spec: DatasetSpec = dataset.spec
    if not spec.needs_root and root:
        raise UsageError(
            f"The dataset {spec.name!r} takes no folder: nothing in {root} would be read.", "Leave the folder out."
        )
    if not spec.needs_root:
        return None
    if not root:
        raise UsageError(f"The dataset {spec.name!r} needs --data-dir DIR.", where_to_get(spec))
    path = Path(str(root)).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(f"--data-dir {path} is not a folder.", where_to_get(spec))
    return path


def where_to_get(spec: DatasetSpec) -> str:
    """The expected tree, the homepage, and what runs without any data."""
    parts = [f"Expected tree:\n{spec.layout.rstrip()}" if spec.layout else ""]
    parts += [f"Homepage: {spec.homepage}" if spec.homepage else ""]
    return "\n".join([part for part in parts if part] + ["'--dataset phantom' runs without any data."])


def _absolute_pretrained(train: Train) -> Train:
    """Paths are stored absolute. Raises UsageError if there is no such file."""
    if train.pretrained in ("none", "imagenet"):
        return train
    path = Path(train.pretrained).expanduser().absolute()
    path = path / "model.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(
            f"--pretrained {train.pretrained}: there is no such file.", "Allowed: imagenet, none, a file or run."
        )
    return dataclasses.replace(train, pretrained=str(path))


def _recorded_recipe(values: Mapping[str, Any], catalogue: Catalogue) -> RegisteredSpec | None:
    """The recipe that a run.toml was started from; it need not be installed, since run.toml has all its values."""
    return next((item for item in catalogue.all("recipes") if item.is_called(values.get("name", ""))), None)


def _default_loss(catalogue: Catalogue) -> str:
    return next(item.full_name for item in catalogue.all("losses") if item.spec.default and item.plugin.builtin)
