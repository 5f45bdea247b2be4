"""On real files: numbers are read independently, with tifffile or Pillow, in the test. Skipped where the data is absent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_datasets import opened, synth

from conftest import Command, history, real


def test_polyp_frames_are_in_colour_and_masks_are_binary() -> None:
    root = real("polyp")
    dataset = opened("polyp", root)
    assert len(dataset.cases) == 30 and len({case.group for case in dataset.cases}) == 10
    for case in dataset.cases[::5]:
        sample = dataset.read(case)
        pixels = tifffile.imread(root / "CVC-ClinicDB" / "Original" / f"{case.id}.tif")
        truth = tifffile.imread(root / "CVC-ClinicDB" / "Ground Truth" / f"{case.id}.tif")
        assert np.array_equal(np.moveaxis(sample.image, 0, -1), pixels)
        red, _, blue = sample.image.mean(axis=(1, 2))
        assert red > 1.3 * blue  # the inside of a colon is red
        assert sample.mask is not None
        assert np.array_equal(sample.mask, truth > 127) and 0 < sample.mask.mean() < 0.6


def test_the_sequences_of_the_readme_are_the_groups() -> None:
    root = real("polyp")
    text = (root / "CVC-ClinicDB" / "README.txt").read_text(encoding="latin-1")
    rows = [line.replace("|", " ").split() for line in text.splitlines() if " to " in line and "|" in line]
    table = {int(row[3]): range(int(row[0]), int(row[2]) + 1) for row in rows if len(row) == 4}
    assert len(table) == 29
    from segkit_datasets.polyp import sequence_of

    for sequence, frames in table.items():
        assert {sequence_of(Path(f"{frame}.tif")) for frame in frames} == {sequence}


@pytest.mark.parametrize("folder", ["kvasir-seg", "isic"])
def test_folders_of_other_people_are_paired_and_binary(folder: str) -> None:
    root = real(f"folder/{folder}")
    dataset = opened("folder", root)
    assert len(dataset.cases) == 5 and dataset.task.mode == "binary" and dataset.task.channels == 3
    for case in dataset.cases:
        sample = dataset.read(case)
        with Image.open(case.files["mask"]) as file:
            stored = np.asarray(file.convert("L"))
        assert sample.mask is not None and sample.mask.shape == sample.image.shape[1:] == stored.shape
        assert sample.mask.mean() == pytest.approx((stored > 127).mean())


def test_drive_takes_the_vessels_not_the_field_of_view(segkit: Command, tmp_path: Path) -> None:
    root = real("folder/drive")
    dataset = opened("folder", root)
    assert [case.id for case in dataset.cases] == ["21_training", "22_training", "23_training"]
    for case in dataset.cases:
        with Image.open(root / "training" / "1st_manual" / f"{case.id[:2]}_manual1.gif") as file:
            vessels = np.asarray(file.convert("L")) > 127
        with Image.open(root / "training" / "mask" / f"{case.id}_mask.gif") as file:
            field = np.asarray(file.convert("L")) > 127
        mask = dataset.read(case).mask
        assert np.array_equal(mask, vessels) and vessels.mean() < 0.2 < field.mean()
        pixels = tifffile.imread(root / "training" / "images" / f"{case.id}.tif")
        assert np.array_equal(np.moveaxis(dataset.read(case).image, 0, -1), pixels)
    few_steps(segkit, tmp_path / "run", "folder", root)


@pytest.mark.parametrize("folder", ["kvasir-seg", "isic"])
def test_folders_of_other_people_train(segkit: Command, tmp_path: Path, folder: str) -> None:
    split = few_steps(segkit, tmp_path / "run", "folder", real(f"folder/{folder}"))
    assert [len(split[name]) for name in ("train", "val", "test")] == [3, 1, 1]


def test_the_main_job_on_real_frames(segkit: Command, tmp_path: Path) -> None:
    root, photographs = real("polyp"), real("folder/kvasir-seg") / "images"
    small = "-o model.width=4 -o preprocess.size=64 --batch-size 4 --epochs 6 --seed 0 --loss dice-focal --lr 1e-3".split()
    run = tmp_path / "run"
    done = segkit("train", "--dataset", "polyp", "--data-dir", root, "--model", "resunet", *small, "--out", run)
    assert done.code == 0, done.err
    losses = [float(row["train_loss"]) for row in history(run)]
    assert losses[-1] < losses[0]
    document = json.loads(segkit("evaluate", run, "--json").out)
    split = json.loads((run / "split.json").read_text())
    assert document["cases"] == len(split["test"]) and document["groups"] >= 1
    assert 0 <= document["figures"]["per_case"]["dice"]["mean"] <= 1
    assert segkit("predict", run, photographs, "--out", tmp_path / "masks", "--overlay").code == 0
    for image in photographs.iterdir():
        with Image.open(tmp_path / "masks" / f"{image.stem}.png") as mask, Image.open(image) as photograph:
            assert mask.size == photograph.size


def few_steps(segkit: Command, run: Path, dataset: str, root: Path, *options: str) -> dict:  # type: ignore[type-arg]
    """Train a small model for two epochs; returns the split."""
    small = "-o model.width=2 -o model.depth=2 -o preprocess.size=32 --batch-size 8 --epochs 2".split()
    words = ["train", "--dataset", dataset, "--data-dir", root, "--model", "unet", *small, *options, "--out", run]
    done = segkit(*words)
    assert done.code == 0, done.err
    return json.loads((run / "split.json").read_text())  # type: ignore[no-any-return]


def test_lgg_slices(segkit: Command, tmp_path: Path) -> None:
    root = real("lgg")
    dataset = opened("lgg", root)
    masks = sorted(root.rglob("*_mask.tif"))
    assert len(dataset.cases) == len(masks) and {case.group for case in dataset.cases} == {"TCGA_CS_4942", "TCGA_CS_4943"}
    share = np.mean([(tifffile.imread(path) > 127).mean() for path in masks])
    assert np.mean([dataset.read(case).mask.mean() for case in dataset.cases]) == pytest.approx(share)  # type: ignore[union-attr]
    case = dataset.cases[9]
    assert np.array_equal(np.moveaxis(dataset.read(case).image, 0, -1), tifffile.imread(case.files["image"]))
    with_tumour = sum(bool((tifffile.imread(path) > 127).any()) for path in masks)
    assert len(opened("lgg", root, only_tumour="true").cases) == with_tumour < len(masks)
    assert dataset.cases[0].metadata["age_at_initial_pathologic"] == "44"  # the row of TCGA_CS_4942 in data.csv
    split = few_steps(segkit, tmp_path / "run", "lgg", root)
    assert len(split["train"]) == len(split["test"]) == 20 and split["val"] == []


def test_figshare_mat_and_png(segkit: Command, tmp_path: Path) -> None:
    root = real("figshare")
    mats, pngs = opened("figshare", root / "mat-reconstructed"), opened("figshare", root / "png")
    for case in mats.cases:
        with h5py.File(case.files["image"]) as file:
            image, mask = file["cjdata/image"][()], file["cjdata/tumorMask"][()]
            patient = "".join(map(chr, file["cjdata/PID"][()].ravel()))
        sample = mats.read(case)
        assert sample.mask is not None and sample.mask.sum() == (mask > 0).sum() and sample.image.max() == image.max()
        assert case.group == patient
    # K = mat number - 1: slice 257 is in both copies; upright, both show the same picture
    mat = mats.read(next(case for case in mats.cases if case.id == "257"))
    png = pngs.read(next(case for case in pngs.cases if case.id == "256"))
    assert np.corrcoef(mat.image.ravel(), png.image.ravel())[0, 1] > 0.999
    assert mat.mask is not None and png.mask is not None and (mat.mask != png.mask).mean() < 0.001
    assert {pngs.read(case).image.shape for case in pngs.cases} == {(1, 512, 512), (1, 256, 256)}
    few_steps(segkit, tmp_path / "mat", "figshare", root / "mat-reconstructed")
    few_steps(segkit, tmp_path / "png", "figshare", root / "png")
    assert "lost the patients" in (tmp_path / "png" / "manifest.json").read_text()


def test_the_authors_own_folds_are_read(tmp_path: Path) -> None:
    path = real("figshare") / "cvind5fold.mat"
    with h5py.File(path) as file:
        folds = file["cvind"][()].ravel()
    assert len(folds) == 3064
    made = sorted(synth("figshare", tmp_path / "made", cases=12).rglob("[0-9]*.mat"))
    numbers = np.linspace(1, len(folds), len(made)).astype(int).tolist()
    (tmp_path / "data").mkdir()
    shutil.copy(path, tmp_path / "data")
    for number, file in zip(numbers, made, strict=True):
        shutil.copy(file, tmp_path / "data" / f"{number}.mat")
    for fold in range(1, 6):
        tested = {int(case.id) for case in opened("figshare", tmp_path / "data", fold=fold).cases if case.subset == "test"}
        assert tested == {number for number in numbers if folds[number - 1] == fold}


def test_brain_coco(segkit: Command, tmp_path: Path) -> None:
    root = real("brain-coco")
    dataset = opened("brain-coco", root)
    documents = {
        name: json.loads((root / name / "_annotations.coco.json").read_text()) for name in ("train", "valid", "test")
    }
    assert len(dataset.cases) == sum(len(document["images"]) for document in documents.values())
    boxes: dict[str, list[float]] = {}
    for document in documents.values():
        names = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
        for annotation in document["annotations"]:
            boxes.setdefault(names[annotation["image_id"]], []).append(annotation["bbox"][2] * annotation["bbox"][3])
    for case in dataset.cases:
        mask, name = dataset.read(case).mask, case.id.partition("/")[2]
        assert mask is not None and mask.sum() == pytest.approx(sum(boxes[name]), rel=0.02, abs=1)
    polygons = opened("brain-coco", root, mask="polygon")
    both = [(dataset.read(a).mask, polygons.read(b).mask) for a, b in zip(dataset.cases, polygons.cases, strict=True)]
    assert np.mean([(one != other).mean() for one, other in both]) < 0.002  # every polygon is its box  # type: ignore[attr-defined]
    split = few_steps(segkit, tmp_path / "run", "brain-coco", root)
    assert [len(split[name]) for name in ("train", "val", "test")] == [12, 6, 4]


def canonical(path: Path) -> np.ndarray:  # type: ignore[type-arg]
    return nib.as_closest_canonical(nib.load(path)).get_fdata()


def test_acdc_volumes(segkit: Command, tmp_path: Path) -> None:
    root = real("acdc")
    dataset = opened("acdc", root)
    unlabelled = {case.id: case for case in opened("acdc", root, labelled=False).cases}
    assert unlabelled["patient090_ED"].metadata["frame"] == 4 and unlabelled["patient090_ES"].metadata["frame"] == 11
    series = nib.load(root / "training" / "patient090" / "patient090_4d.nii.gz")
    cut = opened("acdc", root, labelled=False).read(unlabelled["patient090_ES"])
    frame = nib.as_closest_canonical(nib.Nifti1Image(series.get_fdata()[..., 10], series.affine)).get_fdata()
    assert np.allclose(cut.image[0], frame)
    assert {case.group[-3:] for case in dataset.cases} == {"001", "021", "090", "101"} and len(dataset.cases) == 8
    for case in dataset.cases:
        sample = dataset.read(case)
        stored = canonical(case.files["image"])
        assert np.allclose(sample.image[0], stored if stored.ndim == 3 else stored[..., case.metadata["frame"] - 1])
        assert sample.mask is not None and np.array_equal(sample.mask, canonical(case.files["mask"]))
        assert set(np.unique(sample.mask)) == {0, 1, 2, 3} and sample.spacing is not None and sample.spacing[2] >= 5
        info = dict(line.split(": ") for line in (case.files["image"].parent / "Info.cfg").read_text().splitlines() if line)
        assert case.label == info["Group"].strip()
    few_steps(segkit, tmp_path / "run", "acdc", root)


def test_brats_volumes(segkit: Command, tmp_path: Path) -> None:
    root = real("brats2020")
    dataset = opened("brats2020", root, modalities="flair,t1ce,zeros", slices="5,145")
    (case,) = dataset.cases
    sample = dataset.read(case)
    assert sample.image.shape == (3, 240, 240, 145)
    assert np.allclose(sample.image[0], canonical(case.files["flair"])[..., 5:150])
    stored = canonical(case.files["mask"])[..., 5:150]
    counts = [int((stored == value).sum()) for value in (0, 1, 2, 4)]
    assert np.bincount(sample.mask.ravel()).tolist() == counts  # type: ignore[union-attr]
    few_steps(segkit, tmp_path / "run", "brats2020", root, "-o", "dataset.slices=70,6")


def test_hippocampus_volumes(segkit: Command, tmp_path: Path) -> None:
    root = real("nnunet") / "Task04_Hippocampus-layout"
    dataset = opened("nnunet", root)
    assert dataset.task.classes == ("background", "class-1", "class-2") and len(dataset.cases) == 6
    for case in dataset.cases:
        sample = dataset.read(case)
        assert np.allclose(sample.image[0], canonical(root / "imagesTr" / f"{case.id}.nii.gz"))
        assert np.array_equal(sample.mask, canonical(root / "labelsTr" / f"{case.id}.nii.gz"))  # type: ignore[arg-type]
    few_steps(segkit, tmp_path / "run", "nnunet", root)


@pytest.mark.parametrize(("dataset", "folder"), [("acdc", "acdc"), ("brats2020", "brats2020"), ("nnunet", "nnunet")])
def test_a_3d_network_trains_on_real_volumes(segkit: Command, tmp_path: Path, dataset: str, folder: str) -> None:
    root = real(folder) / ("Task04_Hippocampus-layout" if dataset == "nnunet" else "")
    small = "-o preprocess.fit=stretch -o preprocess.size=32 -o model.width=4 -o model.depth=2 --epochs 2 --batch-size 2"
    words = ["train", "--dataset", dataset, "--data-dir", root, "--model", "unet3d", *small.split()]
    done = segkit(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert segkit("evaluate", tmp_path / "run", "--subset", "all").code == 0


@pytest.mark.parametrize("model", ["unet", "unet3d"])
def test_masks_of_volumes_lie_on_the_grid_of_their_files(segkit: Command, tmp_path: Path, model: str) -> None:
    root = real("nnunet") / "Task04_Hippocampus-layout"
    small = "-o preprocess.fit=stretch -o preprocess.size=32 -o model.width=4 -o model.depth=2 --epochs 4 --batch-size 2"
    words = ["train", "--dataset", "nnunet", "--data-dir", root, "--model", model, *small.split()]
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    done = segkit("predict", tmp_path / "run", root / "imagesTr", "--out", tmp_path / "masks")
    assert done.code == 0, done.err
    table = np.zeros((3, 3), int)
    for file in sorted((root / "imagesTr").glob("*.nii.gz")):
        image, mask = nib.load(file), nib.load(tmp_path / "masks" / file.name)
        assert mask.shape == image.shape and np.allclose(mask.affine, image.affine)
        assert mask.get_data_dtype() == np.uint8 and mask.header.get_zooms() == image.header.get_zooms()
        truth = np.asanyarray(nib.load(root / "labelsTr" / file.name).dataobj).astype(int)
        np.add.at(table, (truth, np.asanyarray(mask.dataobj).astype(int)), 1)
    scored = json.loads(segkit("evaluate", tmp_path / "run", "--subset", "all", "--json").out)
    assert table.tolist() == scored["counts"]["dice"]["confusion"]  # what is written is what is scored
