"""Losses equal their formulas, computed by hand or by torch, and behave at the edges."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from segkit import plugins
from segkit.options import build
from segkit.task import Task

BINARY = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
LAYERS = Task(1, ("background", "WT", "TC"), mode="multilabel")
ALL = [
    *(("bce", task) for task in (BINARY, LAYERS)),
    ("cross-entropy", HEART),
    *((name, task) for name in ("focal", "dice", "dice-focal") for task in (BINARY, HEART, LAYERS)),
]


def loss(name: str, task: Task, **options: object) -> torch.nn.Module:
    spec = plugins.load().find("losses", name).spec
    return spec.load()(task, build(spec.options, options, "loss"))  # type: ignore[no-any-return]


def example(task: Task, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, task.outputs, 6, 5, generator=generator, dtype=torch.float64)
    shape = (3, 2, 6, 5) if task.mode == "multilabel" else (3, 6, 5)
    top = len(task.classes) if task.mode == "multiclass" else 2
    return logits, torch.randint(0, top, shape, generator=generator, dtype=torch.int32)


def test_bce_is_torchs() -> None:
    logits, masks = example(BINARY)
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], masks.double())
    assert loss("bce", BINARY)(logits, masks) == pytest.approx(float(expected))


def test_cross_entropy_is_torchs() -> None:
    logits, masks = example(HEART)
    assert loss("cross-entropy", HEART)(logits, masks) == pytest.approx(
        float(functional.cross_entropy(logits, masks.long()))
    )


def test_focal_by_hand() -> None:
    # one pixel, p = 0.8: truth 1 gives (0.2)^2 * -ln 0.8, truth 0 gives (0.8)^2 * -ln 0.2
    logit = torch.full((1, 1, 1, 1), math.log(0.8 / 0.2), dtype=torch.float64)
    one, zero = torch.ones(1, 1, 1, dtype=torch.int32), torch.zeros(1, 1, 1, dtype=torch.int32)
    assert loss("focal", BINARY)(logit, one) == pytest.approx(0.04 * -math.log(0.8))
    assert loss("focal", BINARY)(logit, zero) == pytest.approx(0.64 * -math.log(0.2))
    assert loss("focal", BINARY, alpha=0.25)(logit, one) == pytest.approx(0.25 * 0.04 * -math.log(0.8))
    assert loss("focal", BINARY, alpha=0.25)(logit, zero) == pytest.approx(0.75 * 0.64 * -math.log(0.2))


def test_categorical_focal_by_hand() -> None:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log().reshape(1, 4, 1, 1)
    two = torch.full((1, 1, 1), 2, dtype=torch.int32)
    assert loss("focal", HEART)(logits, two) == pytest.approx(0.7**2 * -math.log(0.3))
    assert loss("focal", HEART, alpha=0.25, gamma=1)(logits, two) == pytest.approx(0.25 * 0.7 * -math.log(0.3))


@pytest.mark.parametrize(("task", "plain"), [(BINARY, "bce"), (HEART, "cross-entropy")])
def test_focal_without_gamma_is_cross_entropy(task: Task, plain: str) -> None:
    logits, masks = example(task)
    assert loss("focal", task, gamma=0)(logits, masks) == pytest.approx(float(loss(plain, task)(logits, masks)))


def test_dice_by_hand() -> None:
    # p = 1/2 on four pixels, two of them true: (2 * 1 + 1) / (2 + 2 + 1) = 0.6
    logits = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    masks = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int32)
    assert loss("dice", BINARY)(logits, masks) == pytest.approx(0.4)
    assert loss("dice", BINARY, smooth=0)(logits, masks) == pytest.approx(0.5)


def test_dice_is_the_mean_over_cases_unless_the_batch_is_one() -> None:
    logits = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    masks = torch.tensor([[[1, 1], [1, 1]], [[0, 0], [0, 0]]], dtype=torch.int32)
    # by case: 1 - ((2*2)/(2+4) + 0/2) / 2; as one: 1 - (2*2)/(4+4)
    assert loss("dice", BINARY, smooth=0)(logits, masks) == pytest.approx(1 - (4 / 6 + 0) / 2)
    assert loss("dice", BINARY, smooth=0, batch=True)(logits, masks) == pytest.approx(0.5)


def test_dice_leaves_the_background_out_unless_asked() -> None:
    logits, masks = example(HEART)
    p, y = logits.softmax(1), functional.one_hot(masks.long(), 4).movedim(-1, 1).double()
    scores = (2 * (p * y).sum((2, 3)) + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
    assert loss("dice", HEART)(logits, masks) == pytest.approx(float(1 - scores[:, 1:].mean()))
    assert loss("dice", HEART, background=True)(logits, masks) == pytest.approx(float(1 - scores.mean()))


def test_an_empty_mask_with_nothing_found_costs_nothing() -> None:
    logits, masks = torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 4, 4, dtype=torch.int32)
    assert loss("dice", BINARY)(logits, masks) == pytest.approx(0, abs=1e-6)


def test_dice_focal_is_their_weighted_sum() -> None:
    logits, masks = example(BINARY)
    expected = 0.3 * loss("dice", BINARY)(logits, masks) + 2 * loss("focal", BINARY, gamma=1)(logits, masks)
    assert loss("dice-focal", BINARY, dice=0.3, focal=2, gamma=1)(logits, masks) == pytest.approx(float(expected))


@pytest.mark.parametrize(("name", "task"), ALL)
def test_the_truth_costs_least_and_gradients_are_finite(name: str, task: Task) -> None:
    logits, masks = example(task)
    if task.mode == "multiclass":
        right = functional.one_hot(masks.long(), task.outputs).movedim(-1, 1).double()
    else:
        right = masks.reshape(logits.shape).double()
    criterion = loss(name, task)
    assert criterion(60 * right - 30, masks) < 1e-6 < criterion(logits, masks) < criterion(30 - 60 * right, masks)
    wrong = (30 - 60 * right).requires_grad_()
    criterion(wrong, masks).backward()
    assert torch.isfinite(wrong.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "task"), ALL)
@given(seed=st.integers(0, 100))
def test_ignored_pixels_do_not_count(name: str, task: Task, seed: int) -> None:
    ignoring = Task(task.channels, task.classes, mode=task.mode, ignore_index=255)
    logits, masks = example(task, seed)
    masks[..., 0] = 255
    changed = logits.clone()
    changed[..., 0] = 7
    criterion = loss(name, ignoring)
    assert criterion(changed, masks) == pytest.approx(float(criterion(logits, masks)))
    assert criterion(logits, torch.full_like(masks, 255)).isfinite()


@pytest.mark.parametrize(("name", "task"), ALL)
def test_float16_range_logits_stay_finite(name: str, task: Task) -> None:
    logits, masks = example(task)
    assert loss(name, task)((logits * 1e4).float(), masks).isfinite()
