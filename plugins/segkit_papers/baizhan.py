"""Baizhan 2024: seven models on brain tumours, and a quantum hybrid."""

from __future__ import annotations

from segkit.api import RecipeSpec, hookimpl


@hookimpl
def segkit_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec(
            "brats2020", "Baizhan 2024: brain tumours, seven models", target="segkit_papers:recipes/baizhan-brats2020.toml"
        ),
        RecipeSpec(
            "tumour-slices",
            "Baizhan 2024: is there a tumour in a slice: quantum and classical, 3.1.2",
            target="segkit_papers:recipes/baizhan-tumour-slices.toml",
        ),
    ]
