"""Clean-up and measures of masks, against SciPy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from segkit.errors import UsageError
from segkit.inference.postprocess import Postprocess, Segmented, clean_up, measure, read_thresholds
from segkit.task import Task

ORGANS = Task(1, ("background", "liver", "spleen"), mode="multiclass")
LABELS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.integers(0, 2))


@given(LABELS, st.integers(2, 6))
@settings(deadline=None)
def test_components_below_a_size_are_gone_and_the_others_untouched(labels: np.ndarray, least: int) -> None:  # type: ignore[type-arg]
    found = clean_up(labels.copy(), Postprocess(min_size=least))
    for value in (1, 2):
        components, count = ndimage.label(labels == value, np.ones((3,) * labels.ndim))
        for number in range(1, count + 1):
            own = components == number
            assert (found[own] == (value if own.sum() >= least else 0)).all()
    assert (found[labels == 0] == 0).all()


@given(LABELS)
@settings(deadline=None)
def test_of_each_class_the_largest_component_stays(labels: np.ndarray) -> None:  # type: ignore[type-arg]
    found = clean_up(labels.copy(), Postprocess(keep_largest=True))
    for value in (1, 2):
        components, count = ndimage.label(labels == value, np.ones((3,) * labels.ndim))
        sizes = ndimage.sum(labels == value, components, range(1, count + 1))
        assert ndimage.label(found == value, np.ones((3,) * labels.ndim))[1] == min(1, count)
        assert (found == value).sum() == max([0, *sizes])
    assert ((found == labels) | (found == 0)).all()


def test_measures_by_hand() -> None:
    labels = np.zeros((4, 6), np.uint8)
    labels[1, 1:4], labels[3, 5], labels[0, 5] = 1, 1, 2
    sure = np.where(labels == 1, 0.75, 0.5).astype(np.float16)
    found = measure(Segmented(labels, sure, None), ORGANS, (0.5, 2.0), None)
    assert found["liver"] == {"count": 4, "size": 4.0, "components": 2, "centroid": [2.75, 1.5], "confidence": 0.75}
    assert found["spleen"]["centroid"] == [5, 0] and found["spleen"]["confidence"] == 0.5
    nothing = measure(Segmented(labels * 0, None, None), ORGANS, None, None)["liver"]
    assert nothing == {"count": 0, "size": None, "components": 0, "centroid": None, "confidence": None}


@given(arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.integers(0, 1)))
@settings(deadline=None)
def test_the_centroid_of_a_volume_is_scipys_in_the_world(labels: np.ndarray) -> None:  # type: ignore[type-arg]
    affine = np.array([[0.9, 0.1, 0, -5], [0, 1.5, 0.2, 7], [0.1, 0, 3, 11], [0, 0, 0, 1]])
    found = measure(Segmented(labels, None, None), Task(1, ("b", "x"), dims=3), (1.0, 1.5, 3.0), affine)["x"]
    if not labels.any():
        assert found["centroid"] is None
        return
    assert found["centroid"] == pytest.approx((affine @ [*ndimage.center_of_mass(labels), 1])[:3], abs=1e-3)
    assert found["size"] == pytest.approx(labels.sum() * 4.5)


def test_thresholds_as_typed() -> None:
    assert read_thresholds([], ORGANS) == ()
    assert read_thresholds(["0.4"], ORGANS) == (None, 0.4, 0.4)
    assert read_thresholds(["spleen=0", "0.4"], ORGANS) == (None, 0.4, 0.0)  # the named one wins
    assert read_thresholds(["background=0.9"], ORGANS) == (0.9, None, None)
    with pytest.raises(UsageError, match="no class 'background'"):  # of one output, background has none
        read_thresholds(["background=0.9"], Task(1, ("background", "x")))
    for text, part in (
        ("splen=0.4", "'spleen'"),
        ("1", "not a number from 0"),
        ("liver=x", "is not a number"),
        ("-0.1", "is not a number"),
    ):
        with pytest.raises(UsageError) as caught:
            read_thresholds([text], ORGANS)
        assert part in f"{caught.value.message} {caught.value.hint}"
