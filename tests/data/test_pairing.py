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
    assert pair_files(images, masks).pairs == (("7", images / "7.jpg", masks / mask),)


def test_an_image_whose_own_name_ends_like_a_mask_is_paired_too(tmp_path: Path) -> None:
    images, masks = touch(tmp_path / "i", "scan_seg.png"), touch(tmp_path / "m", "scan_seg.png")
    assert pair_files(images, masks).pairs[0][2] == masks / "scan_seg.png"


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
