"""One path from pixels to probabilities, on the input's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.errors import SegkitError
from segkit.inference.network import Network
from segkit.inference.predictor import predict_images
from segkit.inference.probabilities import labels_of, probabilities_of
from segkit.settings import Preprocess
from segkit.task import Task

BINARY = Task(1, ("background", "bright"))
ORGANS = Task(1, ("background", "a", "b"), mode="multiclass")
LAYERS = Task(1, ("background", "a", "b"), mode="multilabel")


def test_probabilities_are_torchs() -> None:
    logits = (np.random.default_rng(0).standard_normal((2, 3, 4, 5)) * 40).astype(np.float32)
    assert np.allclose(
        np.stack([probabilities_of(one, ORGANS) for one in logits]), torch.from_numpy(logits).softmax(1).numpy(), atol=1e-6
    )
    assert np.allclose(
        np.stack([probabilities_of(one, BINARY) for one in logits[:, :1]]),
        torch.from_numpy(logits[:, :1]).sigmoid().numpy(),
        atol=1e-6,
    )


def test_a_probability_must_be_above_one_half() -> None:
    assert labels_of(np.array([[[0.5, 0.50001]]]), BINARY).tolist() == [[0, 1]]
    assert labels_of(np.array([[[0.5]], [[0.6]]]), LAYERS).tolist() == [[[0]], [[1]]]
    assert labels_of(np.array([[[0.3]], [[0.3]], [[0.4]]]), ORGANS).tolist() == [[2]]


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=7),
    st.integers(1, 4),
    st.sampled_from(["stretch", "pad", "crop"]),
    st.sampled_from([BINARY, ORGANS, LAYERS]),
)
def test_everything_comes_back_in_order_and_size(sizes: list[tuple[int, int]], batch: int, fit: str, task: Task) -> None:
    seen = []

    def forward(images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(len(images))
        return np.repeat(images, task.outputs, axis=1)

    images = [(index, np.zeros((1, *size), np.uint8), None) for index, size in enumerate(sizes)]
    settings = Preprocess(fit, (16, 16), intensity="scale255")  # type: ignore[arg-type]
    found = list(predict_images([Network(forward, 2, task, settings, batch)], images))
    assert [(index, probabilities.shape) for index, probabilities in found] == [
        (index, (task.outputs, *size)) for index, size in enumerate(sizes)
    ]
    assert max(seen) <= batch and sum(seen) == len(sizes)


@pytest.mark.parametrize("fit", ["stretch", "pad"])
@pytest.mark.parametrize("size", [(64, 64), (61, 97), (128, 40)])
def test_a_model_that_copies_its_input_marks_the_right_pixels(fit: str, size: tuple[int, int]) -> None:
    image = np.zeros((1, *size), np.uint8)
    image[0, size[0] // 4 : size[0] // 2, size[1] // 5 : size[1] // 2] = 255

    def copy(images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return (images - 0.5) * 20

    settings = Preprocess(fit, (64, 64), intensity="scale255")  # type: ignore[arg-type]
    ((_, probabilities),) = predict_images([Network(copy, 2, BINARY, settings)], [(0, image, None)])
    assert (labels_of(probabilities, BINARY) != (image[0] > 0)).mean() < 0.03


def test_logits_that_are_not_finite_are_never_a_mask() -> None:
    def broken(images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.full_like(images, np.nan)

    with pytest.raises(SegkitError, match="not finite"):
        settings = Preprocess("stretch", (4, 4), intensity="none")
        list(predict_images([Network(broken, 2, BINARY, settings)], [(0, np.zeros((1, 4, 4), np.uint8), None)]))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("fit", ["native", "patch", "crop"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_comes_back_voxel_by_voxel_from_slices_windows_and_whole(dims: int, fit: str, axis: int) -> None:
    volume = np.random.default_rng(0).random((1, 11, 9, 7)).astype(np.float32)
    size = {"native": None, "patch": (5, 4, 6)[:dims], "crop": (11, 11, 11)[:dims]}[fit]
    settings = Preprocess(fit, size, slice_axis=axis, intensity="none")  # type: ignore[arg-type]
    seen = []

    def copy(batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        seen.append(batch.shape)
        return batch * 4

    ((_, found),) = predict_images([Network(copy, dims, BINARY, settings, 3)], [(0, volume, None)])
    assert found[0] == pytest.approx(1 / (1 + np.exp(-4 * volume[0])), abs=1e-5)
    assert all(len(shape) == dims + 2 and shape[0] <= 3 for shape in seen)
    assert fit != "patch" or all(shape[2:] == size for shape in seen)
