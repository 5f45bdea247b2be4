"""Every case once an epoch, in the seed's order, and no batch of one behind others."""

from __future__ import annotations

import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.cache import Cached
from segkit.data.preprocess import Geometry
from segkit.task import Case
from segkit.training.loader import Batch, TrainingItems, dead_worker, loader
from segkit.training.order import Order
from segkit.training.signals import InterruptedWaitError, Stop


@given(st.integers(1, 60), st.integers(1, 20), st.none() | st.integers(0, 9))
def test_batches_hold_every_case_once_and_no_trailing_one(count: int, size: int, seed: int | None) -> None:
    order = Order(count, size, seed)
    batches = list(order)
    assert sorted(index for batch in batches for index, *_ in batch) == list(range(count))
    assert len(batches) == len(order)
    if size > 1 and count > 1:
        assert all(len(batch) > 1 for batch in batches)


def test_epochs_differ_and_repeat_by_seed() -> None:
    order, again = Order(50, 8, seed=4), Order(50, 8, seed=4)
    order.epoch = again.epoch = 1
    first = list(order)
    assert list(again) == first
    order.epoch = 2
    assert [[index for index, *_ in batch] for batch in order] != [[index for index, *_ in batch] for batch in first]


def cached_volume(folder: Path, mask: np.ndarray, slices: bool) -> Cached:  # type: ignore[type-arg]
    """A cached case as `fill` leaves it; its image says where each voxel lies."""
    found = np.argwhere(mask)
    numbers = found[:, :1] if slices else np.zeros((len(found), 1))
    places = np.concatenate([numbers, mask[mask > 0][:, None], found[:, 1:] if slices else found], axis=1)
    image = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    np.save(folder / "image.npy", image[:, None] if slices else image[None])
    np.save(folder / "mask.npy", mask.astype(np.int32))
    np.save(folder / "places.npy", places.astype(np.int32))
    geometry = Geometry(mask.shape, mask.shape, mask.shape, (0,) * mask.ndim, 0 if slices else None)
    return Cached(Case("a", "a"), *(folder / f"{name}.npy" for name in ("image", "mask", "places")), geometry)


def test_patches_around_the_foreground_hold_it_and_each_class_as_often(tmp_path: Path) -> None:
    mask = np.zeros((20, 20, 20), int)
    mask[2:12, 2:12, 2:12] = 1  # 1000 voxels
    mask[18, 18, 18] = 2  # one
    items = TrainingItems([cached_volume(tmp_path, mask, slices=False)], (4, 4, 4), seed=0, foreground=1.0)
    found = [items[0, epoch, 0][0] for epoch in range(200)]
    assert all(read is not None and read[0].shape == (1, 4, 4, 4) and read[1].any() for read in found)
    rare = sum(bool((read[1] == 2).any()) for read in found if read is not None)
    assert 70 <= rare <= 130  # half of them: binomial, 200 draws, beyond four standard deviations on either side
    images = {read[0].tobytes() for read in found if read is not None and (read[1] == 2).any()}
    assert len(images) > 5  # the voxel lies at any place of its patch
    none = TrainingItems(items.items and [items.items[0][0]], (4, 4, 4), seed=0)
    assert sum(not none[0, epoch, 0][0][1].any() for epoch in range(200)) > 60  # type: ignore[index]


def test_slices_are_drawn_by_class_for_the_share_that_is_asked(tmp_path: Path) -> None:
    mask = np.zeros((40, 6, 6), int)
    mask[0:10, 1, 1] = 1
    mask[10, 2, 2] = 2
    items = TrainingItems([cached_volume(tmp_path, mask, slices=True)], None, seed=0)
    assert items.pools(3) == [list(range(10)), [10]]
    order, drawn = Order(len(items), 8, 0, items.pools(3), foreground=0.5), []
    for epoch in range(50):
        order.epoch = epoch
        drawn += [index for batch in order for index, *_ in batch]
    assert len(drawn) == 50 * 40
    # by hand: half from the pools, of these each class half; the other half from all 40 slices
    assert abs(sum(index == 10 for index in drawn) / 2000 - (0.25 + 0.5 / 40)) < 0.05
    assert abs(sum(index < 10 for index in drawn) / 2000 - (0.25 + 0.5 * 10 / 40)) < 0.05
    order.epoch = 1
    names = [items[index][0][2] for batch in order for index in batch]  # type: ignore[index]
    assert len(set(names)) == len(names) == 40  # what is drawn again is augmented in another way
    assert sorted(index for batch in Order(40, 8, 0, items.pools(3)) for index, *_ in batch) == list(range(40))


def test_a_batch_travels_without_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(torch.ones(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int32), ("a", "b"), (), (0, 1))

    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    again = pickle.loads(pickle.dumps(batch))
    assert torch.equal(again.images, batch.images) and torch.equal(again.masks, batch.masks)
    assert (again.ids, again.cases) == (batch.ids, batch.cases)


def test_readers_that_give_nothing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(self: Cached) -> None:
        time.sleep(5)

    items = TrainingItems([cached_volume(tmp_path, np.ones((4, 4, 4), int), slices=False)], None, seed=0)
    monkeypatch.setattr(Cached, "load", sleep)
    monkeypatch.setattr("segkit.training.loader.PATIENCE", 1)
    batches = loader(items, Order(1, 1, 0), workers=1, pin=False)
    with pytest.raises(RuntimeError) as error:
        next(iter(batches))
    found = dead_worker(error.value, items)
    assert found is not None and "gave no batch within 1 s. They began a last" in found.message
    assert "--workers 0" in found.hint and "/dev/shm" in found.hint


def test_a_wait_without_end_hears_a_signal() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with Stop() as stop:
            with pytest.raises(InterruptedWaitError), stop.interruptible():
                signal.raise_signal(number)
            assert stop.code == 128 + number
            with pytest.raises(InterruptedWaitError), stop.interruptible():
                pytest.fail("a stop that came before ends the next wait")


def test_without_room_for_the_readers_locks_this_process_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    items = TrainingItems([cached_volume(tmp_path, np.ones((4, 4, 4), int), slices=False)], None, seed=0)
    monkeypatch.setattr("segkit.training.loader.multiprocessing.Queue", full)
    assert loader(items, Order(1, 1, 0), workers=2, pin=False).num_workers == 0
