"""Every case once an epoch, in the seed's order, and no batch of one behind others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segkit.data.loader import Order


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(0, 9))
def test_batches_hold_every_case_once_and_no_trailing_one(count: int, size: int, seed: int | None) -> None:
    order = Order(count, size, seed)
    batches = list(order)
    assert sorted(index for batch in batches for index, _ in batch) == list(range(count))
    assert len(batches) == len(order)
    if size > 1 and count > 1:
        assert all(len(batch) > 1 for batch in batches)


def test_epochs_differ_and_repeat_by_seed() -> None:
    order, again = Order(50, 8, seed=4), Order(50, 8, seed=4)
    order.epoch = again.epoch = 1
    first = list(order)
    assert list(again) == first
    order.epoch = 2
    assert [[index for index, _ in batch] for batch in order] != [[index for index, _ in batch] for batch in first]
