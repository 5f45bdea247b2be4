"""What this plugin offers; light, imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import dataclass

from segkit.api import DatasetSpec, LossSpec, MetricSpec, ModelSpec, hookimpl, option


@dataclass(frozen=True)
class TinyNetOptions:
    """Each option shows up in `segkit models tiny-net` and is set with `-o model.NAME=VALUE`."""

    width: int = option(16, "feature maps of the first level", minimum=1)


@dataclass(frozen=True)
class TverskyOptions:
    """Set with `-o loss.NAME=VALUE`."""

    missed: float = option(0.7, "weight of missed pixels; found ones that are none have the rest of 1", minimum=0, maximum=1)


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "tiny-net",
            "an encoder and a decoder of one level each",
            target="segkit_plugin_template.net:build",
            options=TinyNetOptions,
            stride=2,  # input sizes are padded to multiples of it
            supports=("mixed-precision", "channels-last", "compile", "checkpointing"),  # what its tests show to work
            exports=("onnx", "torch-export"),
        )
    ]


@hookimpl
def segkit_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            "side-by-side",
            "images and their masks in one folder",
            target="segkit_plugin_template.data:open_folder",
            licence="yours",
            layout="NAME.png       images\nNAME_mask.png  masks: 0, and anything else for the target",
            synthesize="segkit_plugin_template.data:synthesize",  # synthetic cases, which its tests look at
        )
    ]


@hookimpl
def segkit_losses() -> list[LossSpec]:
    return [
        LossSpec(
            "tversky",
            "1 - Tversky index of the foreground (Salehi 2017)",
            target="segkit_plugin_template.loss:build",
            options=TverskyOptions,
            modes=("binary",),
        )
    ]


@hookimpl
def segkit_metrics() -> list[MetricSpec]:
    return [
        MetricSpec(
            "area-error",
            "difference of the areas of prediction and mask",
            target="segkit_plugin_template.metric:build",
            modes=("binary",),
            higher_is_better=False,
            unit="pixels",
        )
    ]
