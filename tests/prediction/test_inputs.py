"""Inputs of every kind are found once, named by where they lie, and read one way; none is lost."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.test_dicom import write as write_dicom
from segkit.errors import SegkitError, UsageError
from segkit.prediction.inputs import find_inputs, read_input, read_lists
from segkit.task import Task

GRAY = Task(1, ("background", "x"), channel_names=("gray",))
COLOUR = Task(3, ("background", "x"), channel_names=("red", "green", "blue"))
VOLUMES = Task(1, ("background", "x"), dims=3)


def picture(path: Path, size: tuple[int, int] = (6, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 7, np.uint8)).save(path)
    return path


def volume(path: Path, shape: tuple[int, ...] = (3, 4, 5)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Pair if path.name.endswith((".hdr", ".img")) else nib.Nifti1Image
    nib.save(image(np.zeros(shape, np.float32), np.eye(4)), path)
    return path


def find(*words: Path | str, listed: tuple[str, ...] = (), out: Path = Path("/nowhere"), volumes: bool = False):  # type: ignore[no-untyped-def]
    return find_inputs([str(word) for word in words], listed, out, "predictions.json", volumes)


def test_a_mixed_tree_gives_every_kind_under_its_own_name(tmp_path: Path) -> None:
    for name in ("a.png", "b/c.JPG", "b/d.tiff"):
        if name.endswith("tiff"):
            tifffile.imwrite(tmp_path / name, np.zeros((4, 5), np.uint8))
        else:
            picture(tmp_path / name)
    volume(tmp_path / "e.nii.gz"), volume(tmp_path / "f.nii"), volume(tmp_path / "g.hdr")
    write_dicom(tmp_path / "b" / "IM0001", np.arange(20).reshape(4, 5))
    (tmp_path / "notes.md").write_text("no image"), (tmp_path / ".hidden.png").write_text("")
    inputs, others = find(tmp_path)
    assert {entry.key: entry.form for entry in inputs} == {
        "a.png": "image",
        "b/IM0001": "image",
        "b/c.JPG": "image",
        "b/d.tiff": "tiff",
        "e.nii.gz": "volume",
        "f.nii": "volume",
        "g.hdr": "volume",
    }
    assert others == 2  # notes and what is hidden; g.img is the other half of g.hdr
    assert all(read_input(entry, GRAY if entry.form != "volume" else VOLUMES).image.ndim >= 3 for entry in inputs)


def test_several_inputs_are_named_below_the_folder_they_share(tmp_path: Path) -> None:
    for name in ("one/x.png", "two/deep/x.png", "two/y.png"):
        picture(tmp_path / name)
    keys = [entry.key for entry in find(tmp_path / "one", tmp_path / "two")[0]]
    assert keys == ["one/x.png", "two/deep/x.png", "two/y.png"]
    assert [entry.key for entry in find(tmp_path / "two" / "y.png")[0]] == ["y.png"]
    listed = (str(tmp_path / "one" / "x.png"), str(tmp_path / "two" / "y.png"), str(tmp_path / "one" / "gone.png"))
    inputs = find(listed=listed)[0]
    assert [entry.key for entry in inputs] == ["one/gone.png", "one/x.png", "two/y.png"]
    with pytest.raises(SegkitError, match=r"gone\.png does not exist"):
        read_input(inputs[0], COLOUR)


def test_the_same_file_twice_is_one_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in" / "x.png")
    monkeypatch.chdir(tmp_path)
    inputs, _ = find("in", "in/x.png", "./in/../in/x.png", tmp_path / "in", listed=("in/x.png",))
    assert [entry.key for entry in inputs] == ["x.png"]


def test_lists_are_read_by_lines_or_nul_and_know_strange_names(tmp_path: Path) -> None:
    names = [b"a b.png", b"im\xff.png", "ü😀.png".encode()]
    (tmp_path / "list.txt").write_bytes(b"\r\n".join([*names, b"", b"  "]))
    assert read_lists([str(tmp_path / "list.txt"), "x.png"], None, False) == (
        ["x.png"],
        [os.fsdecode(name) for name in names],
    )
    assert read_lists(["-"], b"new\nline.png\0-dash.png\0", True) == ([], ["new\nline.png", "-dash.png"])
    with pytest.raises(UsageError, match="the list is empty"):
        find()


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1).filter(str.strip))
)
def test_nul_separated_lists_carry_any_name(names: list[str]) -> None:
    encoded = [os.fsencode(name) for name in names]
    assert read_lists(["-"], b"\0".join(encoded) + b"\0", True)[1] == [os.fsdecode(name) for name in encoded]


def test_links_to_nothing_pipes_and_loops_are_named_or_left_out_and_never_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    os.mkfifo(tmp_path / "pipe.png")
    inputs, _ = find(tmp_path)
    assert {entry.key: bool(entry.problem) for entry in inputs} == {
        "a.png": False,
        "gone.png": True,
        "pipe.png": True,
        "self.png": True,
    }


def test_links_to_folders_are_followed_and_stray_files_are_no_inputs(tmp_path: Path) -> None:
    for name in ("in/A/1.png", "store/2.png", "in/__MACOSX/1.png", "in/@eaDir/1.png", "in/README.png", "in/._1.png"):
        picture(tmp_path / name)
    (tmp_path / "in" / "B").symlink_to(tmp_path / "store")
    (tmp_path / "in" / "A" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in" / "Thumbs.db").write_text("x")
    inputs, others = find(tmp_path / "in")
    assert {entry.key: bool(entry.problem) for entry in inputs} == {"A/1.png": False, "B/2.png": False, "gone": True}
    assert others == 3  # the folders of the systems are not looked into
    assert [entry.key for entry in find(tmp_path / "in" / "README.png")[0]] == ["README.png"]  # typed, so wanted


def test_what_segkit_wrote_and_the_output_folder_are_no_inputs(tmp_path: Path) -> None:
    picture(tmp_path / "a.png"), picture(tmp_path / "out" / "b.png"), picture(tmp_path / "old" / "c.png")
    (tmp_path / "old" / "predictions.json").write_text("{}")
    assert [entry.key for entry in find(tmp_path, out=tmp_path / "out")[0]] == ["a.png"]
    with pytest.raises(UsageError, match="is the input folder itself"):
        find(tmp_path, out=tmp_path)


def test_dicom_files_of_a_folder_are_a_volume_for_a_model_of_volumes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 99, (4, 5, 3))
    for index in range(3):
        for series, folder in (("1.1", "one"), ("1.1", "both"), ("1.2", "both")):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_dicom(
                tmp_path / folder / f"{series}-{index}",
                pixels[..., index],
                position=(0, 0, 2.0 * index),
                SeriesInstanceUID=series,
            )
    inputs, _ = find(tmp_path, volumes=True)
    assert [(entry.key, len(entry.files)) for entry in inputs] == [("both/series-1", 3), ("both/series-2", 3), ("one", 3)]
    for entry in inputs:
        found = read_input(entry, VOLUMES)
        assert found.image.shape == (1, 5, 4, 3) and found.spacing == pytest.approx((0.75, 0.5, 2.0))
    typed = find(*sorted((tmp_path / "one").iterdir()), volumes=True)[0]
    assert [(entry.form, len(entry.files)) for entry in typed] == [("series", 3)]
    assert len(find(tmp_path)[0]) == 9  # for a model of images each is one
    assert read_input(find(tmp_path)[0][0], GRAY).spacing == (0.5, 0.75)


def test_pages_of_a_tiff_are_slices(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 255, (4, 6, 5), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "gray.tif", pages, photometric="minisblack")
    tifffile.imwrite(tmp_path / "colour.tif", np.stack([pages] * 3, axis=-1), photometric="rgb")
    gray, colour = (
        read_input(find(tmp_path / name)[0][0], task) for name, task in (("gray.tif", GRAY), ("colour.tif", COLOUR))
    )
    assert gray.stack and np.array_equal(gray.image[0], np.moveaxis(pages, 0, -1))
    assert colour.stack and np.array_equal(colour.image[2], np.moveaxis(pages, 0, -1))


def test_channels_that_a_model_cannot_take_are_refused_and_gray_is_shown_to_models_of_colours(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(tmp_path / "gray.png")
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0] = 1, 2, 3
    Image.fromarray(colour).save(tmp_path / "colour.png")
    gray, coloured = (find(tmp_path / name)[0][0] for name in ("gray.png", "colour.png"))
    assert (read_input(gray, COLOUR).image == 9).all() and read_input(gray, COLOUR).image.shape == (3, 4, 4)
    modalities = Task(3, ("background", "x"), channel_names=("pre", "FLAIR", "post"))
    for entry, task in ((coloured, GRAY), (gray, modalities)):
        with pytest.raises(UsageError, match="channel"):
            read_input(entry, task)
    with pytest.raises(UsageError, match="the model takes volumes"):
        read_input(gray, VOLUMES)


def test_nothing_found_says_where_it_looked(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(UsageError, match=r"No images below .* \(1 other file\)"):
        find(tmp_path)
    with pytest.raises(UsageError, match="does not exist"):
        find(tmp_path / "absent")


def test_what_is_no_scan_is_named_and_the_only_series_has_the_name_of_its_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "p").mkdir()
    for index in range(3):
        write_dicom(tmp_path / "p" / f"{index}", np.zeros((4, 5)), position=(0, 0, 2.0 * index))
    write_dicom(tmp_path / "p" / "plan", np.zeros((4, 5)), SeriesInstanceUID="9.1", Modality="RTPLAN")
    write_dicom(tmp_path / "p" / "scout", np.zeros((4, 5)), SeriesInstanceUID="9.2", ImageType=["ORIGINAL", "LOCALIZER"])
    (tmp_path / "p" / "cut.dcm").write_bytes(b"")
    inputs, _ = find(tmp_path / "p", volumes=True)
    assert [(entry.key, len(entry.files), bool(entry.problem)) for entry in inputs] == [
        ("cut.dcm", 1, True),
        ("p", 3, False),
    ]
    assert "plan (RTPLAN" in caplog.text and "scout (a localizer)" in caplog.text
    images = [entry.key for entry in find(tmp_path / "p")[0]]
    assert images == ["0", "1", "2", "cut.dcm", "scout"]  # a localizer is an image too, a plan is not


def test_a_gray_volume_is_no_colour_image(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 3), np.int16), np.eye(4)), tmp_path / "mr.nii.gz")
    (tmp_path / "ct").mkdir()
    for index in range(3):
        write_dicom(tmp_path / "ct" / f"{index}", np.zeros((4, 5)), position=(0, 0, 2.0 * index))
    for entry in find(tmp_path, volumes=True)[0]:
        with pytest.raises(UsageError, match="is a volume; the model was trained on images, of 3 channels"):
            read_input(entry, COLOUR)
