"""Pages of a TIFF are slices, channels or levels of a pyramid, as the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from segkit.data.images import read_image, read_mask
from segkit.data.tiff import count_slices, read_pages
from segkit.errors import SegkitError

PLANES = np.random.default_rng(0).integers(0, 255, (2, 3, 8, 6), dtype=np.uint8)


def named(path: Path, pixels: Any, axes: str, kind: str = "ome") -> Path:
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes}, **({kind: True} if kind else {}))
    return path


@pytest.mark.parametrize("kind", ["ome", "imagej", ""])
def test_named_channels_are_one_picture(tmp_path: Path, kind: str) -> None:
    path = named(tmp_path / "x.ome.tif", PLANES[0], "CYX", kind)
    assert count_slices(path) == 1 and np.array_equal(read_image(path), PLANES[0])


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
@pytest.mark.parametrize("kind", ["ome", "imagej", ""])
def test_named_depth_and_time_are_slices(tmp_path: Path, axes: str, kind: str) -> None:
    path = named(tmp_path / "x.ome.tif", PLANES[0], axes, kind)
    assert count_slices(path) == 3
    assert np.array_equal(read_pages(path), np.moveaxis(PLANES[0], 0, -1)[None])
    with pytest.raises(SegkitError, match="has 3 pages; an image has one"):
        read_image(path)


@pytest.mark.parametrize(("axes", "channels"), [("ZCYX", 3), ("CZYX", 2)])
def test_channels_of_slices_are_put_together_whatever_their_order(tmp_path: Path, axes: str, channels: int) -> None:
    path = named(tmp_path / "x.ome.tif", PLANES, axes)
    stack = read_pages(path)  # (C, H, W, slices)
    assert stack.shape == (channels, 8, 6, 6 // channels)
    assert np.array_equal(stack, np.moveaxis(PLANES, (1, 0) if axes == "ZCYX" else (0, 1), (0, 3)))


def test_two_and_four_named_channels_are_all_kept_and_are_no_mask(tmp_path: Path) -> None:
    for count in (2, 4):
        path = named(tmp_path / f"{count}.ome.tif", np.stack([PLANES[0, 0]] * count), "CYX")
        assert len(read_image(path)) == count
        with pytest.raises(SegkitError, match=f"has {count} channels; a mask has one"):
            read_mask(path)


@pytest.mark.parametrize("sub", [True, False])
def test_the_levels_of_a_pyramid_are_no_slices(tmp_path: Path, sub: bool) -> None:
    large = np.random.default_rng(0).integers(0, 255, (32, 48, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(large, photometric="rgb", subifds=2 if sub else 0)
        for step in (2, 4):
            file.write(large[::step, ::step], photometric="rgb", subfiletype=1)
    assert count_slices(tmp_path / "x.tif") == 1
    assert np.array_equal(read_image(tmp_path / "x.tif"), np.moveaxis(large, -1, 0))
    assert read_mask(tmp_path / "x.tif", colours=True).shape == (32, 48)


def test_levels_that_are_not_marked_are_refused_in_words(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for step in (1, 2):
            file.write(PLANES[0, 0, ::step, ::step], metadata=None)
    with pytest.raises(SegkitError, match=r"pages have the sizes \[\(8, 6\), \(4, 3\)\]") as error:
        read_pages(tmp_path / "x.tif")
    assert "pyramid" in error.value.hint


def test_planes_that_the_pages_do_not_hold_are_not_dropped(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", PLANES[0], photometric="minisblack", truncate=True)
    with pytest.raises(SegkitError, match=r"names the axes . = 3, but holds 1 page"):
        read_image(tmp_path / "x.tif")


def test_pages_are_turned_as_their_orientation_says(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", PLANES[0], photometric="minisblack", extratags=[(274, "H", 1, 6, False)])
    assert np.array_equal(read_pages(tmp_path / "x.tif")[0], np.rot90(np.moveaxis(PLANES[0], 0, -1), -1))
