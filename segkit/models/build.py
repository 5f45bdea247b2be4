"""Building a model: from its spec and options, or from a weights file; and running it on images of any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit import plugins
from segkit.config.migrate import find_recorded, migrate_options, tell_of_move
from segkit.config.resolve import Choice
from segkit.errors import SegkitError, UsageError, did_you_mean
from segkit.models.input_size import padded_size
from segkit.options import build, fields_of
from segkit.runs.weights import Header, load_tensors, read_header
from segkit.specs import ModelSpec
from segkit.task import Task


def build_model(choice: Choice, task: Task, dims: int) -> nn.Module:
    """Make the module of a chosen model, for inputs of `dims` spatial dimensions.

    Raises:
        SegkitError: the plugin's own code fails, or returns something else.
    """
    model = choice.make(replace(task, dims=dims))
    if not isinstance(model, nn.Module):
        raise SegkitError(f"The model {choice.name} is not a torch.nn.Module but {type(model).__name__}.")
    return model


def load_model(path: Path, changes: Mapping[str, Any] | None = None) -> tuple[Header, ModelSpec, nn.Module]:
    """Header, spec and module of a weights file: header -> its plugin alone -> options -> build -> strict load.

    Where the model was renamed, its options were changed or its plugin moved since, the header returned is today's.

    Args:
        path: of the file.
        changes: values of the model's runtime options, as typed.

    Raises:
        UsageError: a change of an option that is not one of those.
        SegkitError: the plugin is missing, or the tensors are not those of the model.
    """
    header = read_header(path)
    distribution = plugins.FORMER.get(header.distribution, header.distribution)
    found = find_recorded("models", header.model)
    if found is None:
        raise SegkitError(_missing(path, header), f"pip install {distribution}")
    tell_of_move(found, distribution)
    recorded = migrate_options(found, header.options, header.version)
    check_runtime(found.spec, changes or {})
    options = build(found.spec.options, {**recorded, **(changes or {})}, f"model ({found.spec.name})")
    model = build_model(Choice(found, options), header.task, header.dims)
    try:
        model.load_state_dict(load_tensors(path), strict=True)
    except RuntimeError as error:
        raise SegkitError(
            f"The tensors in {path} do not match {header.model}: {str(error).splitlines()[0]}",
            f"It was written by {distribution} {header.version}; install that version.",
        ) from error
    plugin = found.plugin
    now = replace(header, model=found.full_name, distribution=plugin.distribution, version=plugin.version, options=recorded)
    return now, found.spec, model.eval()


def check_runtime(spec: ModelSpec, changes: Mapping[str, Any]) -> None:
    """Refuse changes of options that belong to the architecture. Raises UsageError."""
    known = {field.name: field.runtime for field in fields_of(spec.options)}
    allowed = [name for name, runtime in known.items() if runtime]
    for name in changes:
        if name not in known:
            raise UsageError(f"{spec.name!r} has no option {name!r}.", did_you_mean(name, allowed or known))
        if name not in allowed:
            words = f"These may change: {', '.join(allowed)}." if allowed else "None of its options may."
            raise UsageError(f"model.{name} of {spec.name!r} cannot change after training.", words)


STRIDE = "A model that halves its input n times says stride=2**n in its ModelSpec; ModelContract proposes the number."


ONE_VALUE = "Expected more than 1 value per channel"  # torch's words where batch norm has a single value
ONE_ELEMENT = "Expected more than 1 spatial element"  # and instance norm, whatever the batch
NORMS = {
    ONE_VALUE: (
        "pools {size} to a single value, and batch norm needs two in training",
        "Batches of at least 2 for each process (--batch-size 2), a larger -o preprocess.size, or a model that pools less.",
    ),
    ONE_ELEMENT: (
        "pools {size} to a single value, and instance norm needs two of every image",
        "Larger images or patches (-o preprocess.size), or a model that pools less or has another norm.",
    ),
}


class OutOfMemoryError(SegkitError):
    """A device's memory is too small for a batch."""


@contextmanager
def plugin_errors(name: str, images: Tensor) -> Iterator[None]:
    """Whatever the code of a model raises on a batch becomes an error that names it."""
    try:
        yield
    except SegkitError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise OutOfMemoryError(
                f"The memory of {images.device} is too small for images of shape {tuple(images.shape)}.",
                "--batch-size 1 needs least; --device cpu has another memory." if len(images) > 1 else "--device cpu",
            ) from error
        for words, (what, helps) in NORMS.items():
            if words in str(error):
                size = " x ".join(map(str, images.shape[2:]))
                raise SegkitError(f"The model {name} {what.format(size=size)}.", helps) from error
        hint = "--debug shows the traceback; another --batch-size, or a training with another preprocess.size, may do."
        raise SegkitError(
            f"The model {name} failed on images of shape {tuple(images.shape)}: {type(error).__name__}: {error}",
            f"{STRIDE} {hint}" if "must match" in str(error) else hint,
        ) from error


def check_logits(logits: Any, images: Tensor, task: Task) -> Tensor:
    """Refuse anything but a (B, outputs, *S) tensor."""
    expected = (len(images), task.outputs, *(images.shape[2:] if task.kind == "segmentation" else ()))
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        several = f" of {len(logits)}" if isinstance(logits, (tuple, list)) else ""
        found = tuple(logits.shape) if isinstance(logits, Tensor) else f"{type(logits).__name__}{several}"
        raise SegkitError(f"The model returned {found}; logits of shape {expected} were expected.")
    return logits


def offers_deep_supervision(model: nn.Module) -> bool:
    """Whether it can give logits at several resolutions in training (see segkit.protocols.DeeplySupervised)."""
    own = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    return isinstance(getattr(own, "deep_supervision", None), bool)


def padded(model: nn.Module, images: Tensor, stride: tuple[int, ...], minimum: int) -> Tensor:
    """Run a model on any size: zeros up to the next multiple of its stride, logits cropped back.

    Raises:
        SegkitError: the logits have another size than what the model was given.
    """
    return padded_levels(model, images, stride, minimum)[0]


def padded_levels(model: nn.Module, images: Tensor, stride: tuple[int, ...], minimum: int) -> list[Tensor]:
    """As `padded`, with the logits of every resolution that deep supervision gives, all resized to the images' own."""
    sizes = images.shape[2:]
    wanted = padded_size(sizes, stride, minimum)
    after = [side for size, want in zip(reversed(sizes), reversed(wanted), strict=True) for side in (0, want - size)]
    given = model(functional.pad(images, after) if any(after) else images)
    supervised = isinstance(given, (list, tuple)) and model.training and offers_deep_supervision(model)
    first, *coarser = given if supervised else (given,)
    if not isinstance(first, Tensor) or first.ndim != images.ndim:
        return [first]
    if tuple(first.shape[2:]) != wanted:
        raise SegkitError(f"The model returned logits of size {tuple(first.shape[2:])} for images of size {wanted}.", STRIDE)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sizes)]
    levels = [first, *(functional.interpolate(logits, wanted, mode=mode) for logits in coarser)]
    for axis, size in enumerate(sizes, start=2):
        levels = [logits.narrow(axis, 0, size) for logits in levels]
    return levels


def _missing(path: Path, header: Header) -> str:
    words = f"{path} needs the model {header.model}, which comes with {header.distribution} {header.version}"
    own = plugins.load(only=header.model.partition("/")[0])
    broken = [reason for plugin in own.plugins for reason in plugin.reasons]
    if broken:
        return f"{words}; its plugin is installed but failed to load: {'; '.join(broken)}."
    return f"{words} and is not installed."
