"""What a new training starts from: a run.toml or a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segkit.config.migrate import migrate_settings
from segkit.config.recipe import Recipe, parse_recipe
from segkit.errors import SegkitError, UsageError
from segkit.files import read_toml
from segkit.plugins import Catalogue, RegisteredSpec


def read_starting_point(
    config: Path | None, recipe: str | None, catalogue: Catalogue, model: str | None = None
) -> dict[str, Any]:
    """What a configuration file or a recipe holds; nothing where neither is given.

    Args:
        config, recipe: one of them, or none.
        catalogue: of the plugins.
        model: that was typed, of a recipe for several.

    Raises:
        UsageError: both are given, or the file cannot be read.
    """
    if config is not None and recipe is not None:
        raise UsageError("--config and --recipe are both starting points.", "Give one of them.")
    if config is not None:
        return migrate_settings(read_toml(config / "run.toml" if config.is_dir() else config), catalogue)
    if recipe is None:
        return {}
    found = catalogue.find("recipes", recipe)
    values = read_recipe(found).settings_for(model)
    return {**migrate_settings(values, catalogue), "recipe": {"name": found.full_name}}


def read_recipe(found: RegisteredSpec) -> Recipe:
    """A recipe of the catalogue.

    Raises:
        SegkitError: its file cannot be read.
    """
    try:
        text = found.spec.read()
    except (OSError, ImportError) as error:
        raise SegkitError(f"The recipe {found.full_name} cannot be read: {error}") from error
    return parse_recipe(text, found.full_name)
