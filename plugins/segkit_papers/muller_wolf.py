"""Müller & Wolf: U-Nets on annotated brain tumours."""

from __future__ import annotations

from segkit.api import RecipeSpec, hookimpl


@hookimpl
def segkit_recipes() -> list[RecipeSpec]:
    return [
        RecipeSpec(
            "brain-coco",
            "Müller & Wolf: annotated brain tumours",
            target="segkit_papers:recipes/muller-wolf-brain-coco.toml",
        ),
    ]
