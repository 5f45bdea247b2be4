"""What is typed becomes the value that is meant, or an error that names what is allowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import UsageError
from segkit.options import build, coerce, fields_of, in_words, option, plain


@dataclass(frozen=True)
class Every:
    whole: int = option(3, "a whole number", minimum=0, maximum=10)
    number: float = option(0.5, "a number")
    flag: bool = option(False, "a flag")
    text: str = option("abc", "a text")
    choice: Literal["a", "b"] = option("a", "a choice")
    maybe: int | None = option(None, "perhaps")
    size: int | tuple[int, ...] | None = option(None, "one or several")
    names: tuple[str, ...] = option((), "names")


@pytest.mark.parametrize(
    ("key", "typed", "meant"),
    [
        ("whole", "7", 7),
        ("whole", 7.0, 7),
        ("number", "1e-3", 0.001),
        ("number", 2, 2.0),
        ("flag", "true", True),
        ("flag", "off", False),
        ("text", "12", "12"),
        ("choice", "b", "b"),
        ("maybe", "none", None),
        ("maybe", "auto", None),
        ("maybe", "4", 4),
        ("size", "256", 256),
        ("size", "256,192", (256, 192)),
        ("size", [256, 192], (256, 192)),
        ("names", "liver, tumour", ("liver", "tumour")),
    ],
)
def test_a_typed_value_becomes_what_is_meant(key: str, typed: object, meant: object) -> None:
    assert getattr(build(Every, {key: typed}, "model"), key) == meant


@pytest.mark.parametrize(
    ("key", "typed", "words"),
    [
        ("whole", "7.5", ["model.whole", "'7.5'", "whole number"]),
        ("whole", True, ["model.whole", "True"]),
        ("whole", "11", ["model.whole", "at least 0", "at most 10"]),
        ("number", "nan", ["model.number", "'nan'", "number"]),
        ("flag", "maybe", ["model.flag", "true | false"]),
        ("choice", "c", ["model.choice", "'c'", "a | b"]),
        ("wohle", "1", ["no option 'wohle'", "'whole'"]),
    ],
)
def test_a_wrong_value_names_itself_and_what_is_allowed(key: str, typed: object, words: list[str]) -> None:
    with pytest.raises(UsageError) as error:
        build(Every, {key: typed}, "model")
    for word in words:
        assert word in str(error.value)


@given(
    st.builds(
        Every,
        whole=st.integers(0, 10),
        number=st.floats(allow_nan=False, allow_infinity=False),
        flag=st.booleans(),
        text=st.text(),
        choice=st.sampled_from(["a", "b"]),
        maybe=st.none() | st.integers(),
        size=st.none() | st.integers() | st.lists(st.integers(), min_size=1).map(tuple),
        names=st.lists(st.text()).map(tuple),
    )
)
def test_what_is_written_down_is_read_back_the_same(options: Every) -> None:
    assert build(Every, plain(options), "model") == options


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False, width=16) | st.booleans())
def test_a_shown_value_can_be_typed_again(value: int | float | bool) -> None:
    kind = type(value)
    assert coerce(in_words(value), kind) == pytest.approx(value, rel=1e-5)


def test_the_fields_tell_type_default_and_help_in_words() -> None:
    size = next(field for field in fields_of(Every) if field.name == "size")
    assert (size.type, size.default, size.help) == ("whole number | whole number, ... | auto", None, "one or several")


def test_an_option_without_default_is_refused_when_the_plugin_loads() -> None:
    @dataclass(frozen=True)
    class Bad:
        width: int

    with pytest.raises(TypeError, match="'width' of Bad has no default"):
        fields_of(Bad)
