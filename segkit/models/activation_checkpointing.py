"""Gradient checkpointing for any model (Chen 2016): blocks keep their inputs only, and run again for the gradient.

A block is the outermost module with parts of its own inside a list, dict or sequence of modules; in a model without such,
each part that has parts. Gradients and batch-norm
statistics are those of an ordinary step, dropout draws the same numbers twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from segkit.errors import SegkitError


def checkpoint_blocks(model: nn.Module) -> None:
    """Change a model in place; its state dict stays as it is.

    Raises:
        SegkitError: the model has no blocks.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise SegkitError(
            f"{type(model).__name__} has no blocks to checkpoint: none of its modules contains modules.",
            "Leave out train.checkpointing.",
        )
    for block in blocks:
        _checkpoint(block)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The modules that would be checkpointed."""
    return list(_listed(model)) or [child for child in model.children() if _is_composite(child)]


def _listed(module: nn.Module) -> Iterator[nn.Module]:
    inside = isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict))
    for child in module.children():
        if inside and _is_composite(child):
            yield child
        else:
            yield from _listed(child)


def _is_composite(module: nn.Module) -> bool:
    """Whether a module has submodules and a forward method of its own."""
    called = type(module).forward is not nn.Module.forward and not isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return called and any(True for _ in module.children())


def _checkpoint(block: nn.Module) -> None:
    forward = block.forward
    norms = [module for module in block.modules() if isinstance(module, _NormBase)]

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(norms)

    def run(*arguments: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **named)

    block.forward = run


@contextmanager
def _statistics_kept(norms: list[_NormBase]) -> Iterator[None]:
    """The second run of a block must not move its running statistics again."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
