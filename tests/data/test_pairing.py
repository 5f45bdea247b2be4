"""Masks find their images."""

from __future__ import annotations

from pathlib import Path

import pytest

from segkit.data.pairing import pair_files
from segkit.errors import UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("mask", ["7.png", "7_mask.tif", "7_gt.png", "7_segmentation.png", "7_manual1.gif", "7-label.png"])
def test_a_mask_is_known_by_its_stem(tmp_path: Path, mask: str) -> None:
    images, masks = touch(tmp_path / "i", "7.jpg"), touch(tmp_path / "m", mask)
    assert pair_files(images, masks).pairs == (("7", images / "7.jpg", (masks / mask,)),)


def test_an_image_whose_own_name_ends_like_a_mask_is_paired_too(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "scan_seg.png"), touch(tmp_path / "m", "scan_seg.png")
    assert pair_files(images, masks).pairs[0][2] == (masks / "scan_seg.png",)


def test_the_order_is_natural_and_folders_must_agree(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "a/10.png", "a/2.png", "b/2.png")
    masks = touch(tmp_path / "m", "a/10.png", "a/2.png", "c/2.png")
    found = pair_files(images, masks)
    assert [key for key, _, _ in found.pairs] == ["a/2", "a/10", "b/2"]
    assert found.unpaired_images == (images / "b/2.png",)
    assert found.unpaired_masks == (masks / "c/2.png",)


def test_hidden_and_foreign_files_are_left_out(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "1.png", "._1.png", "notes.txt", ".DS_Store")
    assert [path.name for _, path, _ in pair_files(images, None).pairs] == ["1.png"]


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="share the stem '1'"):
        pair_files(touch(tmp_path / "i", "1.png", "1.jpg"), None)


@pytest.mark.parametrize(
    "names",
    [
        "7_mask.png 7_mask_1.png",
        "7_mask_0.png 7_mask_1.png 7_mask_2.png",
        "7_mask1.png 7_mask2.png",
        "7_mask(1).png 7_mask(2).png",
        "7.png 7_1.png",
        "7_1.png 7_2.png",
        "7_1_mask.png 7_2_mask.png",
        "7/a.png 7/b.png",
    ],
)
def test_numbered_masks_all_belong_to_their_image(tmp_path: Path, names: str) -> None:
    images, masks = touch(tmp_path / "i", "7.jpg", "8.jpg"), touch(tmp_path / "m", *names.split(), "8_mask.png")
    found = pair_files(images, masks)
    assert {key: len(own) for key, _, own in found.pairs} == {"7": len(names.split()), "8": 1}
    assert not found.unpaired_masks


def test_a_number_is_part_of_the_name_where_images_are_numbered_so(tmp_path: Path) -> None:
    """The mask of a frame that is missing is no further mask of another frame."""
    images = touch(tmp_path / "i", "1.png", "1_1.png", "2.png")
    masks = touch(tmp_path / "m", "1.png", "1_1.png", "2.png", "2_1.png")
    found = pair_files(images, masks)
    assert [own for _, _, own in found.pairs] == [(masks / "1.png",), (masks / "1_1.png",), (masks / "2.png",)]
    assert found.unpaired_masks == (masks / "2_1.png",)


@pytest.mark.parametrize("names", ["7_manual1.png 7_manual2.png", "7.png 7_mask.png", "7_gt.png 7_mask_1.png"])
def test_masks_that_are_more_than_numbered_are_not_taken_for_parts_of_one(tmp_path: Path, names: str) -> None:
    images, masks = touch(tmp_path / "i", "7.jpg"), touch(tmp_path / "m", *names.split())
    with pytest.raises(UsageError, match="share the stem '7'"):
        pair_files(images, masks)


def test_images_and_masks_of_one_folder_are_told_by_suffix(tmp_path: Path) -> None:
    both = touch(
        tmp_path, "a/1.png", "a/1_mask.png", "a/1_mask_1.png", "a/scan_seg.png", "a/scan_seg_mask.png", "2_mask.png"
    )
    found = pair_files(both, both)
    assert found.pairs == (
        ("a/1", both / "a/1.png", (both / "a/1_mask.png", both / "a/1_mask_1.png")),
        ("a/scan_seg", both / "a/scan_seg.png", (both / "a/scan_seg_mask.png",)),
    )
    assert found.unpaired_masks == (both / "2_mask.png",)


def test_no_image_is_ever_its_own_mask(tmp_path: Path) -> None:
    images = touch(tmp_path / "i", "1.png", "2.png")
    with pytest.raises(UsageError, match="each image would be its own mask"):
        pair_files(images, images)
    (tmp_path / "m").symlink_to(images)
    with pytest.raises(UsageError, match="each image would be its own mask"):
        pair_files(images, tmp_path / "m")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "1.png").symlink_to(images / "1.png")
    with pytest.raises(UsageError, match=r"1.png would be its own mask"):
        pair_files(images, tmp_path / "links")


def test_a_folder_of_masks_inside_that_of_the_images_holds_no_images(tmp_path: Path) -> None:
    images = touch(tmp_path, "1.png", "2.png", "masks/1.png", "masks/2.png")
    found = pair_files(images, images / "masks")
    assert [(key, own) for key, _, own in found.pairs] == [
        ("1", (images / "masks/1.png",)),
        ("2", (images / "masks/2.png",)),
    ]
