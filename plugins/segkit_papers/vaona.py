"""Vaona 2025: U-Net and Semantic FPN on brain tumours."""

from __future__ import annotations

from segkit.api import RecipeSpec, hookimpl


@hookimpl
def segkit_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec("figshare", "Vaona 2025: brain tumours, five seeds", target="segkit_papers:recipes/vaona-figshare.toml"),
    ]
