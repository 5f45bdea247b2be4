"""Volumes are read in closest RAS whatever their file's axes, written back on the file's own grid, or refused in words."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import real
from segkit.data.images import read_image
from segkit.data.listing import list_files
from segkit.data.volumes import distance_of_grids, is_volume, read_label_volume, read_volume, volume_stem, write_volume
from segkit.errors import SegkitError

OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.3, 0.15) @ np.diag([0.7, 1.1, 3.0]), [5, -7, 11])


def affine_of(codes: str) -> np.ndarray:  # type: ignore[type-arg]
    """An affine whose axes point along these codes, with spacings 1, 2, 3 and an offset."""
    orientation = nib.orientations.axcodes2ornt(codes)
    affine = np.zeros((4, 4))
    for own, (world, sign) in enumerate(orientation):
        affine[int(world), own] = sign * (own + 1)
    affine[:3, 3], affine[3, 3] = (10, 20, 30), 1
    return affine


AFFINES = {codes: affine_of(codes) for codes in ("RAS", "LPS", "PIR", "LAS", "SRA", "IPL")} | {"oblique": OBLIQUE}


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:  # type: ignore[type-arg]
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("codes", AFFINES)
def test_every_voxel_keeps_its_place_in_the_world(tmp_path: Path, codes: str) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    volume = read_volume(save(tmp_path / "x.nii.gz", array, AFFINES[codes]))
    assert nib.aff2axcodes(volume.affine) == ("R", "A", "S")
    for value in (0, 7, 59, 119):
        stored, turned = np.argwhere(array == value)[0], np.argwhere(volume.array[0] == value)[0]
        world = nib.affines.apply_affine(AFFINES[codes], stored)
        assert np.allclose(nib.affines.apply_affine(volume.affine, turned), world)
    assert np.allclose(sorted(volume.spacing), sorted(nib.affines.voxel_sizes(AFFINES[codes])))


@pytest.mark.parametrize("codes", AFFINES)
@given(shape=st.tuples(*[st.integers(1, 7)] * 3), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
def test_what_is_written_lies_on_the_files_own_grid(tmp_path: Path, codes: str, shape: tuple[int, ...], data) -> None:  # type: ignore[no-untyped-def]
    array = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 9, shape).astype(np.uint8)
    source = save(tmp_path / "x.nii.gz", array, AFFINES[codes])
    write_volume(tmp_path / "y.nii.gz", read_volume(source).array[0], like=source)
    written = nib.load(tmp_path / "y.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), array)
    assert np.allclose(written.affine, nib.load(source).affine)
    assert written.header["sform_code"] == nib.load(source).header["sform_code"]


def test_scaled_big_endian_and_four_axes(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5, 2)), np.eye(4), nib.Nifti1Header(endianness=">"))
    image.set_data_dtype(np.int16)
    values = np.random.default_rng(0).random((3, 4, 5, 2)) * 100
    nib.save(nib.Nifti1Image(values, np.eye(4), image.header), tmp_path / "x.nii")
    volume = read_volume(tmp_path / "x.nii")
    assert volume.array.shape == (2, 3, 4, 5) and volume.array.dtype.isnative
    assert np.allclose(volume.array, np.moveaxis(values, -1, 0), atol=0.01)


def test_spacing_is_pixdims_where_the_affine_does_not_know_it(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_sform(np.diag([1.0, -1, 1, 1])[[1, 0, 2, 3]], code=2)  # axes turned, sizes of 1, as in ACDC
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), None, header)
    image.header["pixdim"][1:4] = 1.5, 2.5, 10
    nib.save(image, tmp_path / "x.nii.gz")
    assert nib.affines.voxel_sizes(nib.load(tmp_path / "x.nii.gz").affine).tolist() == [1, 1, 1]
    assert read_volume(tmp_path / "x.nii.gz").spacing == (2.5, 1.5, 10)


def test_labels_must_be_whole_and_single(tmp_path: Path) -> None:
    labels, _ = read_label_volume(save(tmp_path / "x.nii", np.eye(3, dtype=np.float32)[..., None], np.eye(4)))
    assert labels.dtype == np.int32 and labels.sum() == 3
    with pytest.raises(SegkitError, match=r"holds 8 values between whole numbers, the first 0\.5;"):
        read_label_volume(save(tmp_path / "f.nii", np.full((2, 2, 2), 0.5, np.float32), np.eye(4)))
    with pytest.raises(SegkitError, match="has 2 channels"):
        read_label_volume(save(tmp_path / "c.nii", np.zeros((2, 2, 2, 2), np.uint8), np.eye(4)))


def damaged(tmp_path: Path, kind: str) -> Path:
    whole = save(tmp_path / "whole.nii.gz", np.random.default_rng(0).random((9, 9, 9)).astype(np.float32), np.eye(4))
    content = whole.read_bytes()
    makers = {
        "cut short.nii.gz": content[: len(content) // 2],
        "cut.nii": gzip.decompress(content)[:500],
        "empty.nii": b"",
        "text.nii.gz": b"hello, this is text",
    }
    if kind in makers:
        (tmp_path / kind).write_bytes(makers[kind])
    elif kind == "nan.nii":
        save(tmp_path / kind, np.full((2, 2, 2), np.nan, np.float32), np.eye(4))
    elif kind == "flat.nii":
        header = nib.Nifti1Header()
        header.set_sform(np.diag([1.0, 1, 0, 1]), code=1)
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None, header), tmp_path / kind)
    elif kind == "coinciding.nii":  # two axes that differ by less than a float can tell, at a determinant of 1
        header = nib.Nifti1Header()
        header.set_sform(np.array([[1e9, 1e9, 0, 0], [0, 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), code=1)
        nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), None, header), tmp_path / kind)
    elif kind == "five.nii":
        save(tmp_path / kind, np.zeros((2, 2, 2, 2, 2), np.uint8), np.eye(4))
    elif kind == "colours.nii":
        save(tmp_path / kind, np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")]), np.eye(4))
    elif kind == "complex.nii":
        save(tmp_path / kind, np.zeros((2, 2, 2), np.complex64), np.eye(4))
    return tmp_path / kind


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut short.nii.gz", "damaged or cut short"),
        ("cut.nii", "damaged or cut short"),
        ("empty.nii", "cannot be read as a volume"),
        ("text.nii.gz", "cannot be read as a volume"),
        ("missing.nii", "No such file"),
        ("nan.nii", "not finite"),
        ("flat.nii", "cannot be inverted"),
        ("coinciding.nii", "cannot be inverted"),
        ("five.nii", "three axes"),
        ("colours.nii", "gray values are expected"),
        ("complex.nii", "gray values are expected"),
    ],
)
def test_what_cannot_be_a_volume_is_one_clear_error_with_the_path(tmp_path: Path, kind: str, words: str) -> None:
    with pytest.raises(SegkitError, match=words) as error:
        read_volume(damaged(tmp_path, kind))
    assert kind in error.value.message


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
def test_no_damage_gives_anything_but_our_own_error(tmp_path: Path, data: st.DataObject) -> None:
    source = tmp_path / "whole.nii"
    if not source.exists():
        save(source, np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 359))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged.nii").write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert read_volume(tmp_path / "damaged.nii").array.ndim == 4
    except SegkitError as error:
        assert "damaged.nii" in error.message


# What each of the odd files is, read with nibabel alone: shape as segkit orders it, or why it is refused.
ODD = {
    "PIR-pred.nii.gz": (1, 17, 512, 512),
    "anatomical.nii": (1, 33, 41, 25),
    "example4d.nii.gz": (2, 128, 96, 24),
    "example_nifti2.nii.gz": (2, 32, 20, 12),
    "functional.nii": (20, 17, 21, 3),
    "reoriented_anat_moved.nii": (1, 21, 26, 22),
    "standard.nii.gz": (1, 4, 5, 7),
    "analyze.hdr": "is not a NIfTI file",
    "nifti1.hdr": "its other half",
    "nifti2.hdr": "its other half",
    "resampled_anat_moved.nii": "not finite",
    "row_major.dconn.nii": "is not a NIfTI file",
    "test.mgz": (2, 5, 4, 3),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_load_rightly_or_are_refused_with_their_reason(name: str) -> None:
    path, expected = real("odd/nifti") / name, ODD[name]
    if isinstance(expected, str):
        with pytest.raises(SegkitError, match=expected):
            read_volume(path)
        return
    volume, image = read_volume(path), nib.as_closest_canonical(nib.load(path))
    stored = image.get_fdata() if image.ndim == 4 else image.get_fdata()[..., None]
    assert volume.array.shape == expected
    assert np.allclose(np.moveaxis(volume.array, 0, -1), stored) and np.allclose(volume.affine, image.affine)
    assert volume.spacing == pytest.approx(image.header.get_zooms()[:3], rel=1e-4)


@pytest.mark.parametrize("codes", AFFINES)
@pytest.mark.parametrize("stored", ["LPS", "SRA", "PIR"])
def test_one_grid_is_the_same_in_any_order_of_its_axes(tmp_path: Path, codes: str, stored: str) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), AFFINES[codes])
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(stored)
    )
    nib.save(image, tmp_path / "a.nii"), nib.save(image.as_reoriented(turn), tmp_path / "b.nii")
    assert distance_of_grids(tmp_path / "a.nii", tmp_path / "b.nii") == pytest.approx((0, 0), abs=1e-4)
    assert np.array_equal(read_volume(tmp_path / "a.nii").array, read_volume(tmp_path / "b.nii").array)


def test_the_distance_of_grids_is_that_of_the_farthest_corner(tmp_path: Path) -> None:
    array = np.zeros((11, 5, 5), np.uint8)
    first = save(tmp_path / "a.nii", array, np.diag([2.0, 2, 4, 1]))
    moved = save(tmp_path / "b.nii", array, nib.affines.from_matvec(np.diag([2.0, 2, 4]), [0, 3, 4]))
    assert distance_of_grids(first, moved) == pytest.approx((5, 1.5))  # 3 mm and 4 mm; 1.5 voxels and 1
    wider = save(tmp_path / "c.nii", array, np.diag([2.1, 2, 4, 1]))
    assert distance_of_grids(first, wider) == pytest.approx((1, 0.5))  # ten steps of 0.1 mm
    assert distance_of_grids(first, save(tmp_path / "d.nii", array[1:], np.eye(4))) == (float("inf"),) * 2
    flat = save(tmp_path / "e.nii", array[..., 0], np.diag([2.0, 2, 4, 1]))
    assert distance_of_grids(flat, save(tmp_path / "f.nii", array[..., :1], np.diag([2.0, 2, 4, 1]))) == (0, 0)


def test_content_counts_where_the_name_says_otherwise(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    packed = save(tmp_path / "x.nii.gz", array, AFFINES["RAS"])
    for kind, number in ((nib.Nifti1Image, 1), (nib.Nifti2Image, 2)):
        nib.save(kind(array, AFFINES["RAS"]), packed)
        (tmp_path / f"packed{number}.nii").write_bytes(packed.read_bytes())
        (tmp_path / f"plain{number}.nii.gz").write_bytes(gzip.decompress(packed.read_bytes()))
        for name in (f"packed{number}.nii", f"plain{number}.nii.gz"):
            assert np.array_equal(read_volume(tmp_path / name).array[0], array)
            write_volume(tmp_path / "out.nii.gz", array.astype(np.uint8), tmp_path / name)
            assert np.array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), array)


def test_axes_of_one_element_count_for_nothing(tmp_path: Path) -> None:
    values = np.arange(48, dtype=np.float32).reshape(2, 3, 4, 1, 2)  # as ITK writes vectors: (X, Y, Z, time, component)
    for stored, channels in ((values, 2), (values[..., :1], 1), (values[..., 0], 1), (values[..., None, :1], 1)):
        found = read_volume(save(tmp_path / "x.nii.gz", stored, AFFINES["RAS"]))
        assert np.array_equal(found.array, np.moveaxis(stored.reshape(2, 3, 4, channels), -1, 0))
    write_volume(tmp_path / "mask.nii.gz", np.ones((2, 3, 4), np.uint8), tmp_path / "x.nii.gz")
    assert nib.load(tmp_path / "mask.nii.gz").shape == (2, 3, 4)
    labels, _ = read_label_volume(save(tmp_path / "l.nii.gz", np.ones((2, 3, 4, 1, 1), np.uint8), np.eye(4)))
    assert labels.shape == (2, 3, 4)


@pytest.mark.parametrize(("unit", "mm"), [("micron", 0.001), ("meter", 1000), ("mm", 1), ("unknown", 1)])
def test_a_grid_is_in_millimetres_whatever_the_unit_of_its_header(tmp_path: Path, unit: str, mm: float) -> None:
    for name, affine, scale in (("own.nii.gz", OBLIQUE, 1 / mm), ("mm.nii.gz", OBLIQUE, 1.0)):
        image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.diag([scale, scale, scale, 1]) @ affine)
        image.header.set_xyzt_units(unit if name == "own.nii.gz" else "mm")
        nib.save(image, tmp_path / name)
    found, expected = read_volume(tmp_path / "own.nii.gz"), read_volume(tmp_path / "mm.nii.gz")
    assert found.spacing == pytest.approx(expected.spacing, rel=1e-5)
    assert np.allclose(found.affine, expected.affine, rtol=1e-5, atol=1e-4)
    assert distance_of_grids(tmp_path / "own.nii.gz", tmp_path / "mm.nii.gz")[0] < 1e-3
    write_volume(tmp_path / "out.nii.gz", found.array[0], tmp_path / "own.nii.gz")  # in the unit of its image
    assert read_volume(tmp_path / "out.nii.gz").spacing == pytest.approx(expected.spacing, rel=1e-5)


def test_voxels_far_below_a_micron_have_an_affine_all_the_same(tmp_path: Path) -> None:
    assert read_volume(save(tmp_path / "x.nii", np.zeros((2, 3, 4)), np.diag([1e-4, 1e-4, 1e-4, 1]))).spacing[0] < 2e-4


def test_freesurfer_volumes_are_read_and_their_masks_are_nifti(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for name in ("x.mgz", "x.mgh"):
        nib.save(nib.MGHImage(array, AFFINES["RAS"]), tmp_path / name)
        assert is_volume(tmp_path / name) and volume_stem(tmp_path / name) == "x"
        volume = read_volume(tmp_path / name)
        write_volume(tmp_path / "out.nii.gz", volume.array[0], tmp_path / name)
        written = nib.load(tmp_path / "out.nii.gz")
        assert np.array_equal(written.get_fdata(), array) and np.allclose(written.affine, AFFINES["RAS"], atol=1e-5)
        assert written.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(("name", "kind"), [("a.seg.nrrd", "NRRD"), ("a.mha", "MetaImage"), ("a.mnc", "MINC")])
def test_other_formats_are_named_with_what_converts_them(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).write_bytes(b"NRRD0004\ntype: short\n")
    for read in (read_volume, read_image):
        with pytest.raises(SegkitError, match=rf"{name} is a file in the format {kind}.*NIfTI") as error:
            read(tmp_path / name)
        assert "SimpleITK" in error.value.hint


def test_photographs_of_other_formats_are_named_alone_and_in_a_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(SegkitError, match=r"IMG_1\.HEIC is a file in the format HEIC, which is not read") as error:
        read_image(tmp_path / "IMG_1.HEIC")
    assert "PNG" in error.value.hint and "NIfTI" not in error.value.message + error.value.hint
    assert list_files(tmp_path, (".png",)) == []
    assert "1 HEIC file (IMG_1.HEIC)" in caplog.text
