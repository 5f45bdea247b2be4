"""Ehab & Li 2023: U-Net, residual and attention U-Net on brain tumours, polyps and hearts."""

from __future__ import annotations

from segkit.api import RecipeSpec, hookimpl


@hookimpl
def segkit_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec("lgg", "Ehab & Li 2023: low-grade glioma, section 4", target="segkit_papers:recipes/ehab-li-lgg.toml"),
        RecipeSpec("polyp", "Ehab & Li 2023: polyps, section 5", target="segkit_papers:recipes/ehab-li-polyp.toml"),
        RecipeSpec("acdc", "Ehab & Li 2023: heart, section 6", target="segkit_papers:recipes/ehab-li-acdc.toml"),
    ]
