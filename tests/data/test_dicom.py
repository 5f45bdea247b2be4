"""DICOM files and series, made here with pydicom, are read in their rescaled units and at their place."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, HTJ2KLossless, JPEGLosslessSV1, JPEGLSLossless

from segkit.data.dicom import inspect, is_dicom
from segkit.data.images import read_image
from segkit.data.volumes import read_volume
from segkit.errors import SegkitError


def write(path: Path, pixels: np.ndarray, position: tuple[float, ...] = (0, 0, 0), **tags: object) -> Path:  # type: ignore[type-arg]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{abs(hash((path.name, position))) % 10**9}"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.PhotometricInterpretation = "1.2.3", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 16, 16, 15
    dataset.PixelRepresentation, dataset.PixelSpacing = 0, [0.5, 0.75]
    dataset.ImageOrientationPatient, dataset.ImagePositionPatient = [1, 0, 0, 0, 1, 0], list(position)
    for tag, value in tags.items():
        setattr(dataset, tag, value)
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


PIXELS = np.arange(20).reshape(4, 5)


def test_a_file_is_an_image_in_rescaled_units_whatever_its_name(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "IM0001", PIXELS, RescaleSlope=2, RescaleIntercept=-1000))
    assert np.array_equal(image[0], PIXELS * 2 - 1000)
    inverted = read_image(write(tmp_path / "x.dcm", PIXELS, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted[0], 65535 - PIXELS)  # by the stored range: equal for all slices of a series


def test_a_series_is_a_volume_at_its_place(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 999, (4, 5, 3))
    for index, name in enumerate("cab"):  # names in another order than places
        write(tmp_path / f"{name}.dcm", volume[..., index], position=(10, 20, 30 + 2.5 * index))
    found = read_volume(tmp_path)
    assert found.array.shape == (1, 5, 4, 3) and found.spacing == pytest.approx((0.75, 0.5, 2.5))
    for row, column, index in ((0, 0, 0), (3, 1, 2), (2, 4, 1)):
        world = np.array([-(10 + 0.75 * column), -(20 + 0.5 * row), 30 + 2.5 * index])  # DICOM is LPS, we are RAS
        place = np.round(nib.affines.apply_affine(np.linalg.inv(found.affine), world)).astype(int)
        assert found.array[(0, *place)] == volume[row, column, index]


def test_a_series_with_a_gap_or_of_two_is_refused(tmp_path: Path) -> None:
    for index, z in enumerate((0, 1, 3)):
        write(tmp_path / f"{index}.dcm", PIXELS, position=(0, 0, z))
    with pytest.raises(SegkitError, match="1 to 2 mm apart"):
        read_volume(tmp_path)
    write(tmp_path / "other.dcm", PIXELS, position=(0, 0, 2), SeriesInstanceUID="1.2.4")
    with pytest.raises(SegkitError, match="2 DICOM series"):
        read_volume(tmp_path)


def test_damage_and_a_missing_pydicom_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.dcm", PIXELS)
    (tmp_path / "half.dcm").write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SegkitError, match=r"half.dcm: its pixels cannot be decoded"):
        read_image(tmp_path / "half.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(SegkitError, match="needs pydicom") as error:
        read_image(path)
    assert error.value.hint == "pip install pydicom"


def test_gray_keeps_its_type_and_palettes_become_colours(tmp_path: Path) -> None:
    inverted = read_image(write(tmp_path / "a", PIXELS, PhotometricInterpretation="MONOCHROME1"))
    assert inverted.dtype == np.uint16
    tables = {}
    for name, scale in (("Red", 1), ("Green", 2), ("Blue", 3)):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = (np.arange(256) * scale % 256 * 256).astype(np.uint16).tobytes()
    coloured = read_image(write(tmp_path / "b", PIXELS, PhotometricInterpretation="PALETTE COLOR", **tables))
    assert np.array_equal(coloured, np.stack([PIXELS, PIXELS * 2, PIXELS * 3]))


def test_a_file_without_preamble_is_dicom_by_its_elements(tmp_path: Path) -> None:
    whole = pydicom.dcmread(write(tmp_path / "x.dcm", PIXELS))
    for name, implicit in (("explicit", False), ("implicit", True)):
        bare = Dataset({element.tag: element for element in whole})
        bare.save_as(tmp_path / name, implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert (tmp_path / name).read_bytes()[128:132] != b"DICM"
        assert is_dicom(tmp_path / name) and np.array_equal(read_image(tmp_path / name)[0], PIXELS)
    (tmp_path / "other").write_bytes(b"\x08\0" + bytes(200))
    assert not is_dicom(tmp_path / "other")


@pytest.mark.parametrize(
    ("syntax", "encoder"), [(JPEGLSLossless, "jpegls_encode"), (JPEGLosslessSV1, "ljpeg_encode"), (HTJ2KLossless, "")]
)
def test_compressed_pixels_come_back_or_the_decoder_is_named(tmp_path: Path, syntax: str, encoder: str) -> None:
    import imagecodecs

    stored = (np.arange(256).reshape(16, 16) * 16 - 2048).astype(np.int16)  # 12 bits with a sign
    raw = stored.view(np.uint16) & 0x0FFF
    frame = getattr(imagecodecs, encoder)(raw) if encoder else b"damaged!"
    dataset = pydicom.dcmread(write(tmp_path / "x.dcm", raw, PixelRepresentation=1, BitsStored=12, HighBit=11))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    if encoder:
        assert np.array_equal(read_image(tmp_path / "x.dcm")[0], stored)
        return
    with pytest.raises(SegkitError, match=r"cannot be decoded: .*\(High-Throughput JPEG 2000") as error:
        read_image(tmp_path / "x.dcm")
    assert "pylibjpeg" in error.value.hint


def test_a_file_that_holds_no_image_says_what_it_is(tmp_path: Path) -> None:
    for name, modality in (("plan.dcm", "RTPLAN"), ("report.dcm", "SR")):
        with pytest.raises(SegkitError, match=f"{name} holds no image: {modality}"):
            read_image(write(tmp_path / name, PIXELS, Modality=modality))
    (tmp_path / "y.dcm").write_bytes(b"hello" * 50)
    with pytest.raises(SegkitError, match=r"y\.dcm cannot be read"):
        read_image(tmp_path / "y.dcm")


def test_an_identifier_that_breaks_the_standard_does_not_stop_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.dcm", PIXELS, SeriesInstanceUID="1.2.840.99")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.99", b"1.2 84o.99"))
    assert inspect(path).series == "1.2 84o.99" and inspect(path).other == ""
    assert np.array_equal(read_image(path)[0], PIXELS)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0", id="transfer syntax"),
        pytest.param(b"DS\x02\x002 ", b"DS\x02\x00? ", id="rescale slope"),
    ],
)
def test_a_damaged_value_is_told_by_the_name_of_the_file(tmp_path: Path, right: bytes, wrong: bytes) -> None:
    path = write(tmp_path / "x.dcm", PIXELS, RescaleSlope="2", RescaleIntercept="30")
    content = path.read_bytes()
    assert content.count(right) == 1
    path.write_bytes(content.replace(right, wrong))
    with pytest.raises(SegkitError, match=r"x\.dcm"):
        read_image(path)
