"""Keller 2023: U-Net on slices of brain tumours."""

from __future__ import annotations

from segkit.api import RecipeSpec, hookimpl


@hookimpl
def segkit_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec(
            "brats2020-2d", "Keller 2023: slices of brain tumours", target="segkit_papers:recipes/keller-brats2020-2d.toml"
        ),
    ]
