"""`segkit data check` finds what would make a training fail or lie, names it, and ends with 1."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from conftest import Command, real


@pytest.fixture
def data(segkit: Command, tmp_path: Path) -> Path:
    assert segkit("data", "synth", "folder", "--cases", "6", "--out", tmp_path / "data").code == 0
    return tmp_path / "data"


def check(segkit: Command, name: str, root: Path, *options: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    done = segkit("data", "check", name, "--data-dir", root, *options, "--json")
    return done.code, json.loads(done.out)


def test_a_sound_folder_passes_and_its_figures_are_the_masks_own(segkit: Command, data: Path) -> None:
    code, found = check(segkit, "folder", data)
    assert code == 0 and found["problems"] == [] and found["unusable"] == 0
    masks = [np.asarray(Image.open(path)) for path in sorted((data / "masks").iterdir())]
    everything = found["subsets"]["all"]
    assert everything["class_balance"]["foreground"] == pytest.approx(np.mean([mask > 127 for mask in masks]))
    assert everything["sizes"] == {"128 x 128": 6} and everything["groups"] == 6 and everything["without_target"] == 0
    assert "No problem was found. Mind the notes." in segkit("data", "check", "folder", "--data-dir", data).out


def test_every_unusable_case_is_named_and_the_rest_is_done(segkit: Command, data: Path) -> None:
    images, masks = sorted((data / "images").iterdir()), sorted((data / "masks").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:200])
    images[1].write_bytes(b"")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(masks[2])
    masks[3].write_text("not an image")
    code, found = check(segkit, "folder", data)
    assert code == 1 and found["unusable"] == 4 and found["subsets"]["all"]["cases"] == 2
    for index, words in enumerate(["cannot be read", "0 bytes", "the mask's size (9, 9)", "cannot be read"]):
        assert words in found["problems"][index] and f"phantom-000{index}" in found["problems"][index]


def test_the_bad_files_of_every_layout_are_named_and_the_rest_is_done(segkit: Command, tmp_path: Path) -> None:
    spoil = {
        "figshare": ("2.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b" " * 100, "version 5"),
        "lgg": ("kaggle_3m/TCGA_ZZ_0000_20000101/TCGA_ZZ_0000_20000101_2.tif", b"text", "cannot be read"),
        "polyp": ("CVC-ClinicDB/Original/154.tif", b"", "0 bytes"),
        "acdc": ("training/patient001/Info.cfg", b"ES: 7\n", "does not name the ED and ES frames"),
        "brats2020": (
            "MICCAI_BraTS2020_TrainingData/BraTS20_Training_002/BraTS20_Training_002_t1.nii.gz",
            b"\x1f\x8b",
            "t1",
        ),
        "nnunet": ("imagesTr/case_000_0000.nii.gz", None, "cut short"),
        "brain-coco": ("train/0_png.rf.00000000000000000000000000000000.png", None, "cannot be read"),
    }
    for name, (file, content, words) in spoil.items():
        root = tmp_path / name
        assert segkit("data", "synth", name, "--cases", "4", "--out", root).code == 0
        whole = (root / file).read_bytes()
        (root / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
        code, found = check(segkit, name, root)
        assert code == 1 and found["unusable"] == 1 and found["subsets"]["all"]["cases"] > 0, (name, found)
        assert words in found["problems"][0], (name, found["problems"])


def test_a_label_that_is_unknown_is_named(segkit: Command, data: Path) -> None:
    code, found = check(segkit, "folder", data, "-o", "dataset.values=0,100,200", "-o", "dataset.classes=a,b,c")
    assert code == 1 and "holds 255, which are not among dataset.values" in found["problems"][0]


def test_missing_partners_are_told(segkit: Command, data: Path) -> None:
    next((data / "masks").iterdir()).unlink()
    assert "1 image(s) without a mask" in " ".join(check(segkit, "folder", data)[1]["warnings"])


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("lgg", "kaggle_3m/TCGA_ZZ_0000_20000101/TCGA_ZZ_0000_20000101_2_mask.tif"),
        ("polyp", "CVC-ClinicDB/Ground Truth/154.tif"),
        ("acdc", "training/patient001/patient001_frame07_gt.nii.gz"),
        ("brats2020", "MICCAI_BraTS2020_TrainingData/BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz"),
        ("nnunet", "labelsTr/case_001.nii.gz"),
    ],
)
def test_what_has_no_mask_is_named_in_every_layout(segkit: Command, tmp_path: Path, name: str, mask: str) -> None:
    assert segkit("data", "synth", name, "--cases", "4", "--out", tmp_path / "data").code == 0
    (tmp_path / "data" / mask).unlink()
    warnings = check(segkit, name, tmp_path / "data")[1]["warnings"]
    named = {"lgg": "20000101_2", "polyp": "154", "acdc": "patient001_ES", "brats2020": "Training_001", "nnunet": "case_001"}
    assert any("1 " in warning and "are left out" in warning and named[name] in warning for warning in warnings)


def test_the_same_image_in_two_groups_is_a_problem_and_in_one_a_note(segkit: Command, data: Path) -> None:
    for folder in ("images", "masks"):
        shutil.copy(data / folder / "phantom-0001.png", data / folder / "copy-of-1.png")
    code, found = check(segkit, "folder", data)
    assert code == 1 and "copy-of-1 and phantom-0001 are the same image in different groups" in found["problems"]
    code, found = check(segkit, "folder", data, "-o", "dataset.group=o")
    assert code == 0 and any("the same image in one group" in warning for warning in found["warnings"])


def test_blank_images_are_nobodys_twins(segkit: Command, data: Path) -> None:
    for name in ("blank-1", "blank-2"):  # as the first and last slices of many volumes are
        Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(data / "images" / f"{name}.png")
        Image.fromarray(np.zeros((128, 128), np.uint8)).save(data / "masks" / f"{name}.png")
    code, found = check(segkit, "folder", data)
    assert code == 0 and found["problems"] == []


def test_official_subsets_that_share_a_patient_are_a_problem(segkit: Command, data: Path, tmp_path: Path) -> None:
    for index, subset in enumerate(("train", "test")):
        for folder in ("images", "masks"):
            (tmp_path / "split" / subset / folder).mkdir(parents=True)
            name = f"phantom-000{index}.png"
            shutil.copy(data / folder / name, tmp_path / "split" / subset / folder / f"p1_{index}.png")
    code, found = check(segkit, "folder", tmp_path / "split", "-o", "dataset.group=(p1)")
    assert code == 1 and "group p1 is in the official subsets test and train" in found["problems"]
    assert set(found["subsets"]) == {"all", "train", "test"}


def test_masks_that_are_boxes_are_noticed_and_others_are_not(segkit: Command, tmp_path: Path, data: Path) -> None:
    assert segkit("data", "synth", "brain-coco", "--cases", "8", "--out", tmp_path / "coco").code == 0
    for mask in ("bbox", "polygon"):
        warnings = check(segkit, "brain-coco", tmp_path / "coco", "-o", f"dataset.mask={mask}")[1]["warnings"]
        assert any("filled rectangles" in warning for warning in warnings)
    assert not any("rectangles" in warning for warning in check(segkit, "folder", data)[1]["warnings"])


def test_image_and_mask_on_different_grids_are_a_problem(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "nnunet", "--cases", "3", "--out", tmp_path / "data").code == 0
    file = tmp_path / "data" / "labelsTr" / "case_001.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), np.diag([-1.0, -1, 2.5, 1])), file)
    code, found = check(segkit, "nnunet", tmp_path / "data")
    assert code == 1 and len(found["problems"]) == 1
    assert "case_001" in found["problems"][0] and "another grid" in found["problems"][0]


def test_the_real_boxes_are_noticed(segkit: Command) -> None:
    code, found = check(segkit, "brain-coco", real("brain-coco"), "-o", "dataset.mask=polygon")
    assert code == 0 and any("filled rectangles" in warning for warning in found["warnings"])


def test_the_cache_shows_its_size_and_is_emptied_of_its_own_files_alone(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGKIT_CACHE", str(tmp_path / "cache"))
    words = "train --dataset phantom --model unet -o dataset.cases=4 -o dataset.size=16 -o model.width=1 -o model.depth=1"
    assert segkit(*words.split(), "--epochs", "1", "--out", tmp_path / "run").code == 0
    (tmp_path / "cache" / "mine.txt").write_text("not of segkit")
    shown = json.loads(segkit("data", "cache", "--json").out)
    assert shown["files"] > 3 and shown["bytes"] > 1000 and shown["folder"] == str(tmp_path / "cache")
    assert "now removed" in segkit("data", "cache", "--clear").out
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.txt"]
    assert segkit(*words.split(), "--epochs", "1", "--out", tmp_path / "again").code == 0
