"""What predict writes besides masks, for images, stacks, volumes and cases of a dataset."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from conftest import Command, real, save_weights
from prediction.small import ECHO, ORGANS, RECORD, record, rows
from segkit.data.images import read_image, read_mask
from segkit.reports.overlay import palette
from segkit.settings import Preprocess
from segkit.task import Task


def test_palette_masks_are_labels_that_show_colours(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    for out, more in (("plain", []), ("coloured", ["--palette"])):
        assert segkit("predict", organs, pictures, "--out", tmp_path / out, *more).code == 0
    shown = Image.open(tmp_path / "coloured" / "a.png")
    labels = read_mask(tmp_path / "plain" / "a.png")
    assert shown.mode == "P" and np.array_equal(np.asarray(shown), labels) and len(np.unique(labels)) > 1
    assert np.array_equal(np.asarray(shown.convert("RGB")), np.array(palette(3), np.uint8)[labels])
    assert np.array_equal(read_mask(tmp_path / "coloured" / "c.tif"), read_mask(tmp_path / "plain" / "c.tif"))


def test_probabilities_of_images_agree_with_their_masks(
    segkit: Command, organs: Path, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("predict", organs, pictures, "--out", tmp_path / "organs", "--probabilities").code == 0
    for name, mask in (("a", "a.png"), ("c", "c.tif")):
        found = np.load(tmp_path / "organs" / f"{name}.probabilities.npz")["probabilities"]
        assert found.dtype == np.float32 and np.allclose(found.sum(axis=0), 1, atol=1e-4)
        assert (found.argmax(axis=0) == read_mask(tmp_path / "organs" / mask)).mean() > 0.999
    assert segkit("predict", trained, pictures, "--out", tmp_path / "one", "--probabilities").code == 0
    levels = read_image(tmp_path / "one" / "a.probability.png")[0]
    assert levels.dtype == np.uint16
    assert ((levels > 32767) == (read_mask(tmp_path / "one" / "a.png") > 0)).mean() > 0.999
    assert read_image(tmp_path / "one" / "c.probability.tif").dtype == np.uint16


def test_the_table_counts_what_the_masks_show(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_text("x")
    assert segkit("predict", organs, pictures, "--out", tmp_path / "out", "--table", "--min-size", "5").code == 3
    table = rows(tmp_path / "out" / "measures.csv")
    assert [row["file"] for row in table] == ["a.png", "a.png", "b.jpg", "b.jpg", "broken.png", "c.tif", "c.tif"]
    assert "broken.png" in table[4]["error"]
    labels = read_mask(tmp_path / "out" / "a.png")
    for value, row in enumerate(table[:2], start=1):
        components, count = ndimage.label(labels == value, np.ones((3, 3)))
        assert (int(row["count"]), int(row["components"])) == ((labels == value).sum(), count)
        assert count == 0 or ndimage.sum(labels == value, components, range(1, count + 1)).min() >= 5
        if count:
            y, x = ndimage.center_of_mass(labels == value)
            assert (float(row["x"]), float(row["y"])) == pytest.approx((x, y), abs=1e-3)
            assert 1 / 3 < float(row["confidence"]) <= 1  # the most probable of three


def test_polygons_are_one_coco_file_of_all_calls(segkit: Command, organs: Path, pictures: Path, tmp_path: Path) -> None:
    from pycocotools import mask as coco_mask

    out = tmp_path / "out"
    for name in ("a.png", "b.jpg"):
        assert segkit("predict", organs, pictures / name, "--out", out, "--polygons").code == 0
    document = json.loads((out / "polygons.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.jpg"]
    for image, name in zip(document["images"], ("a.png", "b.png"), strict=True):
        labels = read_mask(out / name)
        drawn = np.zeros(labels.shape, np.uint8)
        for entry in document["annotations"]:
            if entry["image_id"] == image["id"]:
                code = coco_mask.frPyObjects(
                    [[float(at) for at in entry["segmentation"][0]]], image["height"], image["width"]
                )
                drawn[coco_mask.decode(coco_mask.merge(code)) > 0] = entry["category_id"]
        assert np.array_equal(drawn, labels)


def test_several_models_predict_their_mean_probability(segkit: Command, pictures: Path, tmp_path: Path) -> None:
    task = Task(3, ("background", "x"))
    members = [
        save_weights(
            tmp_path / f"{fit}.safetensors", name, task, Preprocess(fit, size, intensity="zscore"), width=4, depth=2
        )  # type: ignore[arg-type]
        for fit, size, name in (
            ("stretch", (32, 32), "unet"),
            ("patch", (16, 16), "resunet"),
            ("native", None, "attention-unet"),
        )
    ]
    for out, what in (("all", members), *((member.stem, [member]) for member in members)):
        assert segkit("predict", *what, pictures / "a.png", "--out", tmp_path / str(out), "--probabilities").code == 0
    found = [read_image(tmp_path / out / "a.probability.png")[0] / 65535 for out in ("stretch", "patch", "native")]
    mean = read_image(tmp_path / "all" / "a.probability.png")[0] / 65535
    np.testing.assert_allclose(mean, np.mean(found, axis=0), atol=3e-5)
    assert len(record(tmp_path / "all")["a.png"]["model"]) == 3
    other = save_weights(tmp_path / "organs.safetensors", "unet", ORGANS, RECORD, width=4, depth=2)
    for words, part in (
        ([members[0], other, pictures], "cannot predict together"),
        ([members[0], pictures, members[1]], "come first"),
    ):
        told = segkit("predict", *words, "--out", tmp_path / "no")
        assert told.code == 2 and part in told.err and not (tmp_path / "no").exists()


def test_names_come_from_stdin_lines_nul_or_a_list(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [str(pictures / name) for name in ("a.png", "b.jpg")]
    strange = pictures / "new\nline.png"
    shutil.copy(pictures / "a.png", strange)
    for number, (words, content) in enumerate(
        ((["-"], "\n".join(names)), (["-0"], "\0".join([*names, str(strange)])), ([tmp_path / "list.txt"], ""))
    ):
        (tmp_path / "list.txt").write_text("\n".join([*names, str(pictures / "gone.png")]))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        done = segkit("predict", trained, *words, "--out", tmp_path / str(number), "--json")
        counts = json.loads(done.out)
        assert (done.code, counts["done"], counts["failed"]) == [(0, 2, 0), (0, 3, 0), (3, 2, 1)][number], done.err
    assert "gone.png does not exist" in done.err


def test_cases_of_several_files_are_put_together_by_their_dataset(segkit: Command, tmp_path: Path) -> None:
    assert segkit("data", "synth", "brats2020", "--cases", "2", "--out", tmp_path / "data").code == 0
    task = Task(4, ("background", "NCR", "edema", "ET"), dims=3, mode="multiclass")
    weights = save_weights(
        tmp_path / "m.safetensors", "unet3d", task, Preprocess("patch", (8, 8, 8), intensity="zscore"), width=4, depth=1
    )
    done = segkit("predict", weights, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "out", "--overlay")
    assert done.code == 0, done.err
    cases = sorted((tmp_path / "data").rglob("*_flair.nii.gz"))
    assert len(cases) == 2
    for path in cases:
        name = path.name.removesuffix("_flair.nii.gz")
        mask, source = nib.load(tmp_path / "out" / f"{name}.nii.gz"), nib.load(path)
        assert mask.shape == source.shape and np.array_equal(mask.affine, source.affine)
        assert (tmp_path / "out" / f"{name}.overlay.png").exists()
    again = segkit("predict", weights, tmp_path / "data", "--dataset", "brats2020", "--out", tmp_path / "out", "--overlay")
    assert "2 already done" in again.err
    alone = segkit("predict", weights, cases[0], "--out", tmp_path / "no")
    assert alone.code == 2 and "--dataset brats2020" in alone.err and not (tmp_path / "no").exists()
    wrong = segkit("predict", weights, tmp_path / "data", "--dataset", "polyp", "--out", tmp_path / "no")
    assert wrong.code == 2 and not (tmp_path / "no").exists()


def test_of_a_mixed_tree_each_file_that_does_not_fit_is_named_and_the_rest_is_predicted(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(draw.random((9, 12, 4)).astype(np.float32), np.diag([1.0, 1, 5, 1])), pictures / "v.nii.gz")
    (pictures / "broken.nii").write_bytes(b"x" * 500)
    Image.fromarray(draw.integers(0, 255, (20, 30), np.uint8)).save(pictures / "gray.png")
    done = segkit("predict", trained, pictures, "--out", tmp_path / "out", "--overlay", "--table")
    assert done.code == 3 and "4 predicted" in done.err and "2 failed" in done.err
    assert "v.nii.gz is a volume; the model was trained on images, of 3 channels (red, green, blue)" in done.err
    assert "broken.nii cannot be read" in done.err
    assert "1 gray image is given as three equal channels" in done.err
    assert record(tmp_path / "out")["v.nii.gz"]["status"] == "failed" and (tmp_path / "out" / "gray.png").exists()


def test_a_2d_model_of_volumes_sees_them_slice_by_slice(segkit: Command, tmp_path: Path) -> None:
    weights = save_weights(
        tmp_path / "m.safetensors",
        "unet",
        Task(1, ("background", "target"), dims=3),
        Preprocess("stretch", (16, 16), intensity="zscore"),
        width=4,
        depth=1,
    )
    draw = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(draw.random((9, 12, 4)).astype(np.float32), np.diag([1.0, 1, 5, 1])), tmp_path / "v.nii.gz")
    Image.fromarray(draw.integers(0, 255, (20, 30), np.uint8)).save(tmp_path / "flat.png")
    done = segkit("predict", weights, tmp_path / "v.nii.gz", tmp_path / "flat.png", "--out", tmp_path / "out", "--table")
    assert done.code == 3 and "flat.png is an image; the model takes volumes" in done.err
    assert nib.load(tmp_path / "out" / "v.nii.gz").shape == (9, 12, 4)
    assert record(tmp_path / "out")["v.nii.gz"]["voxels"].keys() == {"background", "target"}


def test_real_drive_images_come_out_as_tiff_of_their_size(segkit: Command, trained: Path, tmp_path: Path) -> None:
    folder = real("folder/drive") / "training" / "images"
    assert segkit("predict", trained, folder, "--out", tmp_path / "out", "--polygons", "--table").code == 0
    masks = sorted((tmp_path / "out").glob("*.tif"))
    assert masks and all(read_mask(mask).shape == (584, 565) for mask in masks)


def test_a_stack_is_its_pages(segkit: Command, tmp_path: Path) -> None:
    """Decoded, normalised, predicted and measured alike, whatever their photometric interpretation."""
    import tifffile

    weights = save_weights(
        tmp_path / "m.safetensors",
        "unet",
        Task(1, ("background", "x")),
        Preprocess("stretch", (32, 32), intensity="zscore"),
        width=4,
        depth=2,
    )
    draw = np.random.default_rng(0)
    pages = [draw.integers(0, 255, (20, 30), dtype=np.uint8), draw.integers(0, 80, (20, 30), dtype=np.uint8)]
    for kind, arrays, photometric in (
        ("white", pages, "miniswhite"),
        ("bits", [page > 99 for page in pages], "minisblack"),
        ("floats", [page.astype(np.float32) for page in pages], "minisblack"),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        tifffile.imwrite(folder / "stack.tif", np.stack(arrays), photometric=photometric)
        for number, page in enumerate(arrays):
            tifffile.imwrite(folder / f"{number}.tif", page, photometric=photometric)
        assert segkit("predict", weights, folder, "--out", folder / "out", "--probabilities", "--table").code == 0
        stack = tifffile.imread(folder / "out" / "stack.probability.tif")
        for number in range(2):
            assert np.array_equal(stack[number], tifffile.imread(folder / "out" / f"{number}.probability.tif"))
    colour = np.stack([np.stack(pages), np.stack(pages)[::-1], np.stack(pages)], axis=1)  # (pages, 3, H, W)
    from segkit.data.images import read_image
    from segkit.data.tiff import read_pages

    tifffile.imwrite(tmp_path / "planes.tif", colour, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "plane.tif", colour[0], photometric="rgb", planarconfig="separate")
    assert np.array_equal(read_pages(tmp_path / "planes.tif")[..., 0], read_image(tmp_path / "plane.tif"))


def test_columns_are_x_and_rows_y_in_a_stack_too(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import tifffile

    install("acme", ECHO)
    weights = save_weights(
        tmp_path / "m.safetensors", "echo", Task(1, ("background", "x")), Preprocess("native", intensity="zscore")
    )
    page = np.zeros((20, 30), np.uint8)
    page[5, 22] = 255
    tifffile.imwrite(tmp_path / "one.tif", page)
    tifffile.imwrite(tmp_path / "two.tif", np.stack([page, page]), photometric="minisblack")
    assert (
        segkit("predict", weights, tmp_path / "one.tif", tmp_path / "two.tif", "--out", tmp_path / "out", "--table").code
        == 0
    )
    one, two = rows(tmp_path / "out" / "measures.csv")
    assert (one["x"], one["y"], one["z"]) == ("22.0", "5.0", "") and (two["x"], two["y"], two["z"]) == ("22.0", "5.0", "0.5")


def test_names_that_are_no_unicode_stand_in_the_tables(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    os.link(pictures / "a.png", os.fsencode(pictures) + b"/im\xff.png")
    assert segkit("predict", trained, pictures, "--out", tmp_path / "out", "--table", "--polygons").code == 0
    assert b"im\xff.png" in (tmp_path / "out" / "measures.csv").read_bytes()


def test_values_of_another_scale_are_said(segkit: Command, trained: Path, tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "x.tif", np.random.default_rng(0).random((9, 9, 3)).astype(np.float32), photometric="rgb")
    done = segkit("predict", trained, tmp_path / "x.tif", "--out", tmp_path / "out")
    assert done.code == 0 and "x.tif: its values go up to 0.9" in done.err and "may be wrong" in done.err


def test_a_pair_of_files_gives_one_file_with_its_scale_and_no_window_of_the_scan(segkit: Command, tmp_path: Path) -> None:
    weights = save_weights(
        tmp_path / "m.safetensors",
        "unet3d",
        Task(1, ("b", "x"), dims=3),
        Preprocess("native", intensity="zscore"),
        width=4,
        depth=1,
    )
    image = nib.Nifti1Pair(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), np.eye(4))
    image.header["cal_max"] = 900
    nib.save(image, tmp_path / "x.hdr")
    assert segkit("predict", weights, tmp_path / "x.hdr", "--out", tmp_path / "out", "--probabilities").code == 0
    found = nib.load(tmp_path / "out" / "x.probabilities.nii.gz").get_fdata()
    assert 0 < found.max() <= 1
    assert nib.load(tmp_path / "out" / "x.nii.gz").header["cal_max"] == 0
