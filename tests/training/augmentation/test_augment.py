"""Augmentation changes image and mask together, within its bounds, reproducibly; 2D and 3D alike."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.settings import AUGMENT_POLICIES, AUGMENT_STRENGTHS, Augment
from segkit.training.augmentation.augment import augment, draw

STANDARD = Augment("standard", **AUGMENT_POLICIES["standard"])  # type: ignore[arg-type]
ALWAYS = dataclasses.replace(STANDARD, chance=1.0)
LIGHT = Augment("light", **AUGMENT_POLICIES["light"])  # type: ignore[arg-type]
SPATIAL = dataclasses.replace(ALWAYS, brightness=0.0, contrast=0.0, gamma=0.0, noise=0.0, blur=0.0)
IDS = list("abcdef")


def shapes(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Six equal masks of a box in a box, and images of their values."""
    masks = torch.zeros(6, *(size or (40, 56)), dtype=torch.int32)
    masks[:, 10:22, 10:28] = 1
    masks[:, 14:18, 18:26] = 2
    return masks[:, None].float(), masks


@pytest.mark.parametrize("size", [(40, 56), (28, 40, 20)])
def test_image_and_mask_move_together(size: tuple[int, ...]) -> None:
    images, masks = shapes(*size)
    moved, labels = augment(images, masks, SPATIAL, seed=3, epoch=1, ids=IDS)
    assert not torch.equal(moved, images)
    assert labels.dtype == masks.dtype and labels.shape == masks.shape and set(labels.unique().tolist()) <= {0, 1, 2}
    assert (moved[:, 0].round() == labels).float().mean() > 0.97  # only the soft edges differ


@pytest.mark.parametrize("size", [(37, 51), (17, 22, 13)])
@pytest.mark.parametrize("settings", [STANDARD, ALWAYS])
@given(epoch=st.integers(0, 50), first=st.integers(0, 5), count=st.integers(1, 6))
def test_a_case_gets_the_same_change_in_any_batch(
    size: tuple[int, ...], settings: Augment, epoch: int, first: int, count: int
) -> None:
    images = torch.rand(6, 2, *size, generator=torch.Generator().manual_seed(epoch))
    masks = (images[:, 0] > 0.5).int()
    together = augment(images, masks, settings, 0, epoch, IDS)
    part = slice(first, first + count)
    moved, labels = augment(images[part], masks[part], settings, 0, epoch, IDS[part])
    assert torch.allclose(together[0][part], moved, atol=1e-4)
    assert (together[1][part] == labels).float().mean() > 0.999  # but for ties between two neighbours


def test_another_seed_or_epoch_or_case_is_another_change() -> None:
    images, masks = shapes()
    first = augment(images, masks, ALWAYS, 0, 5, IDS)[0]
    assert not torch.equal(augment(images, masks, ALWAYS, 0, 6, IDS)[0], first)
    assert not torch.equal(augment(images, masks, ALWAYS, 1, 5, IDS)[0], first)
    assert not torch.equal(first[0], first[1])


def test_the_global_random_states_are_neither_used_nor_moved() -> None:
    images, masks = shapes()
    torch.manual_seed(0)
    np.random.seed(0)
    first = augment(images, masks, ALWAYS, 0, 0, IDS)[0]
    drawn = torch.rand(3), np.random.random(3)
    torch.manual_seed(0)
    np.random.seed(0)
    assert torch.equal(torch.rand(3), drawn[0]) and np.array_equal(np.random.random(3), drawn[1])
    assert torch.equal(augment(images, masks, ALWAYS, 0, 0, IDS)[0], first)


def test_what_comes_in_is_left_alone_and_its_memory_layout_does_not_matter() -> None:
    images = torch.rand(6, 3, 32, 24)
    masks = (images[:, 0] > 0.5).int()
    before = images.clone(), masks.clone()
    moved, labels = augment(images, masks, STANDARD, 0, 0, IDS)
    assert torch.equal(images, before[0]) and torch.equal(masks, before[1])
    last = augment(images.contiguous(memory_format=torch.channels_last), masks, STANDARD, 0, 0, IDS)
    assert torch.equal(last[0], moved) and torch.equal(last[1], labels)


def test_without_strengths_nothing_changes() -> None:
    images, masks = shapes()
    none = Augment("none", chance=1.0, **AUGMENT_POLICIES["none"])  # type: ignore[arg-type]
    moved, labels = augment(images, masks, none, 0, 0, IDS)
    assert moved is images and labels is masks
    never = dataclasses.replace(STANDARD, flip=0.0, chance=0.0)
    moved, labels = augment(images, masks, never, 0, 0, IDS)
    assert torch.equal(moved, images) and torch.equal(labels, masks)


@pytest.mark.parametrize("name", AUGMENT_STRENGTHS)
def test_every_option_works_alone_and_those_of_intensity_leave_masks_alone(name: str) -> None:
    strengths = {**AUGMENT_POLICIES["none"], name: 0.5 if name not in ("rotate", "blur") else 15.0}
    alone = Augment("none", chance=1.0, **strengths)  # type: ignore[arg-type]
    images = torch.rand(6, 1, 40, 40)
    masks = (images[:, 0] > 0.5).int()
    moved, labels = augment(images, masks, alone, 0, 0, IDS)
    assert not torch.equal(moved, images) and torch.isfinite(moved).all()
    assert torch.equal(labels, masks) == (name in ("brightness", "contrast", "gamma", "noise", "blur"))


@given(
    key=st.text(max_size=8),
    dims=st.sampled_from([2, 3]),
    strengths=st.fixed_dictionaries({name: st.floats(0, 0.5) for name in AUGMENT_STRENGTHS}),
    rotate=st.floats(0, 180),
)
def test_what_is_drawn_stays_within_its_strength(key: str, dims: int, strengths: dict[str, float], rotate: float) -> None:
    settings = Augment("none", chance=1.0, **{**strengths, "rotate": rotate})  # type: ignore[arg-type]
    moved, tone = draw(settings, key, dims)
    assert len(moved.angles) == (1 if dims == 2 else 3)
    assert max(map(abs, moved.angles)) <= math.radians(rotate)
    for factor, name in ((moved.scale, "scale"), (tone.contrast, "contrast"), (tone.gamma, "gamma")):
        most = 1 + strengths[name]
        assert 1 / most * (1 - 1e-9) <= factor <= most * (1 + 1e-9)
    assert moved.bends is None or np.abs(moved.bends).max() <= strengths["elastic"]
    assert moved.bends is None or moved.bends.shape == (settings.elastic_grid,) * dims + (dims,)
    assert abs(tone.brightness) <= strengths["brightness"]
    assert 0 <= tone.noise <= strengths["noise"] and 0 <= tone.blur <= strengths["blur"]


def test_flips_and_changes_happen_as_often_as_asked() -> None:
    settings = dataclasses.replace(STANDARD, flip=0.4, chance=0.2)
    drawn = [draw(settings, f"0/0/{index}", 2) for index in range(2000)]
    assert np.mean([moved.flips for moved, _ in drawn], axis=0) == pytest.approx([0.4, 0.4], abs=0.045)  # four errors
    moves = [(moved.angles[0] != 0, moved.scale != 1, moved.bends is not None) for moved, _ in drawn]
    assert np.mean(moves, axis=0) == pytest.approx([0.2] * 3, abs=0.036)
    tones = [(tone.brightness != 0, tone.contrast != 1, tone.gamma != 1, tone.noise > 0, tone.blur > 0) for _, tone in drawn]
    assert np.mean(tones, axis=0) == pytest.approx([0.2] * 5, abs=0.036)
    assert np.mean([moved.scale > 1 for moved, _ in drawn if moved.scale != 1]) == pytest.approx(0.5, abs=0.1)


def test_flips_may_have_a_probability_of_their_own_along_each_axis() -> None:
    settings = dataclasses.replace(STANDARD, flip=(0.0, 0.3, 1.0))
    drawn = [draw(settings, f"0/0/{index}", 3) for index in range(2000)]
    assert np.mean([moved.flips for moved, _ in drawn], axis=0) == pytest.approx([0.0, 0.3, 1.0], abs=0.041)  # four errors
    one = dataclasses.replace(STANDARD, flip=0.3), dataclasses.replace(STANDARD, flip=(0.3,) * 3)
    for index in range(20):
        (same, tone), (moved, other) = (draw(one_each, str(index), 3) for one_each in one)
        assert (same.flips, same.angles, same.scale, tone) == (moved.flips, moved.angles, moved.scale, other)


@pytest.mark.parametrize("size", [(20, 24), (12, 10, 14)])
@pytest.mark.parametrize("settings", [STANDARD, ALWAYS, LIGHT])
def test_operator_calls_do_not_grow_with_the_batch(size: tuple[int, ...], settings: Augment) -> None:
    def calls(cases: int) -> int:
        images = torch.rand(cases, 2, *size)
        masks = (images[:, 0] > 0.5).int()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            augment(images, masks, settings, 0, 0, [str(case) for case in range(cases)])
        return sum(event.count for event in profiled.key_averages() if event.key.startswith("aten::"))

    few, many = calls(32), calls(96)  # in which each change is there
    assert many <= few * 1.1


def test_one_option_does_not_shift_what_the_others_draw() -> None:
    moved, tone = draw(ALWAYS, "a", 2)
    other, quiet = draw(dataclasses.replace(ALWAYS, noise=0.0, rotate=0.0, elastic=0.0), "a", 2)
    assert (moved.flips, moved.scale) == (other.flips, other.scale)
    assert dataclasses.replace(tone, noise=0.0) == quiet


def test_layers_of_multilabel_masks_move_alike() -> None:
    images, masks = shapes()
    layers = torch.stack([masks == 1, masks == 2], dim=1).int()
    for settings in (STANDARD, ALWAYS):
        labels = augment(images, masks, settings, 0, 1, IDS)[1]
        moved = augment(images, layers, settings, 0, 1, IDS)[1]
        assert torch.equal(moved[:, 0], (labels == 1).int()) and torch.equal(moved[:, 1], (labels == 2).int())


def test_constant_images_stay_finite() -> None:
    for size in ((16, 16), (8, 8, 8), (1, 1)):
        moved, _ = augment(torch.full((6, 2, *size), 3.0), torch.zeros(6, *size, dtype=torch.int32), ALWAYS, 0, 0, IDS)
        assert torch.isfinite(moved).all()
