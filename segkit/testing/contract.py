"""What every kind of plugin must do: the part that the four contracts share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any, ClassVar

import pytest

from segkit import plugins
from segkit.config.resolve import Choice
from segkit.options import build, fields_of


class Contract:
    """Its subclasses are subclassed by plugin authors.

    Attributes:
        name: the spec's name, bare or full.
        options: options it is made with.
        group: of specs ("models", ...).
    """

    name: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    group: ClassVar[str]

    @pytest.fixture(scope="class")
    @classmethod
    def choice(cls) -> Choice:
        found = plugins.load().find(cls.group, cls.name)
        return Choice(found, build(found.spec.options, cls.options, "options"))

    def test_it_describes_itself(self, choice: Choice) -> None:
        assert choice.spec.summary and choice.spec.problems() == []
        assert all(field.help for field in fields_of(choice.spec.options))

    def test_its_plugin_imports_nothing_heavy(self, choice: Choice) -> None:
        plugin = choice.found.plugin.name
        heavy = ", ".join(sorted(heavy_imports(plugin)))
        assert not heavy, f"listing the plugin {plugin!r} imports {heavy}: import it inside the function that needs it"


@lru_cache
def heavy_imports(plugin: str) -> frozenset[str]:
    """The heavy libraries that listing a plugin imports, which happens for every command.

    A fresh interpreter tells, once per plugin.
    """
    entry = next(iter(entry_points(group=plugins.GROUP, name=plugin)))
    code = f"import sys, {entry.module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return frozenset(done.stdout.split()) & plugins.HEAVY


def named(value: Any) -> str:
    """What something is that should have been something else: "a tuple of 2 (Tensor, Tensor)"."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(type(part).__name__ for part in value)})"
    return f"a {type(value).__name__}" if value is not None else "None"
