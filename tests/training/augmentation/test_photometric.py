"""Intensities change by the stated amounts, against each channel's own mean, deviation and range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from segkit.settings import Augment
from segkit.training.augmentation.photometric import Tone, adjust

EVERYTHING = Tone(brightness=0.2, contrast=1.2, gamma=0.8, noise=0.1, blur=0.7, seed=5)


SETTINGS = Augment("none", brightness=1.0, contrast=1.0, gamma=1.0, noise=1.0, blur=3.0)


def changed(image: torch.Tensor, tone: Tone) -> torch.Tensor:
    return changed_together([image], [tone])[0]


def changed_together(images: Sequence[torch.Tensor], tones: Sequence[Tone]) -> torch.Tensor:
    batch = torch.stack(list(images))
    adjust(batch, tones, SETTINGS, seed=1)
    return batch


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[None, None]


def test_brightness_adds_a_share_of_the_standard_deviation() -> None:
    assert changed(values(1, 3, 1, 3), Tone(brightness=0.5))[0, 0].tolist() == [1.5, 3.5, 1.5, 3.5]  # it is 1


def test_contrast_multiplies_the_distance_from_the_mean() -> None:
    assert changed(values(0, 2, 4, 10), Tone(contrast=1.5))[0, 0].tolist() == [-2, 1, 4, 13]  # it is 4


def test_gamma_bends_between_the_smallest_and_the_largest_value() -> None:
    bent = changed(values(-2, 0, 2, 6), Tone(gamma=2.0))
    assert bent[0, 0].tolist() == pytest.approx([-2, -1.5, 0, 6])  # 0, 1/16, 1/4 and 1 of 8


def test_noise_has_the_stated_share_of_the_standard_deviation_of_its_channel() -> None:
    image = torch.randn(2, 200, 200, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0])[:, None, None]
    noise = changed(image, Tone(noise=0.2, seed=1)) - image
    assert (noise.std((1, 2)) / image.std((1, 2))).tolist() == pytest.approx([0.2, 0.2], rel=0.02)
    assert (noise.mean((1, 2)) / image.std((1, 2))).tolist() == pytest.approx([0, 0], abs=0.004)  # four standard errors
    assert not torch.equal(changed(image, Tone(noise=0.2, seed=2)) - image, noise)


@pytest.mark.parametrize("size", [(24, 31), (9, 14, 11)])
@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.3])
def test_a_blur_is_scipys_gaussian_filter(size: tuple[int, ...], sigma: float) -> None:
    image = np.random.default_rng(0).random((2, *size))
    expected = [ndimage.gaussian_filter(channel, sigma, mode="nearest", truncate=3.0) for channel in image]
    np.testing.assert_allclose(changed(torch.from_numpy(image), Tone(blur=sigma)).numpy(), expected, atol=1e-12)


@given(shift=st.floats(-100, 100), scale=st.floats(0.01, 100), dims=st.sampled_from([2, 3]))
def test_a_change_means_the_same_after_any_normalisation(shift: float, scale: float, dims: int) -> None:
    image = torch.rand(2, *(8,) * dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = (changed(image * scale + shift, EVERYTHING) - shift) / scale
    assert torch.allclose(ours, changed(image, EVERYTHING), atol=1e-6)


@given(value=st.floats(-1000, 1000, width=32))
def test_a_constant_image_stays_as_it_is(value: float) -> None:
    image = torch.full((1, 12, 12), value)
    assert torch.allclose(changed(image, EVERYTHING), image, rtol=1e-5)


def test_nothing_asked_is_nothing_done_and_the_type_stays() -> None:
    for dtype in (torch.float32, torch.float64):
        image = torch.rand(3, 8, 8, dtype=dtype)
        assert torch.equal(changed(image, Tone()), image)
        assert changed(image, EVERYTHING).dtype == dtype


def test_in_a_batch_each_case_gets_its_own_and_those_left_alone_keep_every_bit() -> None:
    for size in ((24, 31), (9, 14, 11)):
        images = torch.rand(5, 2, *size, generator=torch.Generator().manual_seed(0))
        tones = [EVERYTHING, Tone(), Tone(blur=2.3), Tone(noise=0.3, seed=8), Tone(contrast=0.7, gamma=1.3, blur=0.2)]
        together = changed_together(list(images), tones)
        assert torch.equal(together[1], images[1])
        for image, tone, own in zip(images, tones, together, strict=True):
            assert torch.allclose(changed(image, tone), own, atol=1e-5)


def test_a_constant_channel_stays_as_it_is_beside_others() -> None:
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    image[1] = 7.0
    batch = changed_together([image, image], [EVERYTHING, Tone(noise=1.0, blur=3.0, seed=3)])
    assert torch.allclose(batch[:, 1], image[1].expand(2, -1, -1), rtol=1e-5) and not torch.allclose(batch[:, 0], image[:1])


def test_noise_is_normal_and_another_in_each_case_and_channel() -> None:
    image = torch.randn(2, 100, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tones = [Tone(noise=1.0, seed=seed) for seed in (1, 5000)]
    noise = (changed_together([image, image], tones) - image).flatten(2).flatten(0, 1)
    assert (noise.abs() < image.flatten(1).std(1).repeat(2)[:, None]).double().mean(1).tolist() == pytest.approx(
        [0.6827] * 4,
        abs=0.019,  # four standard errors
    )
    assert np.abs(np.corrcoef(noise) - np.eye(4)).max() < 0.04
