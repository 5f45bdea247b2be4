"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.api import ModelSpec, hookimpl, option


@dataclass(frozen=True)
class UNetOptions:
    """Ehab & Li's form; the defaults reach their parameter counts."""

    width: int = option(64, "feature maps of the first level; each level below has twice as many", minimum=1)
    depth: int = option(4, "how often the size is halved", minimum=1, maximum=8)
    init: Literal["torch", "keras"] = option(
        "torch", "keras: Glorot-uniform, zero bias, and batch norm with eps 1e-3, momentum 0.01, as in the papers"
    )


def halvings(options: UNetOptions) -> int:
    return int(2**options.depth)


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "unet",
            "U-Net: two 3x3 convolutions a level, nearest up-sampling (Ehab & Li, after Ronneberger 2015)",
            "segkit_unets.unet:build",
            UNetOptions,
            stride=halvings,
        ),
        ModelSpec(
            "resunet",
            "U-Net with a projected shortcut around each pair of convolutions (Ehab & Li)",
            "segkit_unets.resunet:build",
            UNetOptions,
            stride=halvings,
        ),
    ]
