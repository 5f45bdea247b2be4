"""Flips, rotation, scaling and bending are one resampling, and the one that NumPy and SciPy would do."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import NdBSpline
from scipy.spatial.transform import Rotation

from segkit.settings import Augment
from segkit.training.augmentation.spatial import Warp, warp

Floats = NDArray[np.float64]

POINTS = 6
SETTINGS = Augment("none", rotate=15.0, elastic_grid=POINTS)
SIZES = {2: (31, 46), 3: (15, 12, 21)}
angle = st.floats(-math.pi, math.pi)


def still(dims: int, **changes: Any) -> Warp:
    """A warp that moves nothing but what is said."""
    return dataclasses.replace(Warp((False,) * dims, (0.0,) * (1 if dims == 2 else 3)), **changes)


@st.composite
def warps(draw: st.DrawFn, dims: int) -> Warp:
    flips = tuple(draw(st.booleans()) for _ in range(dims))
    angles = tuple(draw(angle) for _ in range(1 if dims == 2 else 3))
    bends = np.random.default_rng(draw(st.integers(0, 1000))).uniform(-0.1, 0.1, (POINTS,) * dims + (dims,))
    return Warp(flips, angles, draw(st.floats(0.5, 2)), bends)


def coordinates(drawn: Warp, size: tuple[int, ...]) -> Floats:
    """Where each voxel comes from, (dims, *S): by SciPy's rotations and B-splines."""
    dims, centre = len(size), (np.array(size) - 1) / 2
    if dims == 2:
        cosine, sine = math.cos(drawn.angles[0]), math.sin(drawn.angles[0])
        rotation = np.array([[cosine, sine], [-sine, cosine]])
    else:
        rotation = Rotation.from_euler("XYZ", np.array([-1, 1, -1]) * drawn.angles).as_matrix()
    places = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) - centre
    found = places @ (rotation / drawn.scale).T * np.where(drawn.flips, -1, 1) + centre
    if drawn.bends is not None:
        pieces = POINTS - 3
        along = [(np.arange(side) + 0.5) / side * pieces for side in size]
        spline = NdBSpline((np.arange(POINTS + 4.0) - 3,) * dims, drawn.bends, k=3)
        found = found + spline(np.stack(np.meshgrid(*along, indexing="ij"), -1)) * np.array(size)
    return np.moveaxis(found, -1, 0)


def positions(dims: int, bends: Floats | None) -> NDArray[Any]:
    """Where bending alone takes each voxel from, (*S, dims), each axis from -1 to 1; not-a-number outside of the image.

    Seen from outside: what an image of its own coordinates becomes, and a mask of ones tells what came from within.
    """
    points, size = POINTS if bends is None else len(bends), SIZES[dims]
    own = np.stack(np.meshgrid(*[(2 * np.arange(side) + 1) / side - 1 for side in size], indexing="ij"))
    layers = torch.from_numpy(np.concatenate([own, np.ones((1, *size))]))[None]
    moved = warp(
        layers,
        torch.zeros(1, *size),
        [still(dims, bends=bends, scale=1 + 1e-12)],
        dataclasses.replace(SETTINGS, elastic_grid=points),
    )[0][0].numpy()
    within = np.abs(moved[-1] - 1) < 1e-6
    return np.moveaxis(np.where(within, moved[:-1], np.nan), 0, -1)


def smooth(size: tuple[int, ...]) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(np.random.default_rng(0).random(size), 2).astype(np.float32)


@pytest.mark.parametrize("dims", [2, 3])
@given(data=st.data())
def test_the_composition_is_one_map_coordinates_of_scipy(dims: int, data: st.DataObject) -> None:
    drawn, size = data.draw(warps(dims)), SIZES[dims]
    image = smooth(size)
    mask = (image > image.mean()).astype(np.int32) + (image > np.percentile(image, 80))
    moved, labels = warp(torch.from_numpy(image)[None, None], torch.from_numpy(mask)[None], [drawn], SETTINGS)
    places = coordinates(drawn, size)
    expected = ndimage.map_coordinates(image, places, order=1, mode="grid-constant")
    np.testing.assert_allclose(moved[0, 0].numpy(), expected, atol=1e-4)
    nearest = ndimage.map_coordinates(mask, places, order=0, mode="grid-constant")
    assert (labels[0].numpy() == nearest).mean() > 0.99  # but for ties


@pytest.mark.parametrize("degrees", [-15.0, 7.5, 90.0])
def test_a_rotation_is_scipys_rotation_also_on_oblong_images(degrees: float) -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((41, 61)), 3).astype(np.float32)
    drawn = still(2, angles=(math.radians(degrees),))
    moved, _ = warp(torch.from_numpy(image)[None, None], torch.zeros(1, 41, 61), [drawn], SETTINGS)
    expected = ndimage.rotate(image, degrees, reshape=False, order=1)
    inner = np.s_[12:-12, 12:-12]
    np.testing.assert_allclose(moved[0, 0].numpy()[inner], expected[inner], atol=2e-3)


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_scale_multiplies_areas_by_its_square_and_volumes_by_its_cube(factor: float) -> None:
    for dims in (2, 3):
        places = np.stack(np.meshgrid(*[np.arange(64) - 31.5] * dims, indexing="ij"))
        ball = torch.from_numpy((np.square(places).sum(0) < 20**2).astype(np.int32))[None]
        labels = warp(ball[:, None].float(), ball, [still(dims, scale=factor)], SETTINGS)[1]
        assert labels.sum().item() / ball.sum().item() == pytest.approx(factor**dims, rel=0.02)


@pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True), (True, False, True), (False, False, False)])
def test_flips_alone_are_numpys_flips_to_the_bit(flips: tuple[bool, ...]) -> None:
    dims = len(flips)
    image = np.random.default_rng(0).random((2, *SIZES[dims])).astype(np.float32)
    mask = (image[0] > 0.5).astype(np.int32)
    drawn = still(dims, flips=flips)
    moved, labels = warp(torch.from_numpy(image)[None], torch.from_numpy(mask)[None], [drawn], SETTINGS)
    axes = [axis for axis, flip in enumerate(flips) if flip]
    assert np.array_equal(moved[0].numpy(), np.flip(image, [axis + 1 for axis in axes]))
    assert np.array_equal(labels[0].numpy(), np.flip(mask, axes))


@given(seed=st.integers(0, 1000), share=st.floats(0.001, 0.5), points=st.integers(4, 12), dims=st.sampled_from([2, 3]))
def test_no_voxel_is_displaced_further_than_the_control_points(seed: int, share: float, points: int, dims: int) -> None:
    bends = np.random.default_rng(seed).uniform(-share, share, (points,) * dims + (dims,))
    own, moved, whole = (positions(dims, by) for by in (None, bends, np.full_like(bends, share)))
    assert not np.isnan(moved).all() and not np.isnan(whole).all()
    assert np.nanmax(np.abs(moved - own)) / 2 <= share + 1e-6  # a side is 2 long
    shifts = (whole - own)[~np.isnan(whole - own)] / 2
    np.testing.assert_allclose(shifts, share, atol=1e-6)  # all together go as far as they do


def test_below_the_bound_of_choi_and_lee_nothing_folds() -> None:
    points = 7
    for seed in range(20):
        bends = np.random.default_rng(seed).choice([-1.0, 1.0], (points, points, 2)) * 0.48 / (points - 3)
        rows, columns = (np.gradient(axis) for axis in np.moveaxis(positions(2, bends), -1, 0))
        assert np.nanmin(rows[0] * columns[1] - rows[1] * columns[0]) > 0


@pytest.mark.parametrize("label", [255, -100, 2**20])
def test_ignored_labels_are_carried_and_background_comes_from_outside(label: int) -> None:
    mask = torch.full((1, 32, 32), label, dtype=torch.int32)
    turned = still(2, angles=(math.pi / 4,))
    moved, labels = warp(torch.ones(1, 1, 32, 32), mask, [turned], SETTINGS)
    assert set(labels.unique().tolist()) == {0, label}
    assert labels[0, 0, 0] == 0 and moved[0, 0, 0, 0] == 0 and labels[0, 16, 16] == label


def test_only_those_that_move_are_resampled() -> None:
    images, masks = torch.rand(3, 1, 16, 16), torch.randint(0, 2, (3, 16, 16))
    flipped, turned = still(2, flips=(False, True)), still(2, angles=(0.3,))
    moved, labels = warp(images, masks, [still(2), flipped, turned], SETTINGS)
    assert torch.equal(moved[0], images[0]) and torch.equal(labels[0], masks[0])
    assert torch.equal(moved[1], images[1].flip(-1)) and torch.equal(labels[1], masks[1].flip(-1))
    assert torch.equal(moved[2:], warp(images[2:], masks[2:], [turned], SETTINGS)[0])
