"""A package made on the fly, as if pip had installed it, that only the code inside of a `with` sees.

from segkit.testing import sandbox

def test_my_plugin_survives_its_rename(tmp_path):
    with sandbox() as install:
        install("my-package", OLD_SOURCE, version="1.0")
        ...                                              # train with it
    with sandbox() as install:
        install("my-package", NEW_SOURCE, version="2.0")
        ...                                              # and load the weights with what it became
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from segkit import plugins


class Install(Protocol):
    """What `sandbox` hands out."""

    def __call__(self, distribution: str, source: str, name: str | None = None, version: str = "1.2.3") -> Path:
        """Install a distribution with one module, NAME_module for a distribution called name, and one plugin in it.

        Args:
            distribution: as pip knows it, "my-package".
            source: of the module, which holds the hooks.
            name: of the plugin; the distribution's where it is left out.
            version: of the distribution.

        Returns:
            The folder that the module lies in; other files may be put beside it.
        """


@contextmanager
def sandbox() -> Iterator[Install]:
    """Yield a function that installs packages; they are gone, modules included, when the block ends.

    >>> from segkit import plugins
    >>> source = '''
    ... from segkit.api import ModelSpec, hookimpl
    ... @hookimpl
    ... def segkit_models():
    ...     return [ModelSpec("my-net", "an example", target="my_package_module:build")]
    ... '''
    >>> with sandbox() as install:
    ...     _ = install("my-package", source)
    ...     print(plugins.load().find("models", "my-net").full_name)
    my-package/my-net
    """
    made: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder)

        def install(distribution: str, source: str, name: str | None = None, version: str = "1.2.3") -> Path:
            stem = distribution.replace("-", "_")
            (site / f"{stem}_module.py").write_text(source, encoding="utf-8")
            info = site / f"{stem}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
            (info / "entry_points.txt").write_text(f"[segkit]\n{name or distribution} = {stem}_module\n")
            made.append(f"{stem}_module")
            _forget()
            return site

        sys.path.insert(0, folder)
        try:
            yield install
        finally:
            sys.path.remove(folder)
            for module in made:
                sys.modules.pop(module, None)
            _forget()


def _forget() -> None:
    """What Python and segkit remember of the packages that were there before."""
    importlib.invalidate_caches()
    plugins.load.cache_clear()
