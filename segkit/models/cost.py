"""What a model costs, counted on torch's meta device: nothing is allocated, initialised or computed.

FLOPs are torch's own count, two for each multiply-add. Activation memory follows every tensor from its making to its end:
its peak over a forward pass (as in prediction), and over a training step, gradients included, weights left out.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from segkit.config.complete import with_size
from segkit.config.resolve import Choice, gather
from segkit.errors import SegkitError, UsageError
from segkit.models.activation_checkpointing import blocks_of, checkpoint_blocks
from segkit.models.build import build_model, plugin_errors
from segkit.models.input_size import padded_size
from segkit.options import build, plain
from segkit.plugins import RegisteredSpec
from segkit.task import Task
from segkit.words import counted


def choose(found: RegisteredSpec, assignments: Sequence[str], size: tuple[int, ...] | None = None) -> Choice:
    """A model with the options that `model.KEY=VALUE` texts set, built for images of a size as training builds it."""
    values = gather({}, {}, assignments, ("model",)).get("model", {})
    choice = Choice(found, build(found.spec.options, values, "model"))
    if size is None:
        return choice
    return with_size(choice, _sides(choice, found.spec.dims[0], size))


def task_for(choice: Choice, channels: int, outputs: int) -> Task:
    """A task with these channels and this many outputs; 1 means a binary one."""
    spec = choice.spec
    least = 2 if spec.kind == "classification" else 1
    if outputs < least:
        raise UsageError(f"--classes {outputs}: the model {spec.name!r} needs at least {least}.", f"--classes {least}")
    names = tuple(f"class-{index}" for index in range(1, max(2, outputs)))
    mode = "binary" if outputs == 1 else "multiclass"
    return Task(channels, ("background", *names), dims=spec.dims[0], mode=mode, kind=spec.kind)  # type: ignore[arg-type]


def on_meta(choice: Choice, task: Task) -> nn.Module:
    with torch.device("meta"):
        return build_model(choice, task, task.dims)


def count_parameters(choice: Choice, task: Task) -> dict[str, Any]:
    """Parameters, those that are trained, and floating-point values in buffers (batch-norm statistics)."""
    model = on_meta(choice, task)
    return {
        "channels": task.channels,
        "outputs": task.outputs,
        "with": plain(choice.options),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "buffers": sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point()),
    }


def count_cost(choice: Choice, task: Task, size: Sequence[int]) -> dict[str, int]:
    """FLOPs of a forward pass and peak activation memory in bytes (float32) for one image of a size, in training too.

    Args:
        size: one number per axis, or one for all; rounded up to the model's stride, as the engine pads.
    """
    sides = size_seen(choice, task.dims, size)
    cost = {"flops": count_flops(choice, task, sides), "activation_bytes": count_activations(choice, task, sides)}
    for batch in (1, 2):  # batch norm over one value is refused in training, as where maps are pooled to 1x1
        try:
            cost |= _training_cost(choice, task, sides, batch)
            return cost
        except SegkitError:
            continue
    return cost


def _training_cost(choice: Choice, task: Task, sides: Sequence[int], batch: int) -> dict[str, int]:
    cost = {"training_batch": batch, "training_bytes": count_activations(choice, task, sides, batch, training=True)}
    if "checkpointing" in choice.spec.supports and blocks_of(on_meta(choice, task)):
        cost["training_bytes_checkpointed"] = count_activations(choice, task, sides, batch, training=True, checkpointed=True)
    return cost


def count_flops(choice: Choice, task: Task, sides: Sequence[int]) -> int:
    """FLOPs of a forward pass on one image of this size, which must be one that the network takes."""
    model, images = on_meta(choice, task).eval(), torch.zeros(1, task.channels, *sides, device="meta")
    with plugin_errors(choice.name, images), FlopCounterMode(display=False) as flops, torch.no_grad():
        model(images)
    return int(flops.get_total_flops())


def count_activations(
    choice: Choice, task: Task, sides: Sequence[int], batch: int = 1, training: bool = False, checkpointed: bool = False
) -> int:
    """Peak bytes of activations in a forward pass; of a training step, with what its gradients need."""
    model, images = on_meta(choice, task), torch.zeros(batch, task.channels, *sides, device="meta")
    if checkpointed:
        checkpoint_blocks(model)
    model.train(training)
    with plugin_errors(choice.name, images), torch.set_grad_enabled(training), LiveTensors() as live:
        outputs = model(images)
        if training:
            outputs.sum().backward()
    return int(live.peak)


def size_seen(choice: Choice, dims: int, size: Sequence[int]) -> tuple[int, ...]:
    """What the network sees of images of a size."""
    sides = _sides(choice, dims, size)
    return padded_size(sides, choice.spec.strides(choice.options, dims), choice.spec.minimum_size(choice.options))


def _sides(choice: Choice, dims: int, size: Sequence[int]) -> tuple[int, ...]:
    """One number for each axis. Raises UsageError."""
    sides = tuple(size) * dims if len(size) == 1 else tuple(size)
    if len(sides) != dims:
        raise UsageError(
            f"--size has {counted(len(sides), 'number')}; the model {choice.spec.name!r} takes {counted(dims, 'axis')}.",
            "One number fits all.",
        )
    return sides


class LiveTensors(TorchDispatchMode):
    """Adds up the bytes of tensors that operations make, takes them away when they die, and keeps the peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = {_storage(leaf) for leaf in tree_leaves((args, dict(kwargs or {}))) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _storage(leaf) not in before | self.known:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self.known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
