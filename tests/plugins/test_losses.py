"""Losses equal those of other libraries and their formulas by hand, and behave at the edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.losses import DiceLoss as MonaiDice
from monai.losses import FocalLoss as MonaiFocal
from numpy.typing import NDArray
from scipy import special
from sklearn.metrics import log_loss
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from segkit import plugins
from segkit.options import build
from segkit.task import Task

BINARY = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
LAYERS = Task(1, ("background", "WT", "TC"), mode="multilabel")
ALL = [
    *(("bce", task) for task in (BINARY, LAYERS)),
    ("cross-entropy", HEART),
    *((name, task) for name in ("focal", "dice", "dice-focal", "dice-ce") for task in (BINARY, HEART, LAYERS)),
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


def by_class(task: Task, logits: torch.Tensor, masks: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and truth of every output, (B, K, H, W), in NumPy and SciPy alone."""
    if task.mode == "multiclass":
        truth = np.moveaxis(np.eye(len(task.classes))[masks.numpy()], -1, 1)
        return special.softmax(logits.numpy(), axis=1), truth
    return special.expit(logits.numpy()), masks.reshape(logits.shape).numpy().astype(float)


@pytest.mark.parametrize("task", [BINARY, LAYERS])
def test_bce_is_scikit_learns_log_loss(task: Task) -> None:
    logits, masks = example(task)
    probabilities, truth = by_class(task, logits, masks)
    assert loss("bce", task)(logits, masks) == pytest.approx(log_loss(truth.ravel(), probabilities.ravel()))


def test_cross_entropy_is_scikit_learns_log_loss() -> None:
    logits, masks = example(HEART)
    rows = np.moveaxis(special.softmax(logits.numpy(), axis=1), 1, -1).reshape(-1, 4)
    expected = log_loss(masks.ravel(), rows, labels=range(4))
    assert loss("cross-entropy", HEART)(logits, masks) == pytest.approx(expected)


@pytest.mark.parametrize(("name", "options"), [("cross-entropy", {}), ("focal", {"gamma": 0.0})])
def test_of_cases_instead_of_pixels_it_is_the_log_loss_too(name: str, options: dict[str, float]) -> None:
    absent_or_present = BINARY.as_classification()
    logits = torch.randn(9, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 0, 0, 1, 0, 0, 1])
    expected = log_loss(labels, special.softmax(logits.numpy(), axis=1))
    assert loss(name, absent_or_present, **options)(logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("alpha", [None, 0.25])
@pytest.mark.parametrize("task", [BINARY, LAYERS])
def test_binary_focal_is_torchvisions(task: Task, alpha: float | None, gamma: float) -> None:
    logits, masks = example(task)
    truth = masks.reshape(logits.shape).double()
    expected = sigmoid_focal_loss(logits, truth, -1 if alpha is None else alpha, gamma, reduction="mean")
    assert loss("focal", task, gamma=gamma, alpha=alpha)(logits, masks) == pytest.approx(float(expected))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 3.5])
def test_categorical_focal_is_monais_summed_over_the_classes(gamma: float) -> None:
    logits, masks = example(HEART)
    theirs = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=gamma, reduction="none")(logits, masks[:, None])
    assert loss("focal", HEART, gamma=gamma)(logits, masks) == pytest.approx(float(theirs.sum(1).mean()))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 1.0)])
def test_categorical_focal_is_the_formula_of_keras(alpha: float, gamma: float) -> None:
    """keras.losses.CategoricalFocalCrossentropy: sum over the classes of -alpha (1 - p)^gamma y ln p, mean over pixels."""
    logits, masks = example(HEART)
    p, y = by_class(HEART, logits, masks)
    expected = (-alpha * (1 - p) ** gamma * y * np.log(p)).sum(axis=1).mean()
    assert loss("focal", HEART, alpha=alpha, gamma=gamma)(logits, masks) == pytest.approx(expected)


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


@pytest.mark.parametrize("smooth", [1.0, 1e-5])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("task", [BINARY, HEART, LAYERS])
def test_dice_is_monais(task: Task, background: bool, batch: bool, smooth: float) -> None:
    logits, masks = example(task)
    many = task.mode == "multiclass"
    theirs = MonaiDice(
        include_background=background or not many,
        to_onehot_y=many,
        softmax=many,
        sigmoid=not many,
        smooth_nr=smooth,
        smooth_dr=smooth,
        batch=batch,
    )
    truth = masks[:, None] if masks.ndim < logits.ndim else masks
    ours = loss("dice", task, background=background, batch=batch, smooth=smooth)
    assert ours(logits, masks) == pytest.approx(float(theirs(logits, truth)))


@pytest.mark.parametrize(("task", "mode"), [(BINARY, "binary"), (HEART, "multiclass")])
def test_dice_over_a_batch_with_ignored_pixels_is_that_of_segmentation_models(task: Task, mode: str) -> None:
    ignoring = Task(task.channels, task.classes, mode=task.mode, ignore_index=255)
    logits, masks = example(task)
    masks[:, :2] = 255
    theirs = smp.losses.DiceLoss(mode, smooth=0.5, ignore_index=255)(logits, masks.long())  # it halves the fraction
    assert loss("dice", ignoring, batch=True, background=True)(logits, masks) == pytest.approx(float(theirs))


@pytest.mark.parametrize("task", [BINARY, LAYERS, HEART])
def test_the_mean_is_over_the_pixels_that_are_not_ignored(task: Task) -> None:
    ignoring = Task(task.channels, task.classes, mode=task.mode, ignore_index=255)
    logits, masks = example(task)
    p, y = (array[..., 1:, :] for array in by_class(task, logits, masks))  # all but the first row
    masks[..., 0, :] = 255
    plain = (-y * np.log(p)).sum(1) if task.mode == "multiclass" else -y * np.log(p) - (1 - y) * np.log(1 - p)
    focal = -y * (1 - p) ** 2 * np.log(p)
    focal = focal.sum(1) if task.mode == "multiclass" else focal - (1 - y) * p**2 * np.log(1 - p)
    name = "cross-entropy" if task.mode == "multiclass" else "bce"
    assert loss(name, ignoring)(logits, masks) == pytest.approx(plain.mean())
    assert loss("focal", ignoring)(logits, masks) == pytest.approx(focal.mean())


def test_an_empty_mask_with_nothing_found_costs_nothing() -> None:
    logits, masks = torch.full((1, 1, 4, 4), -50.0), torch.zeros(1, 4, 4, dtype=torch.int32)
    assert loss("dice", BINARY)(logits, masks) == pytest.approx(0, abs=1e-6)


def test_dice_focal_is_the_weighted_sum_of_monais_dice_and_torchvisions_focal() -> None:
    logits, masks = example(BINARY)
    dice = MonaiDice(sigmoid=True, smooth_nr=0.5, smooth_dr=0.5)(logits, masks[:, None])
    focal = sigmoid_focal_loss(logits[:, 0], masks.double(), alpha=0.75, gamma=1, reduction="mean")
    ours = loss("dice-focal", BINARY, dice=0.3, focal=2, gamma=1, alpha=0.75, smooth=0.5)
    assert ours(logits, masks) == pytest.approx(float(0.3 * dice + 2 * focal))


def half_half(*layers: list[list[float]]) -> torch.Tensor:
    """Logits of one case of 2 x 2 pixels, from the probabilities of each output."""
    return torch.tensor([layers], dtype=torch.float64).logit()


def test_dice_ce_of_a_binary_mask_by_hand() -> None:
    """Overlap .8 + .6, sizes .8 + .6 + .4 + .2 = 2 and 2: Dice (2 x 1.4 + 1) / (2 + 2 + 1) = .76."""
    logits, masks = half_half([[0.8, 0.6], [0.4, 0.2]]), torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int32)
    entropy = functional.binary_cross_entropy_with_logits(logits[:, 0], masks.double())
    assert loss("dice-ce", BINARY)(logits, masks) == pytest.approx(0.24 + float(entropy))
    assert loss("dice-ce", BINARY, dice=2, ce=0.5, smooth=0)(logits, masks) == pytest.approx(2 * 0.3 + 0.5 * float(entropy))


def test_dice_ce_of_classes_by_hand() -> None:
    """Probabilities .5, .25 and .25 of background, a and b; pixels background, a, a, b; the background has no Dice.

    a: (2 x .5 + 1) / (1 + 2 + 1) = 1/2; b: (2 x .25 + 1) / (1 + 1 + 1) = 1/2. With it: (2 x .5 + 1) / (2 + 1 + 1) = 1/2.
    """
    task = Task(1, ("background", "a", "b"), mode="multiclass")
    logits = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log().reshape(1, 3, 1, 1).expand(1, 3, 2, 2)
    masks = torch.tensor([[[0, 1], [1, 2]]], dtype=torch.int32)
    entropy = functional.cross_entropy(logits, masks.long())
    assert float(entropy) == pytest.approx((math.log(2) + 3 * math.log(4)) / 4)
    for background in (False, True):
        assert loss("dice-ce", task, background=background)(logits, masks) == pytest.approx(0.5 + float(entropy))


def test_dice_ce_of_layers_by_hand() -> None:
    """The first layer is the binary example, .76; all of 1/2 on a full one gives (2 x 2 + 1) / (2 + 4 + 1) = 5/7."""
    logits = half_half([[0.8, 0.6], [0.4, 0.2]], [[0.5, 0.5], [0.5, 0.5]])
    masks = torch.tensor([[[[1, 1], [0, 0]], [[1, 1], [1, 1]]]], dtype=torch.int32)
    entropy = functional.binary_cross_entropy_with_logits(logits, masks.double())
    expected = 1 - (0.76 + 5 / 7) / 2 + float(entropy)
    assert loss("dice-ce", LAYERS)(logits, masks) == pytest.approx(expected)


def test_dice_ce_takes_one_fraction_over_the_batch_unless_told_otherwise() -> None:
    """All of 1/2, a full case and an empty one: one by one 4/6 and 0/2, together 4 / (4 + 4)."""
    logits = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    masks = torch.tensor([[[1, 1], [1, 1]], [[0, 0], [0, 0]]], dtype=torch.int32)
    assert loss("dice-ce", BINARY, smooth=0)(logits, masks) == pytest.approx(0.5 + math.log(2))
    by_case = loss("dice-ce", BINARY, smooth=0, batch=False)
    assert by_case(logits, masks) == pytest.approx(1 - (4 / 6 + 0) / 2 + math.log(2))


@pytest.mark.parametrize("task", [BINARY, HEART])
def test_dice_ce_with_ignored_pixels_is_that_of_torch_and_segmentation_models(task: Task) -> None:
    ignoring = Task(task.channels, task.classes, mode=task.mode, ignore_index=255)
    logits, masks = example(task)
    masks[:, :2] = 255
    dice = smp.losses.DiceLoss(task.mode, smooth=0.5, ignore_index=255)(logits, masks.long())  # it halves the fraction
    if task.mode == "multiclass":
        entropy = functional.cross_entropy(logits, masks.long(), ignore_index=255)
    else:
        entropy = functional.binary_cross_entropy_with_logits(logits[:, 0, 2:], masks[:, 2:].double())
    expected = pytest.approx(float(dice) + float(entropy))
    assert loss("dice-ce", ignoring, background=True)(logits, masks) == expected


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
