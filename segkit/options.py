"""Options are plain frozen dataclasses; this file turns what was typed, or read from TOML, into their values.

    @dataclass(frozen=True)
    class UNetOptions:
        width: int = option(64, "feature maps of the first level", minimum=1)

Supported types: int, float, bool, str, None, Literal, tuple, and unions of these.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from segkit.errors import UsageError, did_you_mean

Options = TypeVar("Options")


def option(
    default: Any, help: str, *, minimum: float | None = None, maximum: float | None = None, runtime: bool = False
) -> Any:
    """A dataclass field with its help text and bounds.

    Args:
        default: value when nothing is typed.
        help: one line for `segkit models NAME`.
        minimum, maximum: inclusive bounds, checked on numbers and on each item of a tuple.
        runtime: predict and evaluate may override it with `-o`; it is not part of the architecture.
    """
    return dataclasses.field(
        default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum, "runtime": runtime}
    )


@dataclass(frozen=True)
class NoOptions:
    """For specs that have nothing to choose."""


@dataclass(frozen=True)
class OptionField:
    """One option as it is shown to the user; `type` is in words."""

    name: str
    type: str
    default: Any
    help: str
    runtime: bool


def fields_of(options: type) -> tuple[OptionField, ...]:
    """The options of a dataclass, in order.

    Raises:
        TypeError: not a dataclass, a field without a default, or a type that cannot be typed on a command line.
    """
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        raise TypeError(f"options must be a dataclass, not {options!r}")
    hints = get_type_hints(options)
    found = []
    for field in dataclasses.fields(options):
        if field.default is dataclasses.MISSING:
            raise TypeError(f"option {field.name!r} of {options.__name__} has no default value")
        found.append(
            OptionField(
                field.name,
                type_in_words(hints[field.name]),
                field.default,
                field.metadata.get("help", ""),
                bool(field.metadata.get("runtime", False)),
            )
        )
    return tuple(found)


def build(options: type[Options], values: Mapping[str, Any], section: str) -> Options:
    """An instance of the dataclass from raw values (strings or TOML values); what is not given keeps its default.

    Raises:
        UsageError: an unknown key or a value that does not fit, named as `section.key`.

    >>> build(NoOptions, {}, "loss")
    NoOptions()
    """
    hints = get_type_hints(options)
    known = {field.name: field for field in dataclasses.fields(options)}  # type: ignore[arg-type]
    checked = {}
    for key, raw in values.items():
        if key not in known:
            hint = did_you_mean(key, known) if known else "It has no options."
            raise UsageError(f"{section} has no option {key!r}.", hint)
        checked[key] = _coerce_bounded(raw, hints[key], known[key].metadata, f"{section}.{key}")
    try:
        return options(**checked)
    except ValueError as error:  # a check across several options, in the dataclass's own __post_init__
        raise UsageError(f"{section}: {error}.") from None


def plain(options: Any) -> dict[str, Any]:
    """The values of an options instance as TOML and JSON know them: tuples become lists, None the word "auto"."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    return {
        key: "auto" if value is None else list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }


def in_words(value: Any) -> str:
    """A value as it is shown to a user, and as it may be typed.

    >>> in_words((256, 192)), in_words(None), in_words(True)
    ('256,192', 'auto', 'true')
    """
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(in_words(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def coerce(raw: Any, hint: Any) -> Any:
    """The value of type `hint` that `raw` (a string, or a typed TOML value) stands for.

    Raises:
        ValueError: it does not fit.

    >>> coerce("256,192", int | tuple[int, int])
    (256, 192)
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _coerce_union(raw, arguments)
    if origin is Literal:
        matches = [allowed for allowed in arguments if raw == allowed or str(raw) == str(allowed)]
        if not matches:
            raise ValueError(raw)
        return matches[0]
    if origin is tuple:
        return _coerce_tuple(raw, arguments)
    return _coerce_single(raw, hint)


def type_in_words(hint: Any) -> str:
    """How a type is named to a user.

    >>> type_in_words(int | None)
    'whole number | auto'
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(type_in_words(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"{type_in_words(arguments[0])}, ..."
    if origin is tuple:
        return ", ".join(type_in_words(argument) for argument in arguments)
    words = {int: "whole number", float: "number", bool: "true | false", str: "text", type(None): "auto"}
    if hint not in words:
        raise TypeError(f"the type {hint!r} cannot be an option")
    return words[hint]


def _coerce_union(raw: Any, members: tuple[Any, ...]) -> Any:
    for member in sorted(members, key=lambda member: member is str):  # text fits everything, so it comes last
        try:
            return coerce(raw, member)
        except (ValueError, OverflowError):
            continue
    raise ValueError(raw)


def _coerce_tuple(raw: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    items = [item.strip() for item in _without_brackets(raw).split(",") if item.strip()] if isinstance(raw, str) else raw
    if not isinstance(items, (list, tuple)):
        items = [items]
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(coerce(item, arguments[0]) for item in items)
    if len(items) != len(arguments):
        raise ValueError(raw)
    return tuple(coerce(item, argument) for item, argument in zip(items, arguments, strict=True))


def _without_brackets(text: str) -> str:
    text = text.strip()
    return text[1:-1] if text[:1] + text[-1:] in ("()", "[]") else text


def _coerce_single(raw: Any, hint: Any) -> Any:
    text = raw.strip().lower() if isinstance(raw, str) else raw
    if hint is type(None) and (text is None or text in ("auto", "none")):
        return None
    if hint is bool and (isinstance(text, bool) or text in ("true", "false", "yes", "no", "on", "off", "1", "0")):
        return text if isinstance(text, bool) else text in ("true", "yes", "on", "1")
    if hint is str and isinstance(raw, str):
        return raw
    if hint in (int, float) and isinstance(text, (str, int, float)) and not isinstance(text, bool):
        number = float(text) if hint is float or isinstance(text, float) else int(text)
        if math.isfinite(number) and hint(number) == number:
            return hint(number)
    raise ValueError(raw)


def _coerce_bounded(raw: Any, hint: Any, metadata: Mapping[str, Any], name: str) -> Any:
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    try:
        value = coerce(raw, hint)
    except (ValueError, OverflowError):
        raise UsageError(f"{name} = {raw!r} is not allowed.", f"Allowed: {type_in_words(hint)}.") from None
    for item in value if isinstance(value, tuple) else (value,):
        if not isinstance(item, (int, float)) or isinstance(item, bool):
            continue
        if (minimum is not None and item < minimum) or (maximum is not None and item > maximum):
            bounds = [f"at least {minimum:g}"] if minimum is not None else []
            bounds += [f"at most {maximum:g}"] if maximum is not None else []
            raise UsageError(f"{name} = {raw!r} is out of range.", f"Allowed: {' and '.join(bounds)}.")
    return value
