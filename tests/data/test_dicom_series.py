"""A DICOM series becomes a volume only where its slices are on one grid; what is no slice of a scan is told apart."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data.test_dicom import PIXELS, write
from segkit.data.dicom_series import by_series
from segkit.data.volumes import read_volume
from segkit.errors import SegkitError

AXIAL = [1, 0, 0, 0, 1, 0]


def series(folder: Path, change: dict[int, dict[str, object]] | None = None, count: int = 5, **tags: object) -> Path:
    """Slices 0.dcm, 1.dcm, ... 2 mm apart, those of `change` with other tags."""
    folder.mkdir(exist_ok=True)
    for index in range(count):
        own: dict[str, object] = {"position": (0, 0, 2.0 * index), **tags, **(change or {}).get(index, {})}
        position = own.pop("position")
        write(folder / f"{index}.dcm", PIXELS, position=position, **own)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]},  # from left to right
        {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]},
        {"position": (20, 0, 4)},
        {"position": (0, -0.4, 4)},  # less than a pixel, and yet another grid
        {"PixelSpacing": [0.5, 0.8]},
        {"ImagePositionPatient": None},
        {"FrameOfReferenceUID": "1.9"},
        {"RescaleIntercept": -1024, "RescaleSlope": 1},  # the others are not rescaled
    ],
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_slice_that_differs_from_the_others_is_named(tmp_path: Path, change: dict[str, object], place: int) -> None:
    if "position" in change:
        x, y, _ = change["position"]  # type: ignore[misc]
        change = {"position": (x, y, 2.0 * place)}
    with pytest.raises(SegkitError, match=rf"\b{place}\.dcm is"):
        read_volume(series(tmp_path / "scan", {place: change}))


def test_a_slice_of_another_size_is_named(tmp_path: Path) -> None:
    write(series(tmp_path / "scan") / "3.dcm", np.zeros((4, 6)), position=(0, 0, 6))
    with pytest.raises(SegkitError, match=r"3\.dcm is of another size, \(4, 6\), than 4 other slices, \(4, 5\)"):
        read_volume(tmp_path / "scan")


def test_each_slice_is_rescaled_by_its_own_numbers(tmp_path: Path) -> None:
    change: dict[int, dict[str, object]] = {i: {"RescaleSlope": i + 1, "RescaleIntercept": 0} for i in range(5)}  # as of PET
    found = read_volume(series(tmp_path / "scan", change))
    assert [found.array[0, 0, 0, i] / found.array[0, 0, 0, 0] for i in range(5)] == [1, 2, 3, 4, 5]


def test_copies_are_dropped_with_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = series(tmp_path / "scan")
    (folder / "2 (1).dcm").write_bytes((folder / "2.dcm").read_bytes())
    assert read_volume(folder).array.shape == (1, 5, 4, 5)
    assert "left out: a copy" in caplog.text
    write(folder / "2 (1).dcm", PIXELS + 1, position=(0, 0, 4), SOPInstanceUID=_instance(folder / "2.dcm"))
    with pytest.raises(SegkitError, match="same SOPInstanceUID but hold different slices"):
        read_volume(folder)


def _instance(path: Path) -> str:
    import pydicom

    return str(pydicom.dcmread(path).SOPInstanceUID)


@pytest.mark.parametrize(("keyword", "values"), [("TemporalPositionIdentifier", (1, 2)), ("EchoTime", (4.6, 2.3))])
def test_phases_at_one_place_are_named(tmp_path: Path, keyword: str, values: tuple[object, object]) -> None:
    folder = series(tmp_path / "scan", count=6, **{keyword: values[0]})
    for index in range(6):
        write(folder / f"b{index}.dcm", PIXELS + 1, position=(0, 0, 2.0 * index), **{keyword: values[1]})
    shown = ", ".join(map(str, sorted(values)))  # type: ignore[type-var]
    with pytest.raises(SegkitError, match=rf"12 slices lie at 6 places.*{keyword} \({shown}\)"):
        read_volume(folder)


def test_a_tilted_gantry_gives_a_sheared_affine(tmp_path: Path) -> None:
    """Slices tilted by 30 degrees about x, the couch moved along z: plane to plane is 2 cos 30 = 1.732 mm."""
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    found = read_volume(series(tmp_path / "scan", ImageOrientationPatient=[1, 0, 0, 0, float(cosine), float(sine)]))
    corner = np.array([0, 0, 8.0])  # the first pixel of the last slice
    place = nib.affines.apply_affine(np.linalg.inv(found.affine), corner)
    assert np.allclose(np.sort(np.round(place, 3)), np.sort([4, 3, 4]))  # RAS: the first pixel is the last of x and y
    assert np.prod(found.spacing) == pytest.approx(abs(np.linalg.det(found.affine[:3, :3])), rel=1e-6)
    assert found.spacing == pytest.approx((0.75, 0.5, 2 * cosine), rel=1e-5)


def test_what_is_no_slice_of_a_scan_is_left_out_by_name(tmp_path: Path) -> None:
    folder = series(tmp_path / "scan")
    write(folder / "scout.dcm", PIXELS, SeriesInstanceUID="9.1", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write(folder / "screen.dcm", PIXELS, SeriesInstanceUID="9.2", ImagePositionPatient=None)
    write(folder / "dose.dcm", PIXELS, SeriesInstanceUID="9.3", Modality="RTDOSE")
    write(folder / "seg.dcm", PIXELS, SeriesInstanceUID="9.4", Modality="SEG")
    grouped = by_series(sorted(folder.iterdir()))
    assert [len(files) for files in grouped.series.values()] == [5]
    assert {words.partition(" ")[0] for words in grouped.left} == {"scout.dcm", "screen.dcm", "dose.dcm", "seg.dcm"}
    assert read_volume(folder).array.shape == (1, 5, 4, 5)
    alone = by_series([folder / "scout.dcm"])  # then it is what there is
    assert len(alone.series) == 1 and not alone.left


def test_series_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = [write(tmp_path / name, PIXELS, SeriesInstanceUID=name, SeriesNumber=n) for name, n in (("1.1", 12), ("1.2", 3))]
    assert list(by_series(files).series) == ["1.2", "1.1"]
