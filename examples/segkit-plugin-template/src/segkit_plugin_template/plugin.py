"""What this plugin offers; light, imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from segkit.api import ModelSpec, hookimpl, option


@dataclass(frozen=True)
class TinyNetOptions:
    """Each option shows up in `segkit models tiny-net` and is set with `-o model.NAME=VALUE`."""

    width: int = option(16, "feature maps of the first level", minimum=1)


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="tiny-net",
            summary="an encoder and a decoder of one level each",
            target="segkit_plugin_template.net:build",
            options=TinyNetOptions,
            stride=2,  # input sizes are padded to multiples of it
            supports=("mixed-precision", "channels-last", "compile", "checkpointing"),  # what the tests show to work
            exports=("onnx", "torch-export"),
        )
    ]
