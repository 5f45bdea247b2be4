"""`segkit models|datasets|losses|metrics|recipes [NAME]`: what there is, and the options of one of them."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer

from segkit.cli.completion import keys, names
from segkit.cli.output import print_json, print_table
from segkit.cli.recipes import show_recipe
from segkit.errors import UsageError
from segkit.options import build, fields_of, in_words
from segkit.plugins import RegisteredSpec, load
from segkit.specs import DatasetSpec, LossSpec, MetricSpec, ModelSpec

logger = logging.getLogger(__name__)


def _name(group: str) -> Any:
    return typer.Argument(help="Show this one's options.", autocompletion=names(group))


BETTER = {True: "higher", False: "lower", None: "no direction"}
LARGEST = 100_000  # pixels along an axis
Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def models(
    name: Annotated[str | None, _name("models")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Image channels: build it and count.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Number of outputs, with --channels.")] = None,
    size: Annotated[str | None, typer.Option(help="Image size, N or N,M: also FLOPs and activation memory.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="model.KEY=VALUE", help="Option to count with.", autocompletion=keys("model")),
    ] = None,
    describe: Annotated[
        bool, typer.Option("--describe", help="The model's own description, such as a drawing of its circuit.")
    ] = False,
    json: Json = False,
) -> None:
    """List the models, or show one: its options and, for given channels and size, its parameters and what they cost."""
    counting = {"--channels": channels, "--classes": classes, "--size": size, "-o": option or None}
    typed = [flag for flag, value in counting.items() if value is not None]
    if name is None and (typed or describe):
        raise UsageError(f"{(*typed, '--describe')[0]} is about one model.", "Name it: segkit models NAME ...")
    if describe and [flag for flag in typed if flag != "-o"]:
        raise UsageError(f"--describe counts nothing, so {typed[0]} would not be used.", "Leave out one of them.")
    if name is None:
        return _list("models", json)
    found = load().find("models", name)
    document = _describe(found)
    if describe:
        document["description"] = description_of(found, option or [])
        return typer.echo(document["description"]) if not json else print_json(document)
    if channels is not None or classes is not None or size is not None or option:
        from segkit.config.complete import doubts_about_size
        from segkit.models import cost

        sides = numbers("--size", size) if size is not None else None
        choice = cost.choose(found, option or [], sides)
        task = cost.task_for(choice, channels or 3, classes or (2 if found.spec.kind == "classification" else 1))
        document |= cost.count_parameters(choice, task)
        if sides is not None:
            document |= cost.count_cost(choice, task, sides)
            for doubt in doubts_about_size(choice, cost.size_seen(choice, task.dims, sides)):
                logger.warning(doubt)
    return _show(document, json)


def description_of(found: RegisteredSpec, assignments: list[str]) -> str:
    """What a model's own `describe` makes of its options. Raises UsageError if it has none."""
    spec = found.spec
    if spec.describe is None:
        raise UsageError(f"The model {spec.name!r} has no description of its own.", f"'segkit models {spec.name}' shows it.")
    from segkit.config.resolve import Choice, gather

    values = gather({}, {}, assignments, ("model",)).get("model", {})
    return str(Choice(found, build(spec.options, values, "model")).make(target=spec.describe))


def numbers(flag: str, text: str) -> tuple[int, ...]:
    """What a flag like --size 256,192 means. Raises UsageError."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= LARGEST for part in parts):
        raise UsageError(f"{flag} {text} is not understood.", f"Whole numbers from 1 to {LARGEST}, like 256 or 256,192.")
    return tuple(int(part) for part in parts)


def datasets(name: Annotated[str | None, _name("datasets")] = None, json: Json = False) -> None:
    """List the datasets, or show one: homepage, licence, expected tree, options."""
    _list_or_show("datasets", name, json)


def losses(name: Annotated[str | None, _name("losses")] = None, json: Json = False) -> None:
    """List the losses, or show one's options."""
    _list_or_show("losses", name, json)


def metrics(name: Annotated[str | None, _name("metrics")] = None, json: Json = False) -> None:
    """List the metrics, or show one's options."""
    _list_or_show("metrics", name, json)


def recipes(name: Annotated[str | None, _name("recipes")] = None, json: Json = False) -> None:
    """List the recipes: starting points for `segkit train --recipe NAME`; or show one, with what its paper printed."""
    if name is None:
        _list("recipes", json)
    else:
        show_recipe(load().find("recipes", name), json)


def _list_or_show(group: str, name: str | None, json: bool) -> None:
    if name is None:
        _list(group, json)
    else:
        _show(_describe(load().find(group, name)), json)


def _list(group: str, json: bool) -> None:
    items = sorted(load().all(group), key=lambda item: (item.spec.name, item.full_name))
    items = sorted(items, key=lambda item: item.full_name) if group == "recipes" else items
    if json:
        print_json([_summary(item) for item in items])
        return
    rows = [
        (
            item.spec.name if item.spec.bare and group != "recipes" else item.full_name,
            item.plugin.name,
            f"{item.plugin.distribution} {item.plugin.version}",
            *((BETTER[item.spec.higher_is_better], item.spec.unit) if group == "metrics" else ()),
            *((", ".join(f"{dims}D" for dims in item.spec.dims),) if group == "models" else ()),
            item.spec.summary,
        )
        for item in items
    ]
    if not rows:
        typer.echo(f"No {group} are installed; 'segkit plugins' shows what is.")
        return
    more = {"metrics": ("better", "unit"), "models": ("dims",)}.get(group, ())
    print_table(("name", "plugin", "from", *more, "summary"), rows)


def _summary(item: RegisteredSpec) -> dict[str, Any]:
    return {
        "name": item.spec.name,
        "full_name": item.full_name,
        "plugin": item.plugin.name,
        "distribution": item.plugin.distribution,
        "version": item.plugin.version,
        "summary": item.spec.summary,
        **(
            {"higher_is_better": item.spec.higher_is_better, "unit": item.spec.unit}
            if isinstance(item.spec, MetricSpec)
            else {"dims": list(item.spec.dims)}
            if isinstance(item.spec, ModelSpec)
            else {}
        ),
    }


def _describe(item: RegisteredSpec) -> dict[str, Any]:
    spec = item.spec
    facts: dict[str, Any] = {}
    if isinstance(spec, ModelSpec):
        facts = {"kind": spec.kind, "dims": list(spec.dims)}
        facts |= {"supports": list(spec.supports), "exports": list(spec.exports)}
    if isinstance(spec, DatasetSpec):
        facts = {"homepage": spec.homepage, "licence": spec.licence, "layout": spec.layout, "remarks": spec.remarks}
        facts["preprocess"] = dict(spec.preprocess)
    if isinstance(spec, (LossSpec, MetricSpec)):
        facts = {"modes": list(spec.modes), "kinds": list(spec.kinds)}
    try:
        options = [
            {"name": field.name, "type": field.type, "default": field.default, "help": field.help}
            for field in fields_of(spec.options)
        ]
    except TypeError as error:
        raise UsageError(f"The options of {spec.name!r} cannot be shown: {error}.") from None
    return {**_summary(item), **facts, "options": options}


def _show(document: dict[str, Any], json: bool) -> None:
    if json:
        print_json(document)
        return
    typer.echo(f"{document['name']}: {document['summary']}")
    typer.echo(f"from {document['distribution']} {document['version']}, full name {document['full_name']}")
    if "higher_is_better" in document:
        typer.echo(f"better: {BETTER[document['higher_is_better']]}")
    shown = {"name", "full_name", "plugin", "distribution", "version", "summary", "options", "higher_is_better"}
    for key, value in document.items():
        if key in shown or value in ("", [], {}):
            continue
        typer.echo(f"{key}:\n{value}".rstrip() if key == "layout" else f"{key}: {_words(value)}")
    if document["options"]:
        typer.echo("")
        rows = [(field["name"], field["type"], in_words(field["default"]), field["help"]) for field in document["options"]]
        print_table(("option", "type", "default", "what"), rows)


def _words(value: Any) -> str:
    if isinstance(value, int) and value > 9999:
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {in_words(item)}" for key, item in value.items())
    return in_words(value)
