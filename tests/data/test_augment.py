"""Augmentation moves image and mask together, by the drawn amount, reproducibly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from segkit.data import augment as module
from segkit.data.augment import augment
from segkit.settings import Augment

STANDARD = Augment("standard", 0.5, 15.0)


def shapes(height: int = 40, width: int = 56) -> tuple[torch.Tensor, torch.Tensor]:
    masks = torch.zeros(6, height, width, dtype=torch.int32)
    masks[:, 10:22, 14:40] = 1
    masks[:, 14:18, 30:38] = 2
    return masks[:, None].float(), masks


def test_image_and_mask_move_together() -> None:
    images, masks = shapes()
    moved, labels = augment(images, masks, STANDARD, seed=3, epoch=1, ids=list("abcdef"))
    assert not torch.equal(moved, images)
    assert labels.dtype == masks.dtype and set(labels.unique().tolist()) <= {0, 1, 2}
    assert (moved[:, 0].round() == labels).float().mean() > 0.97  # only the soft edges differ


def test_the_same_case_gets_the_same_change_in_any_batch() -> None:
    images, masks = shapes()
    together = augment(images, masks, STANDARD, 0, 5, list("abcdef"))[0]
    alone = augment(images[2:3], masks[2:3], STANDARD, 0, 5, ["c"])[0]
    assert torch.equal(together[2:3], alone)
    assert not torch.equal(augment(images, masks, STANDARD, 0, 6, list("abcdef"))[0], together)
    assert not torch.equal(augment(images, masks, STANDARD, 1, 5, list("abcdef"))[0], together)


@pytest.mark.parametrize(("rows", "columns"), [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_a_flip_is_numpys_flip(monkeypatch: pytest.MonkeyPatch, rows: float, columns: float) -> None:
    monkeypatch.setattr(module, "_draw", lambda settings, key, dims: (np.array([rows, columns]), np.zeros(1)))
    image = torch.rand(1, 3, 7, 10)
    axes = [axis for axis, sign in ((2, rows), (3, columns)) if sign < 0]
    moved, _ = augment(image, torch.zeros(1, 7, 10, dtype=torch.int32), STANDARD, 0, 0, ["a"])
    assert torch.allclose(moved, image.flip(axes), atol=1e-5)


@pytest.mark.parametrize("degrees", [-15.0, 7.5, 90.0])
def test_a_rotation_is_scipys_rotation_also_on_oblong_images(monkeypatch: pytest.MonkeyPatch, degrees: float) -> None:
    monkeypatch.setattr(module, "_draw", lambda settings, key, dims: (np.ones(2), np.deg2rad([degrees])))
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).random((41, 61)), 3).astype(np.float32)
    moved, _ = augment(torch.from_numpy(smooth)[None, None], torch.zeros(1, 41, 61), STANDARD, 0, 0, ["a"])
    expected = ndimage.rotate(smooth, degrees, reshape=False, order=1)
    inner = np.s_[12:-12, 12:-12]
    ours = moved[0, 0].numpy()[inner]
    agreement = [
        np.abs(ours - candidate[inner]).max()
        for candidate in (expected, ndimage.rotate(smooth, -degrees, reshape=False, order=1))
    ]
    assert min(agreement) < 2e-3 < max(agreement)  # the sense of rotation is a convention, its amount is not


def test_none_changes_nothing() -> None:
    images, masks = shapes()
    moved, labels = augment(images, masks, Augment("none", 0.0, 0.0), 0, 0, list("abcdef"))
    assert moved is images and labels is masks


def test_layers_of_multilabel_masks_move_alike() -> None:
    images, masks = shapes()
    layers = torch.stack([masks == 1, masks == 2], dim=1).int()
    labels = augment(images, masks, STANDARD, 0, 1, list("abcdef"))[1]
    moved = augment(images, layers, STANDARD, 0, 1, list("abcdef"))[1]
    assert torch.equal(moved[:, 1], (labels == 2).int())


def test_flips_happen_about_as_often_as_asked() -> None:
    draws = np.array([module._draw(Augment("light", 0.3, 0.0), f"0/0/{index}", 2)[0] for index in range(2000)])
    assert (draws < 0).mean(axis=0) == pytest.approx([0.3, 0.3], abs=0.04)  # four standard errors


def test_volumes_are_flipped_along_every_axis_and_turned_with_their_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = torch.rand(1, 2, 6, 7, 8)
    masks = (volume[:, 0] > 0.5).int()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_draw", lambda settings, key, dims: (np.array([-1.0, 1.0, -1.0]), np.zeros(3)))
        moved, labels = augment(volume, masks, STANDARD, 0, 0, ["a"])
        assert torch.allclose(moved, volume.flip([2, 4]), atol=1e-5) and torch.equal(labels, masks.flip([1, 3]))
    boxes = torch.zeros(4, 20, 24, 16, dtype=torch.int32)
    boxes[:, 5:15, 6:18, 4:12] = 1
    moved, labels = augment(boxes[:, None].float(), boxes, STANDARD, 0, 0, list("abcd"))
    assert (moved[:, 0].round() == labels).float().mean() > 0.97
    assert int(labels.sum()) == pytest.approx(int(boxes.sum()), rel=0.1)
