"""The whole plugin interface: five functions that return lists of specs. Implement any of them, marked `@hookimpl`."""

from __future__ import annotations

import pluggy

from segkit.specs import DatasetSpec, LossSpec, MetricSpec, ModelSpec, RecipeSpec

hookspec = pluggy.HookspecMarker("segkit")
hookimpl = pluggy.HookimplMarker("segkit")


@hookspec
def segkit_models() -> list[ModelSpec]:  # type: ignore[empty-body]
    """Models."""


@hookspec
def segkit_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]
    """Datasets."""


@hookspec
def segkit_losses() -> list[LossSpec]:  # type: ignore[empty-body]
    """Losses."""


@hookspec
def segkit_metrics() -> list[MetricSpec]:  # type: ignore[empty-body]
    """Metrics."""


@hookspec
def segkit_recipes() -> list[RecipeSpec]:  # type: ignore[empty-body]
    """Recipes."""
