"""What every loss must do, in each mode and kind that its spec claims, on images, volumes and classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from segkit.config.resolve import Choice
from segkit.specs import LossSpec
from segkit.task import Task
from segkit.testing.contract import Contract, named

EXTREME = 1e4  # logits, far beyond what a network gives
IGNORED = 255


class LossContract(Contract):
    """Subclass it, set `name`, and pytest runs it.

    Attributes:
        name: the loss's spec name, bare or full.
        options: options it is made with.
    """

    group = "losses"

    def tasks(self, choice: Choice) -> Iterator[Task]:
        """One for each mode, kind and number of axes that the spec claims."""
        spec: LossSpec = choice.spec
        for mode in spec.modes:
            classes = ("background", "first", "second")[: 2 if mode == "binary" else 3]
            for kind in spec.kinds:
                for dims in (2, 3) if kind == "segmentation" else (2,):
                    yield Task(1, classes, dims, mode, kind)  # type: ignore[arg-type]

    def target(self, task: Task, batch: int = 2) -> Tensor:
        """(B, *S), or (B, K, *S) for multilabel; every class is there."""
        sides = (6,) * task.dims if task.kind == "segmentation" else ()
        shape = (batch, task.outputs, *sides) if task.mode == "multilabel" else (batch, *sides)
        values = 2 if task.mode == "multilabel" else len(task.classes)
        drawn = torch.randperm(torch.Size(shape).numel(), generator=torch.Generator().manual_seed(0)).reshape(shape)
        return drawn % values

    def logits(self, task: Task, target: Tensor, size: float) -> Tensor:
        """(B, K, *S): `size` for what is true and -size for what is not; a negative size is wrong everywhere."""
        truth = target if task.mode == "multilabel" else target[:, None]
        if task.mode == "multiclass":
            truth = functional.one_hot(target, task.outputs).movedim(-1, 1)
        return (size * (2.0 * truth - 1)).requires_grad_()

    @pytest.mark.parametrize("batch", [1, 3])
    def test_it_is_a_finite_number_with_finite_gradients_whatever_is_predicted(self, choice: Choice, batch: int) -> None:
        for task in self.tasks(choice):
            criterion, mixed = _made(choice, task), self.target(task, batch)
            for target in (mixed, torch.zeros_like(mixed)):
                for size in (0.0, 1.0, EXTREME, -EXTREME):
                    logits = self.logits(task, target, size)
                    value = _value(criterion, logits, target)
                    words = f"{task.mode} {task.kind} in {task.dims}D, logits {size}: the loss is {value}"
                    assert value.shape == (), f"{words}, of shape {tuple(value.shape)}; one number was expected"
                    assert value.isfinite(), words
                    assert value.requires_grad, f"{words}, detached from the logits"
                    value.backward()  # type: ignore[no-untyped-call]
                    assert logits.grad is not None, f"{words}, and no gradient reaches the logits"
                    assert logits.grad.isfinite().all(), f"{words}, its gradients are not finite"

    def test_a_better_prediction_has_a_lower_loss(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            criterion, target = _made(choice, task), self.target(task)
            values = [
                _value(criterion, self.logits(task, target, size), target).item() for size in (4.0, 1.0, 0.0, -1.0, -4.0)
            ]
            assert values == sorted(set(values)), f"{task.mode} {task.kind}: {values}"

    def test_it_stays_in_float32_where_the_network_calculates_in_16_bits(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            criterion, target = _made(choice, task), self.target(task)
            logits = self.logits(task, target, 1.0)
            with torch.autocast("cpu", torch.bfloat16):
                value = _value(criterion, logits, target)
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, criterion(logits, target), rtol=1e-3, atol=1e-4)

    def test_the_same_goes_in_and_the_same_comes_out(self, choice: Choice) -> None:
        for task in self.tasks(choice):
            criterion, target = _made(choice, task), self.target(task)
            logits = self.logits(task, target, 1.0).detach()
            copies = logits.clone(), target.clone()
            assert torch.equal(criterion(logits, target), criterion(logits, target))
            assert torch.equal(logits, copies[0]) and torch.equal(target, copies[1])

    def test_what_is_to_be_ignored_has_no_influence(self, choice: Choice) -> None:
        claimed = choice.spec.ignore_index
        tried = [task for task in self.tasks(choice) if task.kind == "segmentation" and task.mode != "multilabel"]
        if not tried:
            pytest.skip("masks of exclusive classes alone have pixels to ignore")
        try:
            for task in tried:
                self.ignore(choice, replace(task, ignore_index=IGNORED))
        except Exception:
            if claimed:
                raise
            return
        if not claimed:
            pytest.skip("works, and could be claimed: ignore_index=True")

    def ignore(self, choice: Choice, task: Task) -> None:
        criterion, target = _made(choice, task), self.target(task)
        logits = self.logits(task, target, 1.0)
        target[:, 0] = IGNORED
        other = logits.detach().clone()
        other[:, :, 0] *= -3
        value = _value(criterion, logits, target)
        value.backward()  # type: ignore[no-untyped-call]
        assert torch.allclose(value, criterion(other, target))
        assert logits.grad is not None and not logits.grad[:, :, 0].any() and logits.grad[:, :, 1:].any()
        assert criterion(logits, torch.full_like(target, IGNORED)).isfinite()


def _made(choice: Choice, task: Task) -> nn.Module:
    criterion = choice.make(task)
    assert isinstance(criterion, nn.Module)
    return criterion


def _value(criterion: nn.Module, logits: Tensor, target: Tensor) -> Tensor:
    value = criterion(logits, target)
    assert isinstance(value, Tensor), f"the loss gave {named(value)}; a tensor without axes was expected"
    return value
