"""Calling a loss, so that whatever it does wrong is told as its own mistake, with what was expected of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from segkit.errors import SegkitError

EXPECTED = "A loss takes logits (B, K, *S) and the target, and gives one number: a tensor without axes, made of the logits."
OF_THE_MACHINE = (
    "can't allocate memory",
    "deterministic implementation",
)  # torch's words for what no plugin is to blame for


def loss_value(criterion: nn.Module, name: str, logits: Tensor, target: Tensor) -> Tensor:
    """The loss of a batch; where gradients are recorded, one that they can flow back from.

    Args:
        criterion: made by the loss plugin.
        name: of the loss, for errors.
        logits: (B, K, *S) float32.
        target: (B, *S), or (B, K, *S) for multilabel.

    Raises:
        SegkitError: it fails, or gives anything but one number that depends on the logits.
    """
    try:
        value = criterion(logits, target)
    except SegkitError:
        raise
    except (Exception, SystemExit) as error:
        if is_of_the_machine(error):
            raise
        shapes = f"logits of shape {tuple(logits.shape)} and a target of shape {tuple(target.shape)}"
        raise SegkitError(
            f"The loss {name} failed on {shapes}: {type(error).__name__}: {error}",
            f"{EXPECTED} --debug shows the traceback.",
        ) from error
    if not isinstance(value, Tensor):
        raise SegkitError(f"The loss {name} gave {_kind(value)}, not a tensor.", EXPECTED)
    if value.ndim or not value.is_floating_point():
        kind = f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
        raise SegkitError(f"The loss {name} gave {kind}, not one number.", f"{EXPECTED} .mean() makes one number of many.")
    if torch.is_grad_enabled() and logits.requires_grad and not value.requires_grad:
        raise SegkitError(
            f"The loss {name} is detached from the logits: no gradient reaches the model, so nothing would be learned.",
            "Its forward must not use .detach(), .item(), .argmax(), torch.no_grad() or NumPy on the way from the logits.",
        )
    return value


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error is about memory or a missing kernel, not about the plugin that met it."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in OF_THE_MACHINE)


def _kind(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}" if value is not None else "nothing (None)"
