"""Learning rates are torch's own schedulers' and the formulas of their papers; optimisers step as torch's do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import Command
from segkit.settings import Train
from segkit.training.optim import Schedule, build_optimizer

EPOCHS, STEPS = 10, 7


def rates(validated: bool = True, **settings: Any) -> list[float]:
    """Of every step."""
    schedule = made(validated, **settings)
    return [schedule.before(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]


def made(validated: bool = True, **settings: Any) -> Schedule:
    train = dataclasses.replace(Train(), epochs=EPOCHS, lr=0.1, **settings)
    return Schedule(build_optimizer(torch.nn.Linear(2, 2), train, fused=False), train, STEPS, validated)


def torchs(make: Any, steps: int = EPOCHS * STEPS, each: int = 1) -> list[float]:
    """What one of torch's schedulers does, one step of it after every `each` steps."""
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
    scheduler, found = make(optimizer), []
    for step in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if (step + 1) % each == 0 and step + 1 < steps:
            scheduler.step()
    return found


def test_cosine_poly_step_and_one_cycle_are_torchs() -> None:
    total = EPOCHS * STEPS
    ours = {
        "cosine": rates(schedule="cosine", min_lr=1e-3),
        "poly": rates(schedule="poly", min_lr=0.0, poly_power=0.9),
        "step": rates(schedule="step", step_every=3, step_factor=0.5),
        "one-cycle": rates(schedule="one-cycle"),
    }
    lr = torch.optim.lr_scheduler
    theirs = {
        "cosine": torchs(lambda own: lr.CosineAnnealingLR(own, total, eta_min=1e-3)),
        "poly": torchs(lambda own: lr.PolynomialLR(own, total, power=0.9)),
        "step": torchs(lambda own: lr.StepLR(own, 3, gamma=0.5), each=STEPS),
        "one-cycle": torchs(lambda own: lr.OneCycleLR(own, max_lr=0.1, total_steps=total, cycle_momentum=False)),
    }
    for name, found in ours.items():
        assert found == pytest.approx(theirs[name], rel=1e-6, abs=1e-9), name


def lowered(values: list[float], **settings: Any) -> list[float]:
    """The rate of each epoch, and of the one after."""
    schedule, found = made(schedule="plateau", plateau_factor=0.5, min_delta=0.01, min_lr=0.0, **settings), []
    for epoch, value in enumerate(values):
        found.append(schedule.before(epoch, 0))
        schedule.after(value)
    return [*found, schedule.before(len(values), 0)]


def test_plateau_lowers_the_rate_after_patience_bad_epochs_as_keras_does() -> None:
    """By hand, after Keras' on_epoch_end: wait += 1; if wait >= patience: lower, wait = 0."""
    assert lowered([1, 1, 1, 1, 1, 1, 1], plateau_patience=3) == pytest.approx([0.1] * 4 + [0.05] * 3 + [0.025])
    assert lowered([1, 0.995, 0.9, 0.9, 0.895, 0.8], plateau_patience=2) == pytest.approx([0.1] * 5 + [0.05] * 2)
    assert lowered([1, 1, 1], plateau_patience=1) == pytest.approx([0.1, 0.1, 0.05, 0.025])
    assert lowered([1, 1, 1], plateau_patience=0) == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_a_plateau_goes_on_where_it_was_also_one_that_waited_for_an_epoch_more() -> None:
    settings: dict[str, Any] = {"schedule": "plateau", "plateau_patience": 3, "plateau_factor": 0.5}
    first, second = made(**settings), made(**settings)
    for value in (1, 1, 1):
        first.after(value)
    second.load(first.state())
    second.after(1)
    assert second.factor == 0.5
    older = {key: value for key, value in first.state().items() if key != "patience"}  # as 0.1.0 saved it
    second.load(older)
    second.after(1)
    assert second.factor == 1
    third = made(**settings)
    third.load(second.state())  # saved anew, it goes on waiting as it did
    third.after(1)
    assert third.factor == 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_plateau_is_torchs_of_one_epoch_less_with_an_absolute_threshold(values: list[float], patience: int) -> None:
    ours = made(schedule="plateau", plateau_patience=patience, plateau_factor=0.5, min_delta=0.01, min_lr=1e-3)
    optimizer = torch.optim.SGD(torch.nn.Linear(2, 2).parameters(), lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience - 1, threshold=0.01, threshold_mode="abs", min_lr=1e-3, eps=0
    )
    for epoch, value in enumerate(values):
        assert ours.before(epoch, 0) == pytest.approx(optimizer.param_groups[0]["lr"])
        ours.after(value)
        theirs.step(value)


def test_the_rate_rises_step_by_step_in_the_warm_up() -> None:
    found = rates(schedule="none", warmup=2.0)
    assert found[: 2 * STEPS] == pytest.approx([0.1 * (step + 1) / (2 * STEPS) for step in range(2 * STEPS)])
    assert set(found[2 * STEPS :]) == {0.1}
    late = rates(schedule="cosine", warmup=2.0, min_lr=0.0)
    assert late[2 * STEPS] == pytest.approx(0.1)  # the wave starts after it
    assert late[-1] == pytest.approx(0.05 * (1 + math.cos(math.pi * (1 - 1 / (8 * STEPS)))))


def test_without_validation_nothing_lowers_the_rate_on_a_plateau() -> None:
    assert set(rates(validated=False, schedule="plateau")) == {0.1}


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimisers_step_as_torchs(name: str) -> None:
    settings = dataclasses.replace(Train(), optimizer=name, lr=0.1, weight_decay=0.01, eps=1e-3, momentum=0.8, nesterov=True)  # type: ignore[arg-type]
    models = [torch.nn.Linear(3, 1), torch.nn.Linear(3, 1)]
    models[1].load_state_dict(models[0].state_dict())
    kinds: dict[str, Any] = {
        "adam": lambda own: torch.optim.Adam(own, lr=0.1, weight_decay=0.01, eps=1e-3),
        "adamw": lambda own: torch.optim.AdamW(own, lr=0.1, weight_decay=0.01, eps=1e-3),
        "sgd": lambda own: torch.optim.SGD(own, lr=0.1, weight_decay=0.01, momentum=0.8, nesterov=True),
    }
    optimizers = [build_optimizer(models[0], settings, fused=False), kinds[name](models[1].parameters())]
    for seed in range(3):
        torch.manual_seed(seed)
        images = torch.randn(4, 3)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(images).square().sum().backward()
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)


SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=20 -o dataset.size=16".split()
)


def test_adding_up_two_batches_is_one_of_twice_the_size(segkit: Command, tmp_path) -> None:  # type: ignore[no-untyped-def]
    """With a loss that is a mean over pixels and no batch norm; 14 cases in batches of 7 and 14."""
    common = "-o model.norm=none -o model.head_norm=false --loss bce --augment none --epochs 3 --optimizer sgd".split()
    common += "-o split.val=0.1 -o split.test=0.2 -o train.schedule=none".split()  # others go by the number of batches
    for name, more in (("two", ["--batch-size", "7", "-o", "train.accumulate=2"]), ("one", ["--batch-size", "14"])):
        assert segkit(*SMALL, *common, *more, "--out", tmp_path / name).code == 0
    from safetensors.torch import load_file

    ours, theirs = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in theirs)


def test_a_moving_average_is_what_is_validated_and_kept(segkit: Command, tmp_path) -> None:  # type: ignore[no-untyped-def]
    words = [*SMALL, "--epochs", "2", "-o", "split.val=0", "-o", "split.test=0", "-o", "train.batch_norm=running"]
    for name, more in (("plain", []), ("mean", ["-o", "train.ema=0.9"])):
        assert segkit(*words, *more, "--out", tmp_path / name).code == 0
    from safetensors.torch import load_file

    states = {name: torch.load(tmp_path / name / "resume" / "state.pt", weights_only=True) for name in ("plain", "mean")}
    kept = load_file(tmp_path / "mean" / "model.safetensors")
    assert all(torch.equal(states["plain"]["model"][key], states["mean"]["model"][key]) for key in kept)  # trained alike
    key = next(key for key in kept if key.endswith("weight"))
    assert torch.equal(kept[key], states["mean"]["average"][f"module.{key}"])
    assert not torch.equal(kept[key], states["mean"]["model"][key])
