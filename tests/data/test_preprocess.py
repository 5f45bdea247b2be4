"""Forward, then inverse, gives the geometry back for any size; what was inside lands where it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segkit.data.preprocess import forward_image, forward_mask, geometry_of, inverse
from segkit.errors import SegkitError
from segkit.settings import Preprocess

FITS = st.sampled_from(["stretch", "pad", "crop"])
SIDE = st.integers(1, 70)
SIZES = st.tuples(SIDE, SIDE)


def settings_of(fit: str, size: tuple[int, int], intensity: str = "none") -> Preprocess:
    return Preprocess(fit, size, intensity)  # type: ignore[arg-type]


@given(FITS, SIZES, SIZES)
def test_shapes_go_there_and_back(fit: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    settings = settings_of(fit, target)
    image = forward_image(np.zeros((3, *source), np.uint8), settings)
    assert (image.shape, image.dtype) == ((3, *target), np.float32)
    assert forward_mask(np.zeros(source, np.int32), settings).shape == target
    assert forward_mask(np.zeros((2, *source), np.int32), settings).shape == (2, *target)
    back = inverse(image, geometry_of(source, settings), np.zeros(3, np.float32))
    assert (back.shape, back.dtype) == ((3, *source), np.float32)


@given(FITS, SIZES, SIZES, st.floats(0, 1, width=32))
def test_a_constant_stays_constant(fit: str, source: tuple[int, int], target: tuple[int, int], value: float) -> None:
    settings = settings_of(fit, target)
    there = forward_image(np.full((1, *source), value, np.float32), settings)
    back = inverse(there, geometry_of(source, settings), np.full(1, value, np.float32))
    assert back == pytest.approx(value, abs=1e-5)


@given(SIZES, st.integers(0, 40), st.integers(0, 40))
def test_without_scaling_nothing_that_fits_is_lost(source: tuple[int, int], more: int, wider: int) -> None:
    image = np.random.default_rng(0).random((2, *source), np.float32)
    settings = settings_of("crop", (source[0] + more, source[1] + wider))
    back = inverse(forward_image(image, settings), geometry_of(source, settings), np.zeros(2, np.float32))
    assert np.array_equal(back, image)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 4))
def test_enlarging_by_a_whole_factor_is_undone_for_labels(height: int, width: int, factor: int) -> None:
    mask = np.random.default_rng(1).integers(0, 5, (height, width)).astype(np.int32)
    large = forward_mask(mask, settings_of("stretch", (height * factor, width * factor)))
    assert np.array_equal(large, np.kron(mask, np.ones((factor, factor), np.int32)))


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_image_and_mask_land_on_the_same_pixels(fit: str) -> None:
    mask = np.zeros((50, 80), np.int32)
    mask[10:30, 20:60] = 1
    settings = settings_of(fit, (64, 64))
    image = forward_image(mask[None].astype(np.float32), settings)[0] > 0.5
    assert (image != forward_mask(mask, settings)).mean() < 0.01


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_box_comes_back_to_where_it_was(fit: str) -> None:
    mask = np.zeros((123, 77), np.float32)
    mask[40:80, 10:50] = 1
    settings = settings_of(fit, (96, 96))
    back = inverse(forward_image(mask[None], settings), geometry_of(mask.shape, settings), np.zeros(1, np.float32))[0] > 0.5
    overlap = 2 * (back & (mask > 0)).sum() / (back.sum() + mask.sum())
    assert overlap > 0.98


def test_what_a_crop_never_saw_is_background() -> None:
    settings = settings_of("crop", (4, 4))
    background = np.array([1, 0], np.float32)
    back = inverse(np.full((2, 4, 4), 0.5, np.float32), geometry_of((8, 4), settings), background)
    assert (back[:, :2, 0] == background[:, None]).all() and (back[:, 2:6] == 0.5).all() and (back[0, 6:] == 1).all()


def test_pad_keeps_the_aspect_and_centres() -> None:
    geometry = geometry_of((100, 50), settings_of("pad", (64, 64)))
    assert (geometry.scaled, geometry.offset) == ((64, 32), (0, 16))


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_scale255_divides_by_the_full_scale_of_the_file(dtype: type, full: int) -> None:
    image = forward_image(np.full((1, 2, 2), full, dtype), settings_of("stretch", (2, 2), "scale255"))
    assert image.max() == image.min() == 1


def test_intensities_follow_their_definitions() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 9, 9)).astype(np.uint8)
    zscore = forward_image(image, settings_of("stretch", (9, 9), "zscore"))
    assert zscore.mean(axis=(1, 2)) == pytest.approx(0, abs=1e-5) and zscore.std(axis=(1, 2)) == pytest.approx(1, abs=1e-4)
    minmax = forward_image(image, settings_of("stretch", (9, 9), "minmax"))
    assert (minmax.min(), minmax.max()) == (0, 1)
    imagenet = forward_image(image, settings_of("stretch", (9, 9), "imagenet"))  # torchvision's documented constants
    assert imagenet[1, 2, 3] == pytest.approx((image[1, 2, 3] / 255 - 0.456) / 0.224, abs=1e-5)


def test_a_constant_image_does_not_divide_by_zero() -> None:
    for intensity in ("zscore", "minmax"):
        assert (forward_image(np.full((1, 3, 3), 7, np.uint8), settings_of("stretch", (3, 3), intensity)) == 0).all()


def test_imagenet_needs_three_channels() -> None:
    with pytest.raises(SegkitError, match="needs 3 channels, not 1"):
        forward_image(np.zeros((1, 3, 3), np.uint8), settings_of("stretch", (3, 3), "imagenet"))


def test_many_classes_are_resampled() -> None:  # cv2 takes four channels at a time
    probabilities = np.random.default_rng(0).random((9, 8, 8), np.float32)
    back = inverse(probabilities, geometry_of((16, 16), settings_of("stretch", (8, 8))), np.zeros(9, np.float32))
    single = inverse(probabilities[6:7], geometry_of((16, 16), settings_of("stretch", (8, 8))), np.zeros(1, np.float32))
    assert np.allclose(back[6], single[0])
