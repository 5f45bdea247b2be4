"""Polygons cover exactly the pixels of their mask, by their own area and by pycocotools."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco_mask
from scipy import ndimage

from segkit.prediction.coco import coco, outlines

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=st.integers(0, 1))


@given(MASKS)
@settings(max_examples=300, deadline=None)
def test_polygons_are_filled_to_the_mask_by_pycocotools(mask: np.ndarray) -> None:  # type: ignore[type-arg]
    filled = np.zeros_like(mask)
    for polygon in outlines(mask):
        code = coco_mask.frPyObjects([[float(value) for value in polygon]], *mask.shape)
        filled += coco_mask.decode(coco_mask.merge(code))
    assert np.array_equal(filled, mask)


@given(MASKS)
@settings(max_examples=200, deadline=None)
def test_there_is_a_polygon_for_each_component_and_their_areas_are_counts_of_pixels(mask: np.ndarray) -> None:  # type: ignore[type-arg]
    document = coco([("a/x.png", mask)], ("background", "polyp"))
    _, components = ndimage.label(mask, np.ones((3, 3)))
    assert len(document["annotations"]) == components
    assert sum(entry["area"] for entry in document["annotations"]) == mask.sum()
    assert document["images"] == [{"id": 1, "file_name": "a/x.png", "width": mask.shape[1], "height": mask.shape[0]}]


def test_boxes_and_categories_are_cocos() -> None:
    labels = np.zeros((6, 9), np.uint8)
    labels[1:4, 2:7], labels[2, 3:5], labels[5, 8] = 1, 0, 2
    document = coco([("x", labels)], ("background", "a", "b"))
    first, second = document["annotations"]
    assert (first["bbox"], first["area"], first["category_id"]) == ([2, 1, 5, 3], 13, 1)
    assert (second["bbox"], second["segmentation"]) == ([8, 5, 1, 1], [[8, 5, 8, 6, 9, 6, 9, 5]])
    assert [entry["name"] for entry in document["categories"]] == ["a", "b"]
