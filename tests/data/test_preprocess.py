"""Forward, then inverse, gives the geometry back for any size; what was inside lands where it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.data import preprocess
from segkit.data.preprocess import geometry_of, inverse
from segkit.errors import SegkitError
from segkit.settings import Preprocess


def forward_image(image: np.ndarray, settings: Preprocess) -> np.ndarray:  # type: ignore[type-arg]
    return preprocess.forward_image(image, settings, geometry_of(image.shape[1:], settings))


def forward_mask(mask: np.ndarray, settings: Preprocess) -> np.ndarray:  # type: ignore[type-arg]
    return preprocess.forward_mask(mask, geometry_of(mask.shape[-2:], settings))


FRAMES = st.sampled_from([None, 1.0, 0.7, (0.5, 0.9)])
FITS = st.sampled_from(["stretch", "pad", "crop"])
SIDE = st.integers(1, 70)
SIZES = st.tuples(SIDE, SIDE)


def settings_of(
    fit: str, size: tuple[int, int], intensity: str = "none", frame: float | tuple[float, ...] | None = None
) -> Preprocess:
    return Preprocess(fit, size, frame=frame, intensity=intensity)  # type: ignore[arg-type]


@given(FITS, SIZES, SIZES, FRAMES)
def test_shapes_go_there_and_back(
    fit: str, source: tuple[int, int], target: tuple[int, int], frame: float | tuple[float, ...] | None
) -> None:
    settings = settings_of(fit, target, frame=frame)
    image = forward_image(np.zeros((3, *source), np.uint8), settings)
    assert (image.shape, image.dtype) == ((3, *target), np.float32)
    assert forward_mask(np.zeros(source, np.int32), settings).shape == target
    assert forward_mask(np.zeros((2, *source), np.int32), settings).shape == (2, *target)
    back = inverse(image, geometry_of(source, settings), np.zeros(3, np.float32))
    assert (back.shape, back.dtype) == ((3, *source), np.float32)


@given(FITS, SIZES, SIZES, st.floats(0, 1, width=32), FRAMES)
def test_a_constant_stays_constant(
    fit: str, source: tuple[int, int], target: tuple[int, int], value: float, frame: float | tuple[float, ...] | None
) -> None:
    settings = settings_of(fit, target, frame=frame)
    there = forward_image(np.full((1, *source), value, np.float32), settings)
    back = inverse(there, geometry_of(source, settings), np.full(1, value, np.float32))
    assert back == pytest.approx(value, abs=1e-5)


@given(SIZES, st.integers(0, 40), st.integers(0, 40))
def test_without_scaling_nothing_that_fits_is_lost(source: tuple[int, int], more: int, wider: int) -> None:
    image = np.random.default_rng(0).random((2, *source), np.float32)
    settings = settings_of("crop", (source[0] + more, source[1] + wider))
    back = inverse(forward_image(image, settings), geometry_of(source, settings), np.zeros(2, np.float32))
    assert np.array_equal(back, image)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
def test_a_frame_shows_the_middle_and_what_lies_beyond_comes_back_as_background(fit: str) -> None:
    """40 x 80, of which the middle 50 % x 75 % are seen, 20 x 60 pixels at half their size."""
    image = np.random.default_rng(0).random((1, 40, 80), np.float32)
    settings = settings_of(fit, (10, 30), frame=(0.5, 0.75))
    geometry = geometry_of((40, 80), settings)
    there = preprocess.forward_image(image, settings, geometry)
    assert there == pytest.approx(image[:, 10:30, 10:70].reshape(1, 10, 2, 30, 2).mean((2, 4)), abs=1e-5)
    back = inverse(np.ones((1, 10, 30), np.float32), geometry, np.zeros(1, np.float32))[0]
    assert (back[11:29, 11:69] == 1).all() and not back[:9].any() and not back[:, :9].any() and not back[31:].any()
    mask = np.zeros((40, 80), np.int64)
    mask[20, 40] = 1
    assert not preprocess.reaches_cut(mask, geometry)
    mask[29, 40] = 1  # the last row that is seen
    assert preprocess.reaches_cut(mask, geometry)


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


def test_an_axis_that_shrinks_is_averaged_though_the_other_grows() -> None:
    image = np.zeros((1, 2000, 100), np.float32)
    image[:, ::10] = 1
    for width in (100, 200):
        shrunk = forward_image(image[:, :, :width], settings_of("stretch", (128, 128)))
        assert shrunk.mean() == pytest.approx(0.1, abs=2e-3) and shrunk.max() < 0.3


# volumes

VOLUMES = st.tuples(*[st.integers(1, 24)] * 3)
SPACINGS = st.none() | st.tuples(*[st.floats(0.3, 5)] * 3)


@given(
    st.sampled_from(["stretch", "pad", "crop", "native", "patch"]),
    VOLUMES,
    VOLUMES,
    st.sampled_from([2, 3]),
    st.sampled_from([None, 0, 1, 2]),
    SPACINGS,
    st.booleans(),
)
def test_volumes_go_there_and_back(fit, source, target, dims, axis, spacing, resample) -> None:  # type: ignore[no-untyped-def]
    wanted = (1.0, 2.0, 1.5) if resample and spacing else None
    settings = Preprocess(fit, target[:dims], wanted, slice_axis=axis, intensity="none")
    geometry = geometry_of(source, settings, dims, spacing)
    image = preprocess.forward_image(np.ones((2, *source), np.float32), settings, geometry)
    assert image.shape[1:] == geometry.target == preprocess.forward_mask(np.ones(source, np.int32), geometry).shape
    if dims == 2:
        assert geometry.slice_axis is not None and axis in (None, geometry.slice_axis)
        assert geometry.target[geometry.slice_axis] == source[geometry.slice_axis]
        slices = preprocess.to_slices(image, geometry.slice_axis, lead=1)
        assert len(slices) == source[geometry.slice_axis] and slices.shape[1] == 2
        assert np.array_equal(preprocess.from_slices(slices, geometry.slice_axis, lead=1), image)
    back = inverse(np.ones((2, *geometry.target), np.float32), geometry, np.ones(2, np.float32))
    assert back.shape == (2, *source) and back == pytest.approx(1, abs=1e-5)


@given(VOLUMES)
def test_a_native_volume_comes_back_voxel_by_voxel(source: tuple[int, int, int]) -> None:
    settings = Preprocess("native", intensity="none")
    volume = np.random.default_rng(0).random((1, *source), np.float32)
    geometry = geometry_of(source, settings, 3)
    assert np.array_equal(
        inverse(preprocess.forward_image(volume, settings, geometry), geometry, np.zeros(1, np.float32)), volume
    )


def test_resampling_to_a_spacing_gives_the_physical_size() -> None:
    settings = Preprocess("native", spacing=(1.0, 1.0, 5.0), intensity="none")
    assert geometry_of((100, 80, 10), settings, 3, (0.7, 1.5, 10.0)).target == (70, 120, 20)
    with pytest.raises(SegkitError, match="the spacing of this image is not known"):
        geometry_of((100, 80, 10), settings, 3, None)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((1.0, 1.0, 5.0), 2),
        ((1.02, 1.0, 1.0), 2),
        ((0.98, 1.0, 0.98), 2),
        ((6.0, 1.0, 1.0), 0),
        ((1.0, 1.0, 1.0), 2),
        (None, 2),
        ((1.0, 3.0, 3.0), 2),
    ],
)
def test_slices_are_taken_along_the_axis_of_largest_spacing_else_the_last(spacing, axis: int) -> None:  # type: ignore[no-untyped-def]
    assert geometry_of((4, 5, 6), Preprocess("stretch", (8, 8)), 2, spacing).slice_axis == axis


def test_a_volume_is_resized_as_torch_does_it() -> None:
    volume = np.random.default_rng(0).random((2, 5, 6, 7), np.float32)
    settings = Preprocess("stretch", (10, 9, 14), intensity="none")
    ours = preprocess.forward_image(volume, settings, geometry_of((5, 6, 7), settings, 3))
    theirs = torch.nn.functional.interpolate(torch.from_numpy(volume)[None], (10, 9, 14), mode="trilinear")[0].numpy()
    assert np.allclose(ours, theirs, atol=1e-5)


def test_intensities_are_taken_over_the_case_or_each_slice() -> None:
    volume = np.random.default_rng(0).random((2, 6, 7, 4), np.float32) * np.array([1, 2, 3, 4], np.float32)
    for per, over in (("case", (1, 2, 3)), ("slice", (1, 2))):
        settings = Preprocess("native", slice_axis=2, intensity="max", intensity_per=per)  # type: ignore[arg-type]
        scaled = preprocess.forward_image(volume, settings, geometry_of((6, 7, 4), settings, 2))
        assert scaled.max(axis=over) == pytest.approx(1)
    settings = Preprocess("native", intensity="percentile")
    clipped = preprocess.forward_image(volume, settings, geometry_of((6, 7, 4), settings, 3))
    low, high = np.percentile(volume[0], (0.5, 99.5))
    assert clipped[0] == pytest.approx((np.clip(volume[0], low, high) - low) / (high - low), abs=1e-4)


def test_a_flat_volume_is_cut_along_its_flat_axis() -> None:
    settings = Preprocess("stretch", (32, 32))
    assert geometry_of((24, 24, 1), settings, 2, (2.0, 1.0, 1.0)).target == (32, 32, 1)


@pytest.mark.parametrize(("spacing", "axis"), [((1.0, 1.0, 5.0), 2), ((6.0, 1.0, 1.0), 0), (None, 2)])
def test_slices_are_normalised_alike_for_networks_that_see_volumes_and_slices(spacing, axis: int) -> None:  # type: ignore[no-untyped-def]
    volume = np.random.default_rng(0).random((2, 6, 7, 4)).astype(np.float32) * np.arange(1, 7)[None, :, None, None]
    settings = Preprocess("native", intensity="zscore", intensity_per="slice")
    over = tuple(ax + 1 for ax in range(3) if ax != axis)
    expected = (volume - volume.mean(over, keepdims=True)) / volume.std(over, keepdims=True)
    for dims in (2, 3):
        geometry = geometry_of((6, 7, 4), settings, dims, spacing)
        intensity = preprocess.normalisation_of(volume, settings, spacing)
        assert np.allclose(preprocess.forward_image(volume, settings, geometry, intensity), expected, atol=1e-4)
