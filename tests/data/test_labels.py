"""Labels that scaling or floats have moved by a hair are whole numbers; what lies between is refused with its count."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from segkit.data.images import read_mask
from segkit.data.volumes import read_label_volume
from segkit.errors import SegkitError


@pytest.mark.parametrize("stored", [2.00004, 1.99998, 2.001, 1.999])
def test_a_hair_beside_a_label_is_that_label_in_volumes_and_images(tmp_path: Path, stored: float) -> None:
    values = np.zeros((4, 4), np.float32)
    values[1:3, 1:3] = stored
    tifffile.imwrite(tmp_path / "x.tif", values)
    nib.save(nib.Nifti1Image(values[..., None], np.eye(4)), tmp_path / "x.nii.gz")
    assert (read_mask(tmp_path / "x.tif") == 2).sum() == 4
    assert (read_label_volume(tmp_path / "x.nii.gz")[0] == 2).sum() == 4


def test_a_label_that_is_scaled_on_disk_is_read_in_full(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2) * 100, np.eye(4))
    image.header.set_slope_inter(0.01, 0)  # 0.00999999977 as the file holds it
    nib.save(image, tmp_path / "x.nii")
    assert sorted(read_label_volume(tmp_path / "x.nii")[0].ravel().tolist()) == list(range(8))


@pytest.mark.parametrize(("count", "words"), [(1, "holds 1 value of 0.5;"), (3, "holds 3 values between .* first 0.5;")])
def test_what_lies_between_is_counted(tmp_path: Path, count: int, words: str) -> None:
    values = np.zeros((4, 4), np.float32)
    values[0, :count] = 0.5
    tifffile.imwrite(tmp_path / "x.tif", values)
    nib.save(nib.Nifti1Image(values[..., None], np.eye(4)), tmp_path / "x.nii")
    for read, name in ((read_mask, "x.tif"), (read_label_volume, "x.nii")):
        with pytest.raises(SegkitError, match=words) as error:
            read(tmp_path / name)  # type: ignore[operator]
        assert "nearest neighbour" in error.value.hint


def test_a_label_too_large_for_an_int_is_refused_not_wrapped(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 2**32 + 1, np.int64), np.eye(4), dtype=np.int64), tmp_path / "x.nii")
    with pytest.raises(SegkitError, match="holds values up to 4294967297; labels go up to 2147483647"):
        read_label_volume(tmp_path / "x.nii")


def test_labels_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", np.full((2, 2), np.nan, np.float32))
    with pytest.raises(SegkitError, match="not finite"):
        read_mask(tmp_path / "x.tif")
