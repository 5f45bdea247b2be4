"""ACDC, BraTS and nnU-Net's layout: the traps, on files that we write ourselves; 2D and 3D networks train on volumes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from test_datasets import opened, synth

from conftest import Command
from segkit.data.reading import read_case
from segkit.data.split import split_cases
from segkit.errors import SegkitError, UsageError
from segkit.prediction.inputs import inputs_of, read_input
from segkit.settings import Split

# acdc


def test_acdc_frames_are_those_of_info_cfg(tmp_path: Path) -> None:
    root = synth("acdc", tmp_path, cases=4)
    dataset = opened("acdc", root)
    assert {case.id for case in dataset.cases} == {f"patient00{n}_{phase}" for n in (1, 2) for phase in ("ED", "ES")}
    first = next(case for case in dataset.cases if case.id == "patient001_ES")
    assert (first.group, first.subset, first.label, first.metadata["frame"]) == ("patient001", "train", "NOR", 7)
    assert dataset.read(first).spacing == pytest.approx((1.5, 1.5, 5.0))
    assert dataset.task.classes == ("background", "RV", "myocardium", "LV")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_missing_acdc_frame_is_cut_out_of_the_4d_file(tmp_path: Path, ending: str) -> None:
    root = synth("acdc", tmp_path, cases=2)
    folder = root / "training" / "patient001"
    series = np.random.default_rng(0).integers(0, 99, (24, 24, 8, 12)).astype(np.int16)
    nib.save(nib.Nifti1Image(series, np.diag([1.5, 1.5, 5, 1])), folder / f"patient001_4d{ending}")
    (folder / "patient001_frame07.nii.gz").unlink()
    dataset = opened("acdc", root)
    systole = next(case for case in dataset.cases if case.metadata["phase"] == "ES")
    assert np.array_equal(dataset.read(systole).image[0], series[..., 6])  # frames count from 1
    (folder / "Info.cfg").write_text("ED: 1\nES: 13\n")
    (folder / "patient001_frame13_gt.nii.gz").write_bytes((folder / "patient001_frame07_gt.nii.gz").read_bytes())
    dataset = opened("acdc", root)
    with pytest.raises(SegkitError, match=r"has 12 frames; Info.cfg names frame 13"):
        dataset.read(next(case for case in dataset.cases if case.metadata["phase"] == "ES"))


@pytest.mark.parametrize("content", ["ES: 7\n", "ED: one\nES: 7\n", None])
def test_an_info_cfg_without_ed_is_one_cases_error(tmp_path: Path, content: str | None) -> None:
    root = synth("acdc", tmp_path, cases=4)
    info = root / "training" / "patient001" / "Info.cfg"
    info.unlink() if content is None else info.write_text(content)
    dataset = opened("acdc", root)
    assert len(dataset.cases) == 3
    broken = next(case for case in dataset.cases if case.id == "patient001")
    with pytest.raises(SegkitError, match=r"Info.cfg does not name the ED and ES frames"):
        read_case(dataset, broken)


def test_frames_without_truth_are_left_out_and_told(tmp_path: Path) -> None:
    root = synth("acdc", tmp_path, cases=4)
    (root / "testing" / "patient002" / "patient002_frame01_gt.nii.gz").unlink()
    dataset = opened("acdc", root)
    assert len(dataset.cases) == 3 and "patient002_ED" in dataset.notes[0]
    assert len(opened("acdc", root, labelled=False).cases) == 4


# brats


def test_brats_labels_modalities_and_regions(tmp_path: Path) -> None:
    root = synth("brats2020", tmp_path, cases=2)
    dataset = opened("brats2020", root, modalities="t1ce,zeros,flair")
    assert len(dataset.cases) == 2  # the second one's mask is called W39_1998.09.19_Segm.nii.gz
    folder = root / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"
    stored = nib.as_closest_canonical(nib.load(folder / "BraTS20_Training_001_seg.nii.gz")).get_fdata()
    sample = dataset.read(dataset.cases[0])
    assert sample.mask is not None and np.array_equal(sample.mask == 3, stored == 4) and sample.mask.max() == 3
    flair = nib.as_closest_canonical(nib.load(folder / "BraTS20_Training_001_flair.nii.gz")).get_fdata()
    assert np.array_equal(sample.image[2], flair) and not sample.image[1].any()
    assert dataset.task.regions["TC"] == ("NCR", "ET") and dataset.task.channel_names == ("t1ce", "zeros", "flair")


def test_brats_slices_are_cut_and_checked(tmp_path: Path) -> None:
    root = synth("brats2020", tmp_path, cases=1)
    dataset = opened("brats2020", root, slices="5,10")
    assert dataset.read(dataset.cases[0]).image.shape == (4, 24, 24, 10)
    too_many = opened("brats2020", root, slices="20,10")
    with pytest.raises(SegkitError, match="24 axial slices"):
        too_many.read(too_many.cases[0])


@pytest.mark.parametrize(
    ("folder", "names", "group"),
    [
        ("BraTS2021_00002", ["BraTS2021_00002_{}"], "BraTS2021_00002"),
        ("BraTS-GLI-00002-001", ["BraTS-GLI-00002-001-{}"], "BraTS-GLI-00002"),
    ],
)
def test_the_names_of_later_years_are_understood(tmp_path: Path, folder: str, names: list[str], group: str) -> None:
    source = synth("brats2020", tmp_path / "source", cases=2) / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"
    later = "-" in folder
    tokens = {"flair": "t2f", "t1": "t1n", "t1ce": "t1c", "t2": "t2w", "seg": "seg"}
    (tmp_path / "new" / folder).mkdir(parents=True)
    for old, new in tokens.items():
        name = names[0].format(new if later else old)
        shutil.copy(source / f"BraTS20_Training_001_{old}.nii.gz", tmp_path / "new" / folder / f"{name}.nii.gz")
    dataset = opened("brats2020", tmp_path / "new")
    assert [(case.id, case.group) for case in dataset.cases] == [(folder, group)]
    assert len(dataset.cases[0].files) == 5


def test_a_mask_with_both_codes_of_enhancing_tumour_is_refused(tmp_path: Path) -> None:
    root = synth("brats2020", tmp_path, cases=2)
    file = root / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001" / "BraTS20_Training_001_seg.nii.gz"
    labels = np.asarray(nib.load(file).dataobj).copy()
    labels[0, 0, 0] = 3
    nib.save(nib.Nifti1Image(labels, nib.load(file).affine), file)
    dataset = opened("brats2020", root)
    with pytest.raises(SegkitError, match="the labels 3 and 4"):
        dataset.read(dataset.cases[0])


def test_wrong_modalities_and_missing_files_are_told(tmp_path: Path) -> None:
    root = synth("brats2020", tmp_path, cases=2)
    with pytest.raises(UsageError, match=r"dataset.modalities = flair,pet"):
        opened("brats2020", root, modalities="flair,pet")
    folder = root / "MICCAI_BraTS2020_TrainingData" / "BraTS20_Training_001"
    (folder / "BraTS20_Training_001_t2.nii.gz").unlink()
    dataset = opened("brats2020", root)
    with pytest.raises(SegkitError, match="has no t2 volume"):
        dataset.read(dataset.cases[0])
    nib.save(nib.Nifti1Image(np.zeros((24, 24, 24), np.int16), np.eye(4)), folder / "BraTS20_Training_001_t2.nii.gz")
    dataset = opened("brats2020", root)
    with pytest.raises(SegkitError, match="another grid"):
        dataset.read(dataset.cases[0])


# nnunet


def test_nnunet_regions_channels_and_ignore(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=3)
    record = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps({**record, "labels": {**record["labels"], "ignore": 3}}))
    file = root / "labelsTr" / "case_000.nii.gz"
    labels = np.asarray(nib.load(file).dataobj).copy()
    labels[0, 0, 0] = 3
    nib.save(nib.Nifti1Image(labels, nib.load(file).affine), file)
    dataset = opened("nnunet", root)
    assert dataset.task.classes == ("background", "rim", "core") and dataset.task.channel_names == ("T1", "T2")
    assert dataset.task.regions["whole"] == ("rim", "core") and dataset.task.ignore_index == 255
    sample = dataset.read(dataset.cases[0])
    assert sample.mask is not None and (sample.mask == 255).sum() == 1 and sample.image.shape[0] == 2


def test_a_decathlon_json_and_no_json_mean_the_same(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=3)
    for path in list((root / "imagesTr").iterdir()):
        path.unlink() if "_0001" in path.name else path.rename(path.with_name(path.name.replace("_0000", "")))
    decathlon = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "rim", "2": "core"}}
    (root / "dataset.json").write_text(json.dumps(decathlon))
    stated = opened("nnunet", root)
    (root / "dataset.json").unlink()
    inferred = opened("nnunet", root)
    assert stated.task.classes == ("background", "rim", "core") and stated.task.channel_names == ("MRI",)
    assert inferred.task.classes == ("background", "class-1", "class-2") and "no dataset.json" in inferred.notes[0]
    assert np.array_equal(stated.read(stated.cases[0]).mask, inferred.read(inferred.cases[0]).mask)  # type: ignore[arg-type]


def test_a_label_that_dataset_json_does_not_name_is_refused(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=1)
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "rim": 1}}))
    dataset = opened("nnunet", root)
    with pytest.raises(
        SegkitError, match=r"case_000.nii.gz holds 2, which are not among the labels of dataset.json \(0, 1\)"
    ):
        dataset.read(dataset.cases[0])


def moved_to_test(root: Path, number: int) -> None:
    """The last cases of a synthetic nnU-Net set, images and labels, become imagesTs and labelsTs."""
    for kind in ("images", "labels"):
        (root / f"{kind}Ts").mkdir()
        for path in [path for path in (root / f"{kind}Tr").iterdir() if f"case_{number:03d}" in path.name]:
            shutil.move(path, root / f"{kind}Ts" / path.name)


def test_labelled_test_images_are_the_official_test_subset(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=4)
    moved_to_test(root, 3)
    dataset = opened("nnunet", root)
    assert {case.id: case.subset for case in dataset.cases} == {
        "case_000": "train",
        "case_001": "train",
        "case_002": "train",
        "case_003": "test",
    }
    assert split_cases(dataset.cases, Split(seed=0))["test"] == ["case_003"]
    assert all(read_case(dataset, case).mask is not None for case in dataset.cases)
    assert len(opened("nnunet", root, labelled=False).cases) == 4


def test_what_of_nnunets_tree_is_left_out_is_told(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=4)
    moved_to_test(root, 3)
    shutil.rmtree(root / "labelsTs")
    (root / "labelsTr" / "case_001.nii.gz").rename(root / "labelsTr" / "case_009.nii.gz")
    dataset = opened("nnunet", root)
    assert [(case.id, case.subset) for case in dataset.cases] == [("case_000", None), ("case_002", None)]
    told = "; ".join(dataset.notes)
    assert "1 image(s) of imagesTs without a label in labelsTs are left out: case_003" in told
    assert "1 image(s) of imagesTr without a label in labelsTr are left out: case_001" in told
    assert "1 label(s) of labelsTr without an image in imagesTr are left out: case_009" in told


def test_a_name_that_is_in_both_of_nnunets_folders_is_two_cases(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=2)
    for kind in ("images", "labels"):
        shutil.copytree(root / f"{kind}Tr", root / f"{kind}Ts")
    dataset = opened("nnunet", root)
    assert [case.id for case in dataset.cases] == ["case_000", "case_001", "test/case_000", "test/case_001"]
    assert len({case.group for case in dataset.cases}) == 4
    assert len(opened("nnunet", root, labelled=False).cases) == 4


def test_files_beside_volumes_are_no_cases(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=2)
    for name in ("Thumbs.db", "._case_000_0000.nii.gz", "README.txt", "labels.csv", "a_preview.png"):
        for folder in ("imagesTr", "labelsTr"):
            (root / folder / name).write_bytes(b"x")
    (root / "imagesTr" / "case_001_0000.xyz").write_bytes(b"x")
    dataset = opened("nnunet", root)
    assert (dataset.task.dims, [case.id for case in dataset.cases]) == (3, ["case_000", "case_001"])
    assert any("2 file(s) of imagesTr" in note and "a_preview.png, case_001_0000.xyz" in note for note in dataset.notes)


def test_flat_images_of_nnunets_tree_are_turned_as_their_labels_need_it(tmp_path: Path) -> None:
    for folder, name, how in (("imagesTr", "a_0000", {"extratags": [(274, "H", 1, 6, True)]}), ("labelsTr", "a", {})):
        (tmp_path / folder).mkdir()
        pixels = np.zeros((8, 12), np.uint8)
        pixels[:2, :3] = 1
        tifffile.imwrite(tmp_path / folder / f"{name}.tif", pixels, photometric="minisblack", **how)
    dataset = opened("nnunet", tmp_path)
    sample = read_case(dataset, dataset.cases[0])
    assert np.array_equal(sample.image[0], sample.mask) and any("EXIF" in note for note in dataset.notes)


def test_channels_that_are_numbered_otherwise_are_one_cases_error(tmp_path: Path) -> None:
    root = synth("nnunet", tmp_path, cases=3)
    (root / "imagesTr" / "case_001_0001.nii.gz").rename(root / "imagesTr" / "case_001_0002.nii.gz")
    dataset = opened("nnunet", root)
    with pytest.raises(SegkitError, match="case 'case_001' has the channels _0000, _0002; most have _0000, _0001"):
        read_case(dataset, dataset.cases[1])
    assert read_case(dataset, dataset.cases[0]).image.shape[0] == 2


@pytest.mark.parametrize("name", ["brats2020", "acdc", "nnunet"])
def test_what_a_mac_leaves_in_archives_is_in_no_dataset(tmp_path: Path, name: str) -> None:
    root = synth(name, tmp_path, cases=2)
    expected = [case.id for case in opened(name, root).cases]
    shutil.copytree(root, tmp_path / "copy")
    shutil.move(tmp_path / "copy", root / "__MACOSX")
    for path in [path for path in root.rglob("*.nii.gz") if "__MACOSX" not in path.parts]:
        path.with_name(f"._{path.name}").write_bytes(b"AppleDouble")
    dataset = opened(name, root)
    assert [case.id for case in dataset.cases] == expected
    assert all(read_case(dataset, case) for case in dataset.cases)


# training


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad", "native", "patch"])
@pytest.mark.parametrize("model", ["unet", "unet3d"])
def test_2d_and_3d_networks_train_on_volumes_and_are_scored_on_their_own_grid(
    segkit: Command, tmp_path: Path, fit: str, model: str
) -> None:
    synth("acdc", tmp_path / "data", cases=12)
    options = f"-o preprocess.fit={fit} --batch-size 4 --epochs 1"
    options += " -o model.width=2 -o model.depth=1"
    options += "" if fit == "native" else " -o preprocess.size=12"
    words = ["train", "--dataset", "acdc", "--data-dir", tmp_path / "data", "--model", model, *options.split()]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    document = json.loads(segkit("evaluate", tmp_path / "run", "--json").out)
    assert document["cases"] == 2 and document["groups"] == 1
    table = np.array(document["counts"]["dice"]["confusion"])
    assert table.sum() == 2 * 24 * 24 * 8  # every voxel of both frames, once


@pytest.mark.parametrize("model", ["unet", "unet3d"])
def test_masks_of_volumes_are_predicted_on_the_grid_of_their_files(segkit: Command, tmp_path: Path, model: str) -> None:
    root = synth("acdc", tmp_path / "data", cases=6)
    words = f"train --dataset acdc --data-dir {root} --model {model} --epochs 1 -o preprocess.size=16 -o model.width=2"
    assert segkit(*words.split(), "-o", "model.depth=1", "--out", tmp_path / "run").code == 0
    stored = nib.load(next(root.rglob("patient001_frame??.nii.gz")))
    inputs = tmp_path / "inputs" / "ward"
    inputs.mkdir(parents=True)
    nib.save(stored, inputs / "a.nii.gz")
    ways = nib.orientations.ornt_transform(nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt("LIP"))
    nib.save(stored.as_reoriented(ways), inputs / "b.nii")
    (inputs / "bad.nii.gz").write_bytes(b"no volume")
    (inputs / "notes.txt").write_text("left alone")
    done = segkit("predict", tmp_path / "run", tmp_path / "inputs", "--out", tmp_path / "masks")
    assert done.code == 3 and "2 predicted" in done.err and "bad.nii.gz" in done.err, done.err
    first, second = (nib.load(tmp_path / "masks" / "ward" / name) for name in ("a.nii.gz", "b.nii.gz"))
    assert np.allclose(first.affine, stored.affine) and nib.aff2axcodes(second.affine) == tuple("LIP")
    back, own = nib.as_closest_canonical(second), nib.as_closest_canonical(first)
    assert np.array_equal(np.asanyarray(back.dataobj), np.asanyarray(own.dataobj))  # the same voxels of the same patient
    again = segkit("predict", tmp_path / "run", tmp_path / "inputs", "--out", tmp_path / "masks")
    assert "2 already done" in again.err


def test_a_3d_phantom_is_learned(segkit: Command, tmp_path: Path) -> None:
    options = "-o dataset.dims=3 -o dataset.size=24 -o dataset.cases=16 --epochs 14 --batch-size 4 --lr 0.02 --augment none"
    options += " -o model.width=8 -o model.depth=2 -o model.blocks=1 -o train.precision=fp32"
    words = ["train", "--dataset", "phantom", *options.split()]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    document = json.loads(segkit("evaluate", tmp_path / "run", "--json").out)
    assert document["figures"]["per_case"]["dice"]["mean"] > 0.8


def test_nnunets_naming_is_understood_in_any_folder_of_images_to_predict(tmp_path: Path) -> None:
    shutil.move(synth("nnunet", tmp_path / "data", 2) / "imagesTr", tmp_path / "new")
    dataset = opened("nnunet", tmp_path / "new", labelled=False)
    assert [(case.id, len(case.files)) for case in dataset.cases] == [("case_000", 2), ("case_001", 2)]
    assert dataset.read(dataset.cases[0]).image.shape[0] == dataset.task.channels == 2
    with pytest.raises(UsageError):
        opened("nnunet", tmp_path / "new")


def test_the_folder_of_one_acdc_patient_is_a_dataset(tmp_path: Path) -> None:
    root = synth("acdc", tmp_path, 4)
    cases = opened("acdc", root / "training" / "patient001", labelled=False).cases
    assert [case.group for case in cases] == ["patient001"] * 2


@pytest.mark.parametrize(("share", "accepted"), [(0.05, True), (0.3, False)])
def test_channels_and_masks_may_lie_a_small_share_of_a_voxel_apart(tmp_path: Path, share: float, accepted: bool) -> None:
    root = synth("nnunet", tmp_path, 2)
    for name in ("imagesTr/case_000_0001.nii.gz", "labelsTr/case_001.nii.gz"):
        image = nib.load(root / name)
        image.affine[2, 3] += 2 * share  # slices are 2 mm apart
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), root / name)
    dataset = opened("nnunet", root)
    inputs = inputs_of(opened("nnunet", root, labelled=False))
    if accepted:
        assert [read_case(dataset, case).image.shape[0] for case in dataset.cases] == [2, 2]
        return
    for case in dataset.cases:
        with pytest.raises(SegkitError, match=r"another grid .* up to 0.6 mm \(0.3 voxels\) away"):
            read_case(dataset, case)
    with pytest.raises(SegkitError, match=r"case_000_0001.nii.gz lies on another grid"):
        read_input(inputs[0], dataset.task, dataset)
    read_input(inputs[1], dataset.task, dataset)  # its mask is not looked at


def test_one_modality_does_not_stand_for_three(tmp_path: Path) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        values = np.zeros((4, 4, 4), np.uint8)
        values[1] = 1
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name / "a.nii.gz")
    dataset = opened("folder", tmp_path, channels=3)
    with pytest.raises(SegkitError, match=r"a\.nii\.gz has 1 channels, the dataset 3"):
        read_case(dataset, dataset.cases[0])
