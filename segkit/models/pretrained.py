"""Start a model from weights that were trained elsewhere: `--pretrained imagenet` or `--pretrained FILE`.

This is initialisation, not architecture: it stands in run.toml and in no weights file, so loading one fetches nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from segkit.errors import SegkitError, UsageError
from segkit.files import cache_folder
from segkit.runs.weights import load_state_dict

logger = logging.getLogger(__name__)

ENOUGH = 0.5  # share of the model's tensors by which a file is taken for one of the whole model


def start_from(model: nn.Module, name: str, source: str) -> None:
    """Fill a freshly made model.

    Args:
        model: changed in place.
        name: of the model, for the user.
        source: none, imagenet or the path of a file.

    Raises:
        UsageError: the model has no encoder with ImageNet weights.
        SegkitError: the weights cannot be had, or are another model's.
    """
    if source == "imagenet":
        _imagenet(model, name)
    elif source != "none":
        _from_file(model, name, Path(source))


def _imagenet(model: nn.Module, name: str) -> None:
    encoder: Any = getattr(model, "encoder", None)
    if not hasattr(encoder, "load_pretrained"):
        raise UsageError(
            f"--pretrained imagenet: the model {name} has no encoder with ImageNet weights.",
            "--pretrained FILE takes weights of the whole model.",
        )
    if not encoder.pretrained_url:
        raise UsageError(f"--pretrained imagenet: timm has no weights for this encoder of {name}.", "Take another encoder.")
    file = cache_folder() / "pretrained" / encoder.pretrained_file
    try:
        encoder.load_pretrained(load_state_dict(file) if file.exists() else None)
    except SegkitError:
        raise
    except Exception as error:  # whatever timm and the network's libraries make of a missing network
        reason = (str(error).splitlines() or [""])[0]
        raise SegkitError(
            f"The ImageNet weights {encoder.pretrained_file} are not on this machine and could not be fetched "
            f"({type(error).__name__}: {reason}).",
            f"Fetch {encoder.pretrained_url} where there is a network, and save it here as {file}; "
            "or give the file itself: --pretrained FILE.",
        ) from error
    logger.info(f"pretrained  encoder from {file if file.exists() else encoder.pretrained_url}")


def _from_file(model: nn.Module, name: str, path: Path) -> None:
    tensors, own = load_state_dict(path), model.state_dict()
    shared = own.keys() & tensors.keys()
    if len(shared) >= ENOUGH * len(own):
        _whole(model, path, {key: tensors[key] for key in shared}, own)
        return
    encoder: Any = getattr(model, "encoder", None)
    if not hasattr(encoder, "load_pretrained"):
        raise SegkitError(f"{path} holds {len(shared)} of the {len(own)} tensors of {name}: it belongs to another model.")
    encoder.load_pretrained(_of_encoder(tensors))
    logger.info(f"pretrained  encoder from {path}")


def _of_encoder(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The encoder's part of a whole segmentation model, ours or segmentation-models-pytorch's; else all of it."""
    for prefix in ("encoder.net.", "encoder.model.", "encoder."):
        part = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        if part:
            return part
    return tensors


def _whole(model: nn.Module, path: Path, given: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Load what fits; layers of another number of classes or channels stay fresh, and the user is told which."""
    fitting = {key: tensor for key, tensor in given.items() if tensor.shape == own[key].shape}
    if len(fitting) < ENOUGH * len(own):
        raise SegkitError(
            f"Only {len(fitting)} of the {len(own)} tensors in {path} have the sizes of this model.",
            "Give the options that it was trained with: 'segkit info' shows those of a segkit file.",
        )
    model.load_state_dict(fitting, strict=False)
    fresh = [key for key in own if key not in fitting]
    words = f"; fresh: {', '.join(fresh[:4])}{' ...' if len(fresh) > 4 else ''}" if fresh else ""
    logger.info(f"pretrained  {len(fitting)} of {len(own)} tensors from {path}{words}")
