"""One path from pixels to probabilities, on the input's own grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segkit.engine.infer import labels_of, predict_images, probabilities_of
from segkit.errors import SegkitError
from segkit.settings import Preprocess
from segkit.task import Task

BINARY = Task(1, ("background", "bright"))
ORGANS = Task(1, ("background", "a", "b"), mode="multiclass")
LAYERS = Task(1, ("background", "a", "b"), mode="multilabel")


def test_probabilities_are_torchs() -> None:
    logits = (np.random.default_rng(0).standard_normal((2, 3, 4, 5)) * 40).astype(np.float32)
    assert np.allclose(probabilities_of(logits, ORGANS), torch.from_numpy(logits).softmax(1).numpy(), atol=1e-6)
    assert np.allclose(probabilities_of(logits[:, :1], BINARY), torch.from_numpy(logits[:, :1]).sigmoid().numpy(), atol=1e-6)


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

    images = [(index, np.zeros((1, *size), np.uint8)) for index, size in enumerate(sizes)]
    found = list(predict_images(forward, images, Preprocess(fit, (16, 16), "scale255"), task, batch))  # type: ignore[arg-type]
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

    ((_, probabilities),) = predict_images(copy, [(0, image)], Preprocess(fit, (64, 64), "scale255"), BINARY)  # type: ignore[arg-type]
    assert (labels_of(probabilities, BINARY) != (image[0] > 0)).mean() < 0.03


def test_logits_that_are_not_finite_are_never_a_mask() -> None:
    def broken(images: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        return np.full_like(images, np.nan)

    with pytest.raises(SegkitError, match="not finite"):
        list(predict_images(broken, [(0, np.zeros((1, 4, 4), np.uint8))], Preprocess("stretch", (4, 4), "none"), BINARY))
