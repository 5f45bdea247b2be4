"""From what was asked to what will be done: defaults, run.toml, recipes, flags and -o."""

from segkit.config.resolve import resolve_data

__all__ = ["resolve_data"]
