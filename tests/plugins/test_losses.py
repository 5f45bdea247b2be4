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
from monai.losses import GeneralizedDiceLoss, TverskyLoss
from numpy.typing import NDArray
from scipy import special
from sklearn.metrics import log_loss
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from segkit import plugins
from segkit.errors import UsageError
from segkit.options import build
from segkit.task import Task

BINARY = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
LAYERS = Task(1, ("background", "WT", "TC"), mode="multilabel")
ALL = [
    *(("bce", task) for task in (BINARY, LAYERS)),
    ("cross-entropy", HEART),
    *((name, task) for name in ("focal", "dice", "dice-focal", "dice-ce") for task in (BINARY, HEART, LAYERS)),
    *((name, task) for name in ("tversky", "focal-tversky", "unified-focal") for task in (BINARY, HEART, LAYERS)),
    *(("generalized-dice", task) for task in (BINARY, HEART, LAYERS)),
]
NOT_FROM_ZERO = [(name, task) for name in ("combo", "boundary") for task in (BINARY, HEART, LAYERS)]


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
    assert criterion(60 * right - 30, masks) < 1e-3 < criterion(logits, masks) < criterion(30 - 60 * right, masks)
    wrong = (30 - 60 * right).requires_grad_()
    criterion(wrong, masks).backward()
    assert torch.isfinite(wrong.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "task"), [*ALL, *NOT_FROM_ZERO])
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


@pytest.mark.parametrize(("name", "task"), [*ALL, *NOT_FROM_ZERO])
def test_float16_range_logits_stay_finite(name: str, task: Task) -> None:
    logits, masks = example(task)
    assert loss(name, task)((logits * 1e4).float(), masks).isfinite()


@pytest.mark.parametrize("task", [BINARY, HEART, LAYERS])
def test_squared_dice_is_monais(task: Task) -> None:
    logits, masks = example(task)
    many = task.mode == "multiclass"
    theirs = MonaiDice(include_background=not many, to_onehot_y=many, softmax=many, sigmoid=not many, squared_pred=True)
    truth = masks[:, None] if many else masks.reshape(logits.shape).double()
    ours = loss("dice", task, squared=True, smooth=1e-5)
    assert ours(logits, masks) == pytest.approx(float(theirs(logits, truth)))


@pytest.mark.parametrize("batch", [False, True])
def test_generalized_dice_is_monais(batch: bool) -> None:
    logits, masks = example(HEART)
    masks[0][masks[0] == 3] = 1  # a class that one case does not hold
    theirs = GeneralizedDiceLoss(to_onehot_y=True, softmax=True, batch=batch)(logits, masks[:, None])
    assert loss("generalized-dice", HEART, batch=batch)(logits, masks) == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.7), (0.5, 0.5), (1.0, 0.2)])
@pytest.mark.parametrize("task", [BINARY, HEART, LAYERS])
def test_tversky_is_monais(task: Task, alpha: float, beta: float) -> None:
    logits, masks = example(task)
    many = task.mode == "multiclass"
    theirs = TverskyLoss(
        include_background=not many, to_onehot_y=many, softmax=many, sigmoid=not many, alpha=alpha, beta=beta
    )
    truth = masks[:, None] if masks.ndim < logits.ndim else masks
    ours = loss("tversky", task, alpha=alpha, beta=beta, smooth=1e-5)
    assert ours(logits, masks) == pytest.approx(float(theirs(logits, truth)))


def test_tversky_of_a_half_and_a_half_is_dice_with_twice_its_smoothing() -> None:
    logits, masks = example(HEART)
    dice = loss("dice", HEART, smooth=2.0)(logits, masks)
    assert loss("tversky", HEART, alpha=0.5, beta=0.5, smooth=1.0)(logits, masks) == pytest.approx(float(dice))


def test_focal_tversky_by_hand() -> None:
    """p = 1/2 on four pixels, two of them true: TP 1, FP 1, FN 1, TI = 1 / (1 + .3 + .7) = 1/2, (1/2)^.75."""
    logits = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
    masks = torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int32)
    assert loss("focal-tversky", BINARY, smooth=0)(logits, masks) == pytest.approx(0.5**0.75)
    theirs = smp.losses.TverskyLoss("binary", alpha=0.3, beta=0.7, gamma=0.75)(logits, masks.long())
    assert loss("focal-tversky", BINARY, smooth=0)(logits, masks) == pytest.approx(float(theirs))


def test_combo_by_hand() -> None:
    """Taghanaki's eq. 3 with a = .4, b = .7: probabilities .8, .6 inside and .4, .2 outside; Dice .7 without smoothing."""
    logits, masks = half_half([[0.8, 0.6], [0.4, 0.2]]), torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int32)
    entropy = -(0.7 * (math.log(0.8) + math.log(0.6)) + 0.3 * (math.log(0.6) + math.log(0.8))) / 4
    ours = loss("combo", BINARY, alpha=0.4, beta=0.7, smooth=0)
    assert ours(logits, masks) == pytest.approx(0.4 * entropy - 0.6 * 0.7)


@pytest.mark.parametrize("asymmetric", [True, False])
def test_unified_focal_by_hand(asymmetric: bool) -> None:
    """Yeung's code written out for four pixels of two classes, weight .3, delta .6 and gamma .2."""
    p, y = np.array([0.8, 0.6, 0.4, 0.2]), np.array([1.0, 1.0, 0.0, 0.0])
    delta, gamma = 0.6, 0.2
    inside = -y * np.log(p) * (1 if asymmetric else (1 - p) ** gamma)
    outside = -(1 - y) * np.log(1 - p) * p**gamma
    focal = (delta * inside + (1 - delta) * outside).mean()

    def lost(p: NDArray[Any], y: NDArray[Any]) -> float:
        hit, missed, vain = (p * y).sum(), ((1 - p) * y).sum(), (p * (1 - y)).sum()
        return float(1 - hit / (hit + delta * missed + (1 - delta) * vain))

    back, fore = lost(1 - p, 1 - y), lost(p, y)
    tversky = ((back if asymmetric else back ** (1 - gamma)) + fore ** (1 - gamma)) / 2
    logits, masks = half_half([[0.8, 0.6], [0.4, 0.2]]), torch.tensor([[[1, 1], [0, 0]]], dtype=torch.int32)
    ours = loss("unified-focal", BINARY, weight=0.3, delta=delta, gamma=gamma, asymmetric=asymmetric)
    assert ours(logits, masks) == pytest.approx(0.3 * focal + 0.7 * tversky, abs=1e-5)


def test_the_boundary_loss_by_hand() -> None:
    """Distances of a row of five pixels, the third and fourth true: 2, 1, -0, -0, 1; p = 1/2 everywhere: mean 4/2/5."""
    logits, masks = torch.zeros(1, 1, 1, 5, dtype=torch.float64), torch.tensor([[[0, 0, 1, 1, 0]]], dtype=torch.int32)
    assert loss("boundary", BINARY)(logits, masks) == pytest.approx(0.4)
    assert loss("boundary", BINARY)(logits, torch.zeros_like(masks)) == 0


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_weights_of_classes_are_torchs(gamma: float) -> None:
    logits, masks = example(HEART)
    weights = (0.5, 1.0, 2.0, 4.0)
    if not gamma:
        theirs = functional.cross_entropy(logits, masks.long(), torch.tensor(weights, dtype=torch.float64))
        assert loss("cross-entropy", HEART, weights=weights)(logits, masks) == pytest.approx(float(theirs))
    each = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=gamma, reduction="none")(logits, masks[:, None]).sum(1)
    factors = torch.tensor(weights, dtype=torch.float64)[masks.long()]
    expected = float((each * factors).sum() / factors.sum())
    assert loss("focal", HEART, gamma=gamma, weights=weights)(logits, masks) == pytest.approx(expected)


def test_weights_of_a_binary_mask_are_scikit_learns() -> None:
    logits, masks = example(BINARY)
    probabilities, truth = by_class(BINARY, logits, masks)
    expected = log_loss(truth.ravel(), probabilities.ravel(), sample_weight=np.where(truth.ravel() > 0, 3.0, 0.5))
    assert loss("bce", BINARY, weights=(0.5, 3.0))(logits, masks) == pytest.approx(expected)


def test_alpha_as_monai_weighs_the_background_with_the_rest() -> None:
    logits, masks = example(HEART)
    theirs = MonaiFocal(use_softmax=True, to_onehot_y=True, gamma=2, alpha=0.25, reduction="none")(logits, masks[:, None])
    ours = loss("focal", HEART, alpha=0.25, alpha_as="monai")
    assert ours(logits, masks) == pytest.approx(float(theirs.sum(1).mean()))


def test_a_sum_is_the_sum_of_its_parts() -> None:
    logits, masks = example(HEART)
    whole = loss("sum", HEART, of="2*dice(batch=true;smooth=0.5) + 0.25*focal(gamma=3)")(logits, masks)
    parts = loss("dice", HEART, batch=True, smooth=0.5)(logits, masks), loss("focal", HEART, gamma=3.0)(logits, masks)
    assert whole == pytest.approx(float(2 * parts[0] + 0.25 * parts[1]))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("sum", {"of": "dice+"}, "'nothing' is no loss"),
        ("sum", {"of": "dice+2focal"}, "no loss"),
        ("sum", {"of": "dice+bce"}, "is not for multiclass"),
        ("sum", {"of": "dice(smoth=1)"}, "has no option 'smoth'"),
        ("sum", {"of": "sum"}, "a sum of sums"),
        ("cross-entropy", {"weights": (1.0, 2.0)}, "has 2 for 4 classes"),
        ("dice", {"weights": (1.0, 1.0, 1.0, 1.0)}, "has 4 for 3 classes"),
        ("focal", {"weights": (0.0,) * 4}, "all 0"),
        ("cross-entropy", {"balanced": True}, "needs masks"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        loss(name, HEART, **options)


def test_the_loss_of_regions_is_that_of_the_sums_of_their_classes() -> None:
    """By hand: a region's probability is the sum of its classes', its mask their union; binary cross-entropy of each."""
    tumour = Task(
        1, ("background", "NCR", "ED", "ET"), 2, "multiclass", regions={"WT": ("NCR", "ED", "ET"), "TC": ("NCR", "ET")}
    )
    logits, masks = example(tumour)
    p, _ = by_class(tumour, logits, masks)
    sums = np.stack([p[:, 1:].sum(1), p[:, [1, 3]].sum(1)], 1)
    truth = np.stack([masks.numpy() > 0, np.isin(masks.numpy(), (1, 3))], 1)
    expected = log_loss(truth.ravel(), sums.ravel())
    assert loss("regions", tumour, of="bce")(logits, masks) == pytest.approx(expected)
    dice = 1 - (2 * (sums * truth).sum((2, 3)) + 1) / (sums.sum((2, 3)) + truth.sum((2, 3)) + 1)
    assert loss("regions", tumour, of="bce+0.5*dice")(logits, masks) == pytest.approx(expected + 0.5 * dice.mean())


def test_without_regions_each_class_is_one() -> None:
    logits, masks = example(HEART)
    p, truth = by_class(HEART, logits, masks)
    assert loss("regions", HEART, of="bce")(logits, masks) == pytest.approx(log_loss(truth[:, 1:].ravel(), p[:, 1:].ravel()))


def test_regions_of_what_is_no_layers_loss_are_refused() -> None:
    with pytest.raises(UsageError, match="cross-entropy"):
        loss("regions", HEART, of="cross-entropy")
