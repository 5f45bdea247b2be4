"""Windows, bands, ensembles and flips give what seeing the whole at once would."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import sliding_window_inference

from segkit.inference import network as network_module
from segkit.inference.network import Network, flipped
from segkit.inference.predictor import predict_images, predict_prepared, prepare_image
from segkit.inference.probabilities import labels_of
from segkit.inference.sliding_window import predict_windows, window_starts
from segkit.settings import Preprocess
from segkit.task import Task

BINARY = Task(1, ("background", "polyp"))
ORGANS = Task(1, ("background", "liver", "spleen"), mode="multiclass")
Array = np.ndarray


def uneven(images: Array) -> Array:
    """Something that depends on where in its window a pixel lies."""
    total = images.cumsum(axis=-1) + 0.3 * images.cumsum(axis=-2)
    return np.concatenate([total, -total], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "size"), [((20, 28), (8, 8)), ((12, 40), (8, 16)), ((12, 16, 20), (4, 8, 8)), ((7, 9), (8, 12))]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_blended_windows_are_monais_sliding_window(shape: tuple[int, ...], size: tuple[int, ...], axis: int) -> None:
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    theirs = sliding_window_inference(
        torch.from_numpy(image)[None],
        size,
        3,
        lambda part: torch.from_numpy(uneven(part.numpy())),
        overlap=0.5,
        mode="gaussian",
        sigma_scale=0.125,
        padding_mode="constant",
    )
    # where the image is smaller than the window MONAI pads both ends, we its end: there the oracle is the padded image
    if any(own < window for own, window in zip(shape, size, strict=True)):
        padded = np.pad(image, [(0, 0), *((0, window - own) for own, window in zip(shape, size, strict=True))])
        theirs = torch.from_numpy(uneven(padded[None])[(..., *(slice(own) for own in shape))])

    def crop(box: tuple[slice, ...]) -> Array:
        return image[(slice(None), *box)]

    bands = list(predict_windows(lambda parts: (uneven(part[None])[0] for part in parts), crop, shape, size, axis))
    assert [band[0] for band in bands] == [0, *(band[1] for band in bands[:-1])] and bands[-1][1] == shape[axis]
    ours = np.concatenate([band[2] for band in bands], axis + 1)
    np.testing.assert_allclose(ours, theirs[0].numpy(), rtol=1e-4, atol=1e-4)


@given(st.integers(1, 200), st.integers(1, 50))
def test_windows_cover_an_axis_and_overlap_by_half_at_least(own: int, window: int) -> None:
    found = window_starts(own, window)
    covered = {place for start in found for place in range(start, min(start + window, own))}
    assert covered == set(range(own)) and found[0] == 0 and found[-1] + window >= own
    assert all(after - before <= -(-window // 2) for before, after in itertools.pairwise(found))
    assert own < window or found[-1] + window == own


def copying(images: Array) -> Array:
    return images * 4


SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@given(
    SHAPES,
    st.sampled_from(["stretch", "pad", "crop", "native", "patch"]),
    st.integers(0, 9),
    st.sampled_from(["zscore", "percentile"]),
)
@settings(max_examples=80, deadline=None)
def test_bands_put_together_are_the_whole(shape: tuple[int, int], fit: str, seed: int, intensity: str) -> None:
    """Small limits, so that everything comes in bands, against no bands at all."""
    image = np.random.default_rng(seed).integers(0, 255, (1, *shape), dtype=np.uint8)
    record = Preprocess(fit, None if fit == "native" else (24, 16), intensity=intensity)  # type: ignore[arg-type]
    network = Network(copying, 2, BINARY, record)
    ((_, whole),) = predict_images([network], [(0, image, None)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("segkit.data.preprocess.BAND", 50)
        patch.setattr("segkit.data.preprocess.BLOCK", 60)
        patch.setattr(network_module, "WHOLE", {2: 400})
        patch.setattr(network_module, "TILE", {2: 16})
        ((_, found),) = predict_prepared([network], [(0, prepare_image([network], image, None))])
        bands = list(found.bands)
    assert [band[0] for band in bands] == [0, *(band[1] for band in bands[:-1])]
    assert bands[-1][1] == shape[0]
    np.testing.assert_allclose(np.concatenate([band[2] for band in bands], 1), whole, atol=2e-5)


def test_an_image_too_large_for_native_is_seen_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def forward(images: Array) -> Array:
        seen.append(images.shape)
        return copying(images)

    monkeypatch.setattr(network_module, "WHOLE", {2: 1000})
    monkeypatch.setattr(network_module, "TILE", {2: 32})
    network = Network(forward, 2, BINARY, Preprocess("native", intensity="none"))
    image = np.random.default_rng(0).random((1, 100, 70)).astype(np.float32)
    ((_, found),) = predict_images([network], [(0, image, None)])
    assert all(shape[2:] == (32, 32) for shape in seen)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-4 * image)), atol=1e-5)


def constant(value: float) -> Callable[[Array], Array]:
    return lambda images: np.full((len(images), 1, *images.shape[2:]), value, np.float32)


def test_an_ensemble_is_the_mean_probability_whatever_its_members_see() -> None:
    """A 3D network, 2D ones along two axes, windows and whole volumes: cut into different bands."""
    volume = np.random.default_rng(0).random((1, 11, 9, 13)).astype(np.float32)
    task = replace(BINARY, dims=3)
    members = [
        (3, Preprocess("native", intensity="none")),
        (3, Preprocess("patch", (4, 4, 6), intensity="none")),
        (2, Preprocess("native", slice_axis=2, intensity="none")),
        (2, Preprocess("patch", (5, 4), slice_axis=0, intensity="none")),
    ]
    logits = [-1.0, 0.5, 2.0, 0.0]
    networks = [
        Network(lambda images, add=add: images + add, dims, task, record, 2)  # type: ignore[misc]
        for (dims, record), add in zip(members, logits, strict=True)
    ]
    ((_, found),) = predict_images(networks, [(0, volume, (1.0, 1.0, 1.0))])
    expected = np.mean([1 / (1 + np.exp(-(volume + add))) for add in logits], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_flips_are_taken_along_every_axis_and_back() -> None:
    """Mean of the logits over all flips, by hand: what depends on the place becomes even, what does not stays."""
    image = np.random.default_rng(0).normal(size=(1, 1, 4, 6)).astype(np.float32)
    ramp = np.arange(6, dtype=np.float32) + 10 * np.arange(4, dtype=np.float32)[:, None]
    seen = []

    def forward(images: Array) -> Array:
        seen.append(images)
        return images + ramp

    network = flipped(Network(forward, 2, BINARY, Preprocess("native")))
    np.testing.assert_allclose(network.forward(image), image + ramp.mean(), rtol=1e-5)
    assert len(seen) == 4 and len({one.tobytes() for one in seen}) == 4
    three = flipped(Network(lambda images: images[:, :, 0, 0, 0], 3, BINARY, Preprocess("native")))
    corners = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2)
    assert three.forward(corners).item() == 3.5  # (B, K) logits of a classification: the mean over all eight corners


def test_thresholds_by_hand() -> None:
    probabilities = np.array([[0.5, 0.2, 0.6], [0.3, 0.5, 0.1], [0.2, 0.3, 0.3]])
    assert labels_of(probabilities, ORGANS).tolist() == [0, 1, 0]
    assert labels_of(probabilities, ORGANS, (None, 0.25, None)).tolist() == [1, 1, 0]
    assert labels_of(probabilities, ORGANS, (None, 0.6, None)).tolist() == [0, 2, 0]  # not the class that has a threshold
    assert labels_of(probabilities, ORGANS, (None, 0.4, 0.2)).tolist() == [
        0,
        2,
        2,
    ]  # 0.3 is 1.5 times 0.2, 0.5 1.25 times 0.4
    assert labels_of(np.array([[0.2, 0.3, 0.7]]), BINARY, (None, 0.25)).tolist() == [0, 1, 1]


def test_images_of_several_sizes_keep_their_order_in_a_batch() -> None:
    batches = []

    def forward(images: Array) -> Array:
        batches.append(images.shape)
        return copying(images)

    network = Network(forward, 2, BINARY, Preprocess("native", intensity="none"), 4)
    images = [
        (name, np.full((1, *size), name, np.float32), None)
        for name, size in enumerate([(4, 4), (5, 3), (4, 4), (5, 3), (2, 2)])
    ]
    found = list(predict_images([network], images))
    assert [name for name, _ in found] == [0, 1, 2, 3, 4]
    assert all(np.allclose(part, 1 / (1 + np.exp(-4.0 * name))) for name, part in found)
    assert [shape[0] for shape in batches] == [2, 2, 1]
