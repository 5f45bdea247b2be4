"""Epochs of a number of steps cut one endless stream of shuffled passes, whatever the processes and however resumed."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Command, history
from segkit.training.order import Order

SMALL = (
    "train --dataset phantom --model unet -o model.width=2 -o model.depth=1 -o dataset.cases=12 -o dataset.size=16".split()
)


def batches(order: Order, epoch: int) -> list[list[int]]:
    order.epoch = epoch
    return [[item for item, *_ in batch] for batch in order]


@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 12), st.integers(0, 9))
def test_every_pass_holds_every_item_once_and_no_batch_one_twice(count: int, size: int, steps: int, seed: int) -> None:
    order = Order(count, size, seed, steps=steps)
    epochs = -(-5 * count // (steps * size))  # five passes at least
    found = [batch for epoch in range(1, epochs + 1) for batch in batches(order, epoch)]
    assert all(len(batch) == size for batch in found) and len(found) == epochs * steps
    stream = [item for batch in found for item in batch]
    for number in range(5):
        assert sorted(stream[number * count : (number + 1) * count]) == list(range(count))
    if count >= size:
        assert all(len(set(batch)) == size for batch in found)


@pytest.mark.parametrize("seed", range(5))
def test_steps_that_are_one_pass_are_todays_epochs(seed: int) -> None:
    by_pass, by_steps = Order(12, 4, seed), Order(12, 4, seed, steps=3)
    for epoch in range(1, 6):
        assert batches(by_steps, epoch) == batches(by_pass, epoch)


def test_the_order_of_one_pass_is_that_of_python_shuffled_by_seed_and_epoch() -> None:
    import random

    indices = list(range(7))
    random.Random("3/2").shuffle(indices)
    assert batches(Order(7, 3, 3), 2) == [indices[:3], indices[3:]]


def test_what_is_drawn_again_in_an_epoch_is_counted() -> None:
    """Four items, five batches of two: two and a half passes, so each is drawn twice or three times."""
    order = Order(4, 2, 0, steps=5)
    drawn = [index for batch in order for index in batch]
    assert len(set(drawn)) == 10
    most = Counter(item for item, *_ in drawn)
    assert all(sorted(time for item, _, time in drawn if item == one) == list(range(most[one])) for one in range(4))


def test_processes_share_the_batches_of_one_and_weigh_alike() -> None:
    whole = Order(7, 4, 1, steps=3)
    shares = [Order(7, 4, 1, rank=rank, processes=2, steps=3) for rank in range(2)]
    for epoch in (1, 2, 3):
        parts = [batches(share, epoch) for share in shares]
        assert [sorted(first + second) for first, second in zip(*parts, strict=True)] == [
            sorted(batch) for batch in batches(whole, epoch)
        ]
    assert [share.weight(step) for share in shares for step in range(3)] == [1.0] * 6


def test_pools_are_drawn_from_in_every_epoch() -> None:
    """Two of 40 items hold a class; half of what is drawn is one of them."""
    order = Order(40, 8, 0, [[3], [5]], foreground=0.5, steps=7)
    drawn = [item for epoch in range(1, 40) for batch in batches(order, epoch) for item in batch]
    held = Counter(drawn)
    assert held[3] / len(drawn) == pytest.approx(0.25 + 0.5 / 40, abs=0.03)
    assert held[5] / len(drawn) == pytest.approx(0.25 + 0.5 / 40, abs=0.03)


@pytest.mark.parametrize(("steps", "epochs"), [(1, 4), (7, 2)], ids=["less than a pass", "more than one"])
def test_an_epoch_is_as_long_as_was_asked(segkit: Command, tmp_path: Path, steps: int, epochs: int) -> None:
    run = tmp_path / "run"
    words = [*SMALL, "--batch-size", 3, "-o", f"train.epoch_steps={steps}", "--epochs", epochs]
    assert segkit(*words, "-o", "train.schedule=one-cycle", "--lr", 0.1, "--out", run).code == 0
    assert [int(row["epoch"]) for row in history(run)] == list(range(1, epochs + 1))
    assert tomllib.loads((run / "run.toml").read_text())["train"]["epoch_steps"] == steps
    lr = 0.1 / 25 / 1e4  # where torch's OneCycleLR ends: the schedule counts the steps
    assert float(history(run)[-1]["lr"]) == pytest.approx(lr, rel=1e-6)


def test_none_at_all_is_refused(segkit: Command, tmp_path: Path) -> None:
    told = segkit(*SMALL, "-o", "train.epoch_steps=0", "--out", tmp_path / "run")
    assert told.code == 2 and "train.epoch_steps" in told.err and "at least 1" in told.err
