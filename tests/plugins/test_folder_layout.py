"""The user's own folder: which masks belong to an image, which subset it is in, and how photographs are turned."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_datasets import BOX, opened, write

from segkit.data.reading import read_case
from segkit.errors import SegkitError


def photographed(root: Path, size: tuple[int, int], orientation: int, mask_size: tuple[int, int]) -> Path:
    """Two photographs with a bright upper left quarter, as stored, and masks with the same one."""
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in "ab":
        for folder, shape, most in (("images", size, 250), ("masks", mask_size, 255)):
            pixels = np.zeros(shape, np.uint8)
            pixels[: shape[0] // 2, : shape[1] // 2] = most
            end, how = ("jpg", {"exif": exif, "quality": 95}) if folder == "images" else ("png", {})
            Image.fromarray(pixels).save(root / folder / f"{name}.{end}", **how)  # type: ignore[arg-type]
    return root


def test_masks_of_the_stored_pixels_leave_the_image_unturned_and_it_is_told(tmp_path: Path) -> None:
    dataset = opened("folder", photographed(tmp_path, (16, 32), 6, (16, 32)))
    sample = read_case(dataset, dataset.cases[0])
    assert sample.mask is not None and np.array_equal(sample.image[0] > 125, sample.mask == 1)
    assert any("2 image(s) have masks of the size of the stored pixels" in note and "EXIF" in note for note in dataset.notes)


def test_masks_of_the_shown_pixels_need_no_note(tmp_path: Path) -> None:
    dataset = opened("folder", photographed(tmp_path, (16, 32), 6, (32, 16)))
    assert read_case(dataset, dataset.cases[0]).image.shape == (1, 32, 16)
    assert not any("EXIF" in note for note in dataset.notes)


@pytest.mark.parametrize(("size", "orientation"), [((16, 16), 6), ((16, 32), 3)])
def test_where_the_sizes_do_not_tell_it_is_said(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    dataset = opened("folder", photographed(tmp_path, size, orientation, size))
    assert any("2 image(s) are turned by EXIF" in note and "a, b" in note for note in dataset.notes)
    assert len(opened("folder", tmp_path, labelled=False).cases) == 2


def test_several_masks_of_one_image_are_united_and_told(tmp_path: Path) -> None:
    other = np.roll(BOX, 12, axis=0)  # overlaps
    root = write(tmp_path, {"a": BOX, "b": BOX})
    Image.fromarray(other * 255).save(root / "masks" / "a_mask_1.png")
    Image.fromarray(BOX * 255).save(root / "masks" / "a_mask.png")
    (root / "masks" / "a.png").unlink()
    Image.fromarray(BOX * 255).save(root / "masks" / "b.png")
    dataset = opened("folder", root)
    sample = read_case(dataset, dataset.cases[0])
    assert np.array_equal(sample.mask, BOX | other)
    assert any("1 image(s) have several masks" in note and "a_mask_1.png" in note for note in dataset.notes)
    assert len(dataset.cases[0].files) == 3  # all are fingerprinted
    assert "mask" not in opened("folder", root, labelled=False).cases[0].files
    Image.fromarray(BOX[:30] * 255).save(root / "masks" / "a_mask_1.png")
    with pytest.raises(SegkitError, match=r"The masks of .*a.png \(a_mask.png, a_mask_1.png\) differ in size"):
        read_case(dataset, dataset.cases[0])


def test_several_masks_of_classes_are_united_unless_they_contradict_each_other(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX})
    (root / "masks" / "a.png").unlink()
    second = np.zeros_like(BOX)
    second[:8, :8] = 2
    Image.fromarray(BOX).save(root / "masks" / "a_1.png")
    Image.fromarray(second).save(root / "masks" / "a_2.png")
    dataset = opened("folder", root)
    assert np.array_equal(read_case(dataset, dataset.cases[0]).mask, BOX + second)
    second[8, 8] = 2
    Image.fromarray(second).save(root / "masks" / "a_2.png")
    with pytest.raises(SegkitError, match=r"several masks of .*a.png .* give 1 pixels different classes"):
        read_case(dataset, dataset.cases[0])


@pytest.mark.parametrize("labelled", [True, False])
def test_images_and_masks_in_one_folder_are_told_apart(tmp_path: Path, labelled: bool) -> None:
    root = write(tmp_path, {"a": BOX, "b": BOX})
    for name in "ab":
        shutil.move(root / "masks" / f"{name}.png", root / "images" / f"{name}_mask.png")
    dataset = opened("folder", root, labelled, masks="images")
    assert [case.id for case in dataset.cases] == ["a", "b"]
    assert not labelled or np.array_equal(dataset.read(dataset.cases[0]).mask, BOX)


def test_images_with_their_masks_beside_them_need_no_folders(tmp_path: Path) -> None:
    """The layout of BUSI: benign/benign (1).png, benign (1)_mask.png, benign (1)_mask_1.png."""
    root = write(tmp_path / "x", {"a": BOX})
    for folder, name in (("benign", "benign (1)"), ("malignant", "malignant (1)")):
        (tmp_path / "busi" / folder).mkdir(parents=True)
        shutil.copy(root / "images" / "a.png", tmp_path / "busi" / folder / f"{name}.png")
        for number in ("", "_1"):
            shutil.copy(root / "masks" / "a.png", tmp_path / "busi" / folder / f"{name}_mask{number}.png")
    dataset = opened("folder", tmp_path / "busi")
    assert [case.id for case in dataset.cases] == ["benign/benign (1)", "malignant/malignant (1)"]
    assert any("side by side" in note for note in dataset.notes) and any(
        "2 image(s) have several" in n for n in dataset.notes
    )
    assert len(opened("folder", tmp_path / "busi", labelled=False).cases) == 2


def test_subsets_inside_the_folders_of_images_and_masks_are_the_official_split(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": BOX, "b": BOX})
    for folder in ("images", "masks"):
        for subset, name in (("train", "a"), ("Testing", "b")):
            (root / folder / subset).mkdir()
            shutil.move(root / folder / f"{name}.png", root / folder / subset / f"{name}.png")
    assert [(case.id, case.subset) for case in opened("folder", root).cases] == [("train/a", "train"), ("test/b", "test")]
    for folder in ("images", "masks"):
        shutil.move(root / folder / "Testing", root / folder / "clinic")
    assert {case.subset for case in opened("folder", root).cases} == {None}


def test_a_subset_without_masks_is_left_out_and_told(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        write(tmp_path / name, {"a": BOX, "b": BOX})
    shutil.rmtree(tmp_path / "test" / "masks")
    dataset = opened("folder", tmp_path)
    assert [case.id for case in dataset.cases] == ["train/a", "train/b", "val/a", "val/b"]
    assert any("2 image(s) of test/, which has no folder of masks" in note for note in dataset.notes)
    assert len(opened("folder", tmp_path, labelled=False).cases) == 6


def test_subset_folders_beside_the_images_are_not_dropped_in_silence(tmp_path: Path) -> None:
    write(tmp_path, {"a": BOX}), write(tmp_path / "test", {"b": BOX})
    dataset = opened("folder", tmp_path)
    assert [case.id for case in dataset.cases] == ["a"]
    assert any("1 folder(s) of images beside the one that is used are left out: test" in note for note in dataset.notes)
