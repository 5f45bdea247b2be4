"""What mask values mean: lossy files, numbers of objects, colours and rare classes are asked for, never guessed silently."""

from __future__ import annotations

from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from test_datasets import BOX, opened, write

from segkit.errors import SegkitError, UsageError

LEVELS = np.zeros((64, 64), np.uint8)  # off the grid of JPEG's 8 x 8 blocks
LEVELS[11:53, 9:55], LEVELS[21:40, 19:44] = 128, 255
CLASSES = np.digitize(LEVELS, [64, 192])


def jpeg(mask: np.ndarray, path: Path, quality: int = 85) -> np.ndarray:  # type: ignore[type-arg]
    """Save a mask as JPEG; what comes back."""
    Image.fromarray(mask).save(path.with_suffix(".jpg"), quality=quality)
    return cv2.imread(str(path.with_suffix(".jpg")), cv2.IMREAD_UNCHANGED)


def of_jpegs(root: Path, mask: np.ndarray, count: int = 3) -> Path:  # type: ignore[type-arg]
    write(root, dict.fromkeys(map(str, range(count)), mask))
    for path in list((root / "masks").iterdir()):
        jpeg(mask, path), path.unlink()
    return root


# lossy files


def test_several_levels_of_jpeg_masks_are_asked_for_and_typed_values_taken(tmp_path: Path) -> None:
    root = of_jpegs(tmp_path, LEVELS)
    with pytest.raises(UsageError) as error:
        opened("folder", root)
    assert all(words in str(error.value) for words in ("JPEG", "PNG", "-o dataset.values=0,128,255"))
    dataset = opened("folder", root, values="0,128,255", classes="background,organ,tumour")
    mask = dataset.read(dataset.cases[0]).mask
    assert mask is not None and (mask == CLASSES).mean() > 0.97  # what passes from 0 to 255 passes 128
    assert any("3 of 3 masks are JPEG files" in note for note in dataset.notes)
    one = opened("folder", root, values="0,128+")
    assert one.task.mode == "binary"
    assert (one.read(one.cases[0]).mask == (LEVELS > 0)).mean() > 0.97


def test_a_png_that_was_a_jpeg_is_no_better(tmp_path: Path) -> None:
    root = write(tmp_path, {"a": LEVELS, "b": LEVELS})
    for path in (root / "masks").glob("*.png"):
        noisy = jpeg(LEVELS, tmp_path / path.stem)
        assert len(np.unique(noisy)) > 16
        Image.fromarray(noisy).save(path)
    with pytest.raises(UsageError, match="as if they had been saved as JPEG once"):
        opened("folder", root)
    dataset = opened("folder", root, values="0,128,255")
    assert (dataset.read(dataset.cases[0]).mask == CLASSES).mean() > 0.97


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_two_levels_stay_a_binary_mask_at_any_quality(tmp_path: Path, quality: int) -> None:
    binary = np.where(LEVELS > 0, 255, 0).astype(np.uint8)
    root = write(tmp_path, {"a": binary})
    (root / "masks" / "a.png").unlink()
    jpeg(binary, root / "masks" / "a", quality)
    dataset = opened("folder", root)
    assert dataset.task.mode == "binary" and (dataset.read(dataset.cases[0]).mask == (LEVELS > 0)).mean() > 0.98


def test_labels_that_jpeg_has_blurred_into_each_other_are_refused(tmp_path: Path) -> None:
    root = of_jpegs(tmp_path, CLASSES.astype(np.uint8) * 3)
    with pytest.raises(UsageError, match=r"JPEG files with values up to \d+ only") as error:
        opened("folder", root)
    assert "PNG" in error.value.hint
    typed = opened("folder", root, values="0,3,6")
    with pytest.raises(SegkitError, match="too close together to be told apart"):
        typed.read(typed.cases[0])


def test_typed_values_that_are_not_a_jpegs_levels_are_refused(tmp_path: Path) -> None:
    typed = opened("folder", of_jpegs(tmp_path, LEVELS), values="0,60,255")
    with pytest.raises(SegkitError, match=r"holds values around 128, which are not among dataset.values \(0, 60, 255\)"):
        typed.read(typed.cases[0])


def test_typed_colours_are_taken_from_jpegs_by_their_distance(tmp_path: Path) -> None:
    painted = np.zeros((64, 64, 3), np.uint8)
    painted[16:48, 16:48], painted[20:30, 20:30] = (255, 0, 0), (0, 255, 0)
    root = of_jpegs(tmp_path, LEVELS, count=1)
    jpeg(painted, root / "masks" / "0")
    with pytest.raises(UsageError, match="or were saved as JPEG"):
        opened("folder", root)
    dataset = opened("folder", root, values="#000000,#ff0000,#00ff00")
    expected = (painted[..., 0] > 0) + 2 * (painted[..., 1] > 0)
    assert (dataset.read(dataset.cases[0]).mask == expected).mean() > 0.9
    other = opened("folder", root, values="#000000,#0000ff,#ffff00")
    with pytest.raises(SegkitError, match="holds other colours"):
        other.read(other.cases[0])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_third_level_in_a_later_mask_is_refused_not_rounded(tmp_path: Path, suffix: str) -> None:
    binary = np.where(LEVELS > 0, 255, 0).astype(np.uint8)
    root = write(tmp_path, {"a": binary, "b": LEVELS}, suffix)
    dataset = opened("folder", root, values="0,255")
    dataset.read(dataset.cases[0])
    with pytest.raises(SegkitError, match=r"holds a level of its own between 0 and 255: 12[5-9]") as error:
        dataset.read(dataset.cases[1])
    assert "-o dataset.values=0,12" in error.value.hint


def test_nnunet_labels_saved_as_jpeg_are_refused(tmp_path: Path) -> None:
    root = of_jpegs(tmp_path, LEVELS)
    (root / "images").rename(root / "imagesTr"), (root / "masks").rename(root / "labelsTr")
    with pytest.raises(UsageError) as error:
        opened("nnunet", root)
    assert all(words in str(error.value) for words in ("JPEG", "PNG", "dataset.json"))


# numbers of objects


def cells(numbers: list[int], kind: type = np.uint16) -> np.ndarray:  # type: ignore[type-arg]
    mask = np.zeros((64, 64), kind)
    for place, number in enumerate(numbers):
        row, column = divmod(place, 8)
        mask[8 * row + 1 : 8 * row + 6, 8 * column + 1 : 8 * column + 6] = number
    return mask


def saved(root: Path, masks: list[np.ndarray]) -> Path:  # type: ignore[type-arg]
    write(root, {str(index): BOX for index in range(len(masks))})
    for index, mask in enumerate(masks):
        Image.fromarray(np.full((*mask.shape[:2], 3), 90, np.uint8)).save(root / "images" / f"{index}.png")
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


OBJECTS = {
    "unshared": [cells([1, 2, 3]), cells([4, 5, 6, 7]), cells([8, 9])],
    "large": [cells([300, 400, 20000]), cells([301, 17, 20001])],
    "from 1 in each": [cells([*range(1, n + 1)]) for n in (5, 9, 30)],
    "many": [cells([*range(1, 61)]), cells([*range(61, 110)])],
    "colours": [
        np.stack([cells([n + 9, 7 * n], np.uint8) * 1, *[cells([3 * n, 9], np.uint8)] * 2], -1) for n in range(1, 6)
    ],
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_numbers_of_objects_are_no_classes_and_become_one_if_so_typed(tmp_path: Path, kind: str) -> None:
    root = saved(tmp_path, OBJECTS[kind])
    with pytest.raises(UsageError, match="number objects") as error:
        opened("folder", root)
    assert "-o dataset.values=0,1+" in error.value.hint
    assert "#" not in str(error.value) or kind == "colours"
    dataset = opened("folder", root, values="0,1+")
    assert dataset.task.classes == ("background", "foreground")
    for case, mask in zip(dataset.cases, OBJECTS[kind], strict=True):
        target = mask > 0 if mask.ndim == 2 else (mask > 0).any(axis=-1)
        assert np.array_equal(dataset.read(case).mask, target)


def test_numbers_of_objects_in_volumes_are_noticed(tmp_path: Path) -> None:
    for number in range(3):
        for folder, array in (("images", np.zeros((64, 64, 2))), ("masks", cells([3 * number + n for n in (1, 2, 3)]))):
            (tmp_path / folder).mkdir(exist_ok=True)
            volume = np.stack([array, array], -1)[..., :2] if array.ndim == 2 else array
            nib.save(nib.Nifti1Image(volume.astype(np.int16), np.eye(4)), tmp_path / folder / f"{number}.nii.gz")
    with pytest.raises(UsageError, match="number objects"):
        opened("folder", tmp_path)


def test_organs_that_all_masks_share_stay_classes(tmp_path: Path) -> None:
    dataset = opened("folder", saved(tmp_path, [cells([*range(1, 14)], np.uint8), cells([1, 2, 5, 6, 7], np.uint8)]))
    assert len(dataset.task.classes) == 14


# gray values and colours


def test_one_large_gray_value_is_shown_as_the_number_it_is(tmp_path: Path) -> None:
    dataset = opened("folder", saved(tmp_path, [(BOX > 0).astype(np.uint16) * 65535] * 2))
    assert dataset.options.values == ("0", "65535") and not any("#" in note for note in dataset.notes)


def test_white_is_one_value_in_gray_and_coloured_masks_and_pure_blue_another(tmp_path: Path) -> None:
    painted = np.zeros((32, 32, 3), np.uint8)
    painted[:8], painted[8:16] = 255, (0, 0, 255)
    white = painted.copy()
    white[8:16] = 0
    dataset = opened("folder", saved(tmp_path, [painted, white]))
    assert set(dataset.options.values) == {"#000000", "#ffffff", "#0000ff"}
    order = dataset.options.values
    first, second = (dataset.read(case).mask for case in dataset.cases)
    assert (first == order.index("#ffffff")).sum() == (second == order.index("#ffffff")).sum() == 8 * 32
    assert (first == order.index("#0000ff")).sum() == 8 * 32


# rare classes


def test_a_class_beyond_the_masks_that_were_looked_at_is_offered(tmp_path: Path) -> None:
    from segkit_datasets import folder

    root = write(tmp_path, {"a": BOX, "b": BOX * 2})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "LOOKED_AT", 1)
        dataset = opened("folder", root)
    with pytest.raises(SegkitError) as error:
        dataset.read(dataset.cases[1])
    assert "-o dataset.values=0,1,2" in error.value.hint
    assert len(opened("folder", root, values="0,1,2").task.classes) == 3
