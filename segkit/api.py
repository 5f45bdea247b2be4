"""Everything a plugin author imports. Light: no numpy, no torch.

    from segkit.api import ModelSpec, hookimpl

    @hookimpl
    def segkit_models():
        return [ModelSpec("my-net", "What it is", target="my_package.net:build", options=MyOptions)]

The interfaces, with B cases, K = task.outputs and spatial axes *S:

    model    build(task, options) -> nn.Module    (B, channels, *S) -> logits (B, K, *S)
    loss     build(task, options) -> nn.Module    (logits, target) -> scalar
                                                  target: (B, *S) integers, or (B, K, *S) of 0 and 1 for multilabel
    metric   build(task, options) -> Metric
    dataset  open(root, options, labelled=True) -> Dataset

What a model or its options may offer beyond that is in segkit.protocols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from segkit.errors import SegkitError, UsageError
from segkit.hookspecs import hookimpl
from segkit.options import NoOptions, option
from segkit.protocols import (
    DeeplySupervised,
    Exportable,
    FitsImages,
    HasDoubts,
    HasEncoder,
    HasFreeze,
    HasSize,
    HasSmallerForm,
    PretrainedEncoder,
)
from segkit.specs import DatasetSpec, LossSpec, MetricSpec, ModelSpec, RecipeSpec
from segkit.task import Case, CaseResult, Dataset, Metric, Sample, Task

if TYPE_CHECKING:
    from segkit.config.resolve import build_loss
    from segkit.data.images import read_image, read_mask, write_image
    from segkit.data.listing import list_files, list_folders, natural_order
    from segkit.data.orientation import Frame, frame_of, match_frames
    from segkit.data.pairing import Pairs, find_folder, list_images, missing_data, pair_files
    from segkit.data.volumes import is_volume, read_label_volume, read_volume, volume_stem
    from segkit.evaluation.confusion import count_confusion

_LAZY = {
    "build_loss": "segkit.config.resolve",
    "Frame": "segkit.data.orientation",
    "frame_of": "segkit.data.orientation",
    "match_frames": "segkit.data.orientation",
    "read_image": "segkit.data.images",
    "read_mask": "segkit.data.images",
    "write_image": "segkit.data.images",
    "Pairs": "segkit.data.pairing",
    "is_volume": "segkit.data.volumes",
    "read_label_volume": "segkit.data.volumes",
    "read_volume": "segkit.data.volumes",
    "volume_stem": "segkit.data.volumes",
    "find_folder": "segkit.data.pairing",
    "list_images": "segkit.data.pairing",
    "list_files": "segkit.data.listing",
    "list_folders": "segkit.data.listing",
    "natural_order": "segkit.data.listing",
    "pair_files": "segkit.data.pairing",
    "missing_data": "segkit.data.pairing",
    "count_confusion": "segkit.evaluation.confusion",
}

__all__ = [
    "Case",
    "CaseResult",
    "Dataset",
    "DatasetSpec",
    "DeeplySupervised",
    "Exportable",
    "FitsImages",
    "Frame",
    "HasDoubts",
    "HasEncoder",
    "HasFreeze",
    "HasSize",
    "HasSmallerForm",
    "LossSpec",
    "Metric",
    "MetricSpec",
    "ModelSpec",
    "NoOptions",
    "Pairs",
    "PretrainedEncoder",
    "RecipeSpec",
    "Sample",
    "SegkitError",
    "Task",
    "UsageError",
    "build_loss",
    "count_confusion",
    "find_folder",
    "frame_of",
    "hookimpl",
    "is_volume",
    "list_files",
    "list_folders",
    "list_images",
    "match_frames",
    "missing_data",
    "natural_order",
    "option",
    "pair_files",
    "read_image",
    "read_label_volume",
    "read_mask",
    "read_volume",
    "volume_stem",
    "write_image",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
