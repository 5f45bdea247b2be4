"""Round trips: what a model that copies its input finds lies where it lay, on the input's own grid."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Command, real, save_weights
from data.test_dicom import write as write_dicom
from data.test_volumes import AFFINES
from segkit.data.images import read_mask
from segkit.settings import Preprocess
from segkit.task import Task

COPY = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec(f"copy-{dims}d", "1 where its input is above 0.5", target="acme_module:build", dims=(dims,), stride=4)
            for dims in (2, 3)]

def build(task, options):
    import torch

    class Copy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(100.0))

        def forward(self, x):
            return self.scale * (x[:, :1] - 0.5)

    return Copy()
"""
VOLUME = Task(1, ("background", "x"), dims=3)
FORMS = {
    "whole": ("copy-3d", Preprocess("native", intensity="none")),
    "windows": ("copy-3d", Preprocess("patch", (8, 4, 8), intensity="none")),
    "slices": ("copy-2d", Preprocess("native", intensity="none")),
    "sagittal": ("copy-2d", Preprocess("patch", (8, 8), slice_axis=0, intensity="none")),
    "padded": ("copy-3d", Preprocess("crop", (24, 24, 24), intensity="none")),
}


@pytest.fixture
def copy(install, tmp_path: Path):  # type: ignore[no-untyped-def]
    install("acme", COPY)
    return lambda name, record, task=VOLUME: save_weights(tmp_path / f"{name}.safetensors", name, task, record)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR", "oblique"])
def test_a_mask_of_a_volume_has_its_voxels_affine_and_codes(
    segkit: Command,
    copy,
    tmp_path: Path,
    codes: str,
    form: str,  # type: ignore[no-untyped-def]
) -> None:
    weights, draw = copy(*FORMS[form]), np.random.default_rng(0)
    for number, shape in enumerate([(9, 13, 5), (1, 7, 6), (16, 3, 1), (1, 1, 1)]):
        image = nib.Nifti1Image((draw.random(shape) > 0.6).astype(np.float32), AFFINES[codes])
        image.set_sform(AFFINES[codes], 2), image.set_qform(AFFINES[codes], 1)
        (tmp_path / "in").mkdir(exist_ok=True)
        nib.save(image, tmp_path / "in" / f"{number}.nii.gz")
    done = segkit("predict", weights, tmp_path / "in", "--out", tmp_path / "out", "--probabilities")
    assert done.code == 0, done.err
    for path in sorted((tmp_path / "in").iterdir()):
        source, mask = nib.load(path), nib.load(tmp_path / "out" / path.name)
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(source.dataobj))
        assert mask.get_data_dtype() == np.uint8
        assert np.array_equal(mask.affine, source.affine) and mask.header.get_zooms() == source.header.get_zooms()
        for field in ("sform_code", "qform_code", "xyzt_units"):
            assert mask.header[field] == source.header[field]
        probable = nib.load(tmp_path / "out" / path.name.replace(".nii", ".probabilities.nii"))
        assert probable.shape == (*source.shape, 1) and np.array_equal(probable.affine, source.affine)
        assert np.abs(probable.get_fdata()[..., 0] - np.asarray(source.dataobj)).max() < 1e-4


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    fit=st.sampled_from(["native", "patch", "crop"]),
    seed=st.integers(0, 9),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mask_of_an_image_has_its_pixels(
    segkit: Command,
    copy,
    tmp_path: Path,
    height: int,
    width: int,
    fit: str,
    seed: int,  # type: ignore[no-untyped-def]
) -> None:
    size = {"native": None, "patch": (16, 8), "crop": (40, 40)}[fit]
    record = Preprocess(fit, size, intensity="scale255")  # type: ignore[arg-type]
    weights = copy("copy-2d", record, Task(1, ("background", "x"), channel_names=("gray",)))
    pixels = np.random.default_rng(seed).integers(0, 2, (height, width), dtype=np.uint8) * 255
    cv2.imwrite(str(tmp_path / "x.png"), pixels), tifffile.imwrite(tmp_path / "y.tif", pixels)
    words = ["predict", weights, tmp_path / "x.png", tmp_path / "y.tif", "--out", tmp_path / "out", "--overwrite"]
    assert segkit(*words).code == 0
    assert np.array_equal(read_mask(tmp_path / "out" / "x.png"), pixels)
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "y.tif"), pixels)


def test_pages_of_a_stack_keep_their_place(segkit: Command, copy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights = copy("copy-2d", Preprocess("native", intensity="scale255", slice_axis=0), Task(1, ("background", "x")))
    pages = np.random.default_rng(0).integers(0, 2, (5, 9, 3), dtype=np.uint8) * 255
    tifffile.imwrite(tmp_path / "x.tif", pages, photometric="minisblack")
    done = segkit("predict", weights, tmp_path / "x.tif", "--out", tmp_path / "out", "--probabilities", "--overlay")
    assert done.code == 0, done.err
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "x.tif"), pages)
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "x.probability.tif") > 32767, pages > 0)


def test_a_series_becomes_a_volume_at_its_place_in_the_world(segkit: Command, copy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights = copy("copy-3d", Preprocess("native", intensity="none"))
    (tmp_path / "scan").mkdir()
    pixels = np.random.default_rng(0).integers(0, 2, (4, 6, 3))
    for index in range(3):
        write_dicom(tmp_path / "scan" / f"{index}", pixels[..., index], position=(10, 20, 30 + 2.5 * index))
    done = segkit("predict", weights, tmp_path / "scan", "--out", tmp_path / "out", "--table")
    assert done.code == 0, done.err
    mask = nib.load(tmp_path / "out" / "scan.nii.gz")
    voxels = np.asarray(mask.dataobj)
    for row, column, index in np.ndindex(4, 6, 3):
        world = [-(10 + 0.75 * column), -(20 + 0.5 * row), 30 + 2.5 * index]  # DICOM is LPS, NIfTI RAS
        place = np.round(nib.affines.apply_affine(np.linalg.inv(mask.affine), world)).astype(int)
        assert voxels[tuple(place)] == pixels[row, column, index]
    row = (tmp_path / "out" / "measures.csv").read_text().splitlines()[1].split(",")
    assert row[:6] == ["scan", "x", str(pixels.sum()), "voxels", str(pixels.sum() * 0.9375), "mm3"]


def test_real_volumes_keep_their_grid(segkit: Command, copy, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    weights = copy("copy-2d", Preprocess("stretch", (64, 64), intensity="minmax"))
    folder = real("odd/nifti")
    assert segkit("predict", weights, folder, "--out", tmp_path / "out").code == 3
    masks = sorted((tmp_path / "out").glob("*.nii.gz"))
    assert len(masks) >= 4
    for path in masks:
        (source,) = [nib.load(file) for file in folder.iterdir() if file.name in (path.name, path.name.removesuffix(".gz"))]
        mask = nib.load(path)
        assert mask.shape == source.shape[:3] and np.array_equal(mask.affine, source.affine)
        assert mask.header.get_zooms() == source.header.get_zooms()[:3]
