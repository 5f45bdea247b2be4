"""Predict mirrors the tree, mixes up no names, does what is left, and is stopped by no file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import Command, save_weights
from segkit.data.images import read_image, read_mask
from segkit.prediction.inputs import Input
from segkit.prediction.jobs import OutputOptions, plan_jobs
from segkit.settings import Preprocess
from segkit.task import Task


def picture(path: Path, size: tuple[int, int] = (20, 30), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_tree_is_mirrored_at_each_images_own_size(segkit: Command, trained: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    sizes = {
        "a.png": (20, 30),
        "deep/er/b.jpg": (33, 17),
        "deep/c.tif": (1, 1),
        "d.bmp": (5, 64),
        "e.gif": (8, 8),
        "f.webp": (9, 7),
    }
    for name, size in sizes.items():
        picture(images / name, size)
    (images / "notes.txt").write_text("not an image")
    done = segkit("predict", trained, images, "--out", out)
    assert done.code == 0, done.err
    masks = {name: Path(name).with_suffix(".tif" if name.endswith(".tif") else ".png") for name in sizes}
    assert files(out) == sorted(["predictions.json", *map(str, masks.values())])
    for name, size in sizes.items():
        mask = read_mask(out / masks[name])
        assert mask.shape == size and set(np.unique(mask)) <= {0, 255}
    assert "left alone: 1 file, hidden or no image" in done.err


def test_pictures_that_are_turned_upright_are_counted_and_named(segkit: Command, trained: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "in" / "plain.png")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "in" / "turned.jpg", exif=exif)
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0 and read_mask(tmp_path / "out" / "turned.png").shape == (30, 20)
    assert "1 image(s) are turned upright" in done.err and "turned.jpg" in done.err and "plain.png" not in done.err


def test_masks_beside_their_images_are_named(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for name in ("1.png", "1_mask.png", "2_seg.png"):
        picture(tmp_path / "in" / name)
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert "2 input(s) are called as the masks of others" in done.err and "1_mask.png, 2_seg.png" in done.err
    (tmp_path / "in" / "1_mask.png").unlink()
    assert "masks of others" not in segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "new").err


def test_images_that_share_a_stem_keep_their_extension(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for name in ("a/x.png", "a/x.jpg", "b/x.png"):
        picture(tmp_path / "in" / name)
    assert segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out").code == 0
    assert files(tmp_path / "out") == ["a/x.jpg.png", "a/x.png.png", "b/x.png", "predictions.json"]


NAMES = st.lists(st.sampled_from("abX"), min_size=1, max_size=2).map("".join)
SUFFIXES = st.lists(st.sampled_from([".png", ".jpg", ".overlay", ".PNG", ".tif"]), max_size=3).map("".join)


@given(
    st.lists(st.tuples(NAMES, SUFFIXES).map(lambda pair: pair[0] + pair[1] + ".png"), unique_by=str.casefold, max_size=12)
)
def test_no_two_inputs_share_an_output(keys: list[str]) -> None:
    inputs = [Input(key, (Path("in") / key,), "image") for key in keys]
    everything = OutputOptions(overlay=True, probabilities=True)
    for task in (Task(3, ("background", "polyp")), Task(3, ("background", "rim", "core"), mode="multiclass")):
        outputs = [output for job in plan_jobs(inputs, Path("out"), task, everything) for output in job.outputs]
        assert len({output.casefold() for output in outputs}) == len(outputs) == 3 * len(keys)


def test_a_second_call_does_what_is_left(segkit: Command, trained: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    picture(images / "a.png"), picture(images / "b.png")
    words = ["predict", trained, images, "--out", out, "--json"]

    def counts(*more: str) -> tuple[int, int, int]:
        document = json.loads(segkit(*words, *more).out)
        return document["done"], document["skipped"], document["failed"]

    assert counts() == (2, 0, 0)
    before = (out / "a.png").stat().st_mtime_ns
    picture(images / "c.png")
    picture(images / "b.png", (11, 12))  # another picture under the old name
    assert counts() == (2, 1, 0)
    assert (out / "a.png").stat().st_mtime_ns == before
    assert read_mask(out / "b.png").shape == (11, 12)
    assert counts("--overwrite") == (3, 0, 0)
    (out / "a.png").unlink()
    assert counts() == (1, 2, 0)
    assert counts("--overlay") == (3, 0, 0)  # other outputs


def test_other_weights_make_everything_new(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    words = "train --dataset phantom --model unet -o dataset.cases=4 -o dataset.size=16 -o model.width=1 -o model.depth=1"
    assert segkit(*words.split(), "--epochs", "1", "--out", tmp_path / "other").code == 0
    for run, done in ((trained, 1), (trained, 0), (tmp_path / "other", 1)):
        document = json.loads(segkit("predict", run, tmp_path / "in", "--out", tmp_path / "out", "--json").out)
        assert document["done"] == done


def test_a_bad_file_is_named_and_the_rest_done(segkit: Command, trained: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "in", tmp_path / "out"
    for name in ("a.png", "b.png", "c.png"):
        picture(images / name)
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:300])
    (images / "empty.tif").touch()
    (images / "text.jpg").write_text("hello")
    done = segkit("predict", trained, images, "--out", out, "--json")
    document = json.loads(done.out)
    assert done.code == 3
    assert (document["done"], document["failed"]) == (2, 3)
    for name in ("b.png", "empty.tif", "text.jpg"):
        assert document["files"][name]["status"] == "failed"
        assert name in document["files"][name]["reason"] and name in done.err
    assert files(out) == ["a.png", "c.png", "predictions.json"]
    picture(images / "b.png")
    assert json.loads(segkit("predict", trained, images, "--out", out, "--json").out)["done"] == 1


def test_nothing_but_bad_files_ends_with_1(segkit: Command, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    done = segkit("predict", trained, tmp_path / "a.png", "--out", tmp_path / "out")
    assert done.code == 1 and "a.png" in done.err


def test_strange_names_are_no_obstacle(segkit: Command, trained: Path, tmp_path: Path) -> None:
    names = ["a b.png", "quo'te\".png", "new\nline.png", "smile-😀.png", "-dash.png", "[bold]x.png", "x" * 250 + ".png"]
    for name in names:
        picture(tmp_path / "in" / name)
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert files(tmp_path / "out") == sorted([*names, "predictions.json"])


def test_a_name_too_long_for_its_overlay_is_one_failure(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for name in ("x" * 250 + ".png", "a.png"):
        picture(tmp_path / "in" / name)
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out", "--overlay")
    assert done.code == 3 and "cannot be written: File name too long" in done.err
    assert files(tmp_path / "out") == ["a.overlay.png", "a.png", "predictions.json"]


def test_what_fails_now_leaves_no_mask_of_an_earlier_picture(segkit: Command, trained: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    assert segkit("predict", trained, image, "--out", tmp_path / "out").code == 0
    image.write_text("hello")
    assert segkit("predict", trained, image, "--out", tmp_path / "out").code == 1
    assert files(tmp_path / "out") == ["predictions.json"]


def test_the_output_folder_may_lie_in_the_input_and_is_not_predicted(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    for _ in range(2):
        document = json.loads(segkit("predict", trained, tmp_path, "--out", tmp_path / "masks", "--json").out)
        assert list(document["files"]) == ["a.png"]


def test_inputs_and_foreign_files_are_never_overwritten(segkit: Command, trained: Path, tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    before = image.read_bytes()
    assert segkit("predict", trained, tmp_path, "--out", tmp_path).code == 2
    told = segkit("predict", trained, image, "--out", tmp_path, "--overwrite")
    assert told.code == 2 and "overwrite an input" in told.err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_text("drawn by hand")
    told = segkit("predict", trained, image, "--out", tmp_path / "out")
    assert told.code == 2 and "not made from this input" in told.err
    assert (tmp_path / "out" / "a.png").read_text() == "drawn by hand"
    assert segkit("predict", trained, image, "--out", tmp_path / "out", "--overwrite").code == 0
    assert image.read_bytes() == before


def test_a_loop_of_links_ends(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    os.symlink(tmp_path / "in", tmp_path / "in" / "loop")
    document = json.loads(segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out", "--json").out)
    assert list(document["files"]) == ["a.png"]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_gray_palette_and_transparent_images_are_predicted(
    segkit: Command, trained: Path, tmp_path: Path, mode: str
) -> None:
    picture(tmp_path / "in" / "a.png", mode=mode)
    assert segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out").code == 0


def test_overlays_show_image_and_mask(segkit: Command, trained: Path, tmp_path: Path) -> None:
    assert segkit("data", "synth", "phantom", "--cases", "1", "--out", tmp_path / "new").code == 0
    source = tmp_path / "new" / "images" / "phantom-0000.png"
    assert segkit("predict", trained, source, "--out", tmp_path / "out", "--overlay").code == 0
    drawn, image = read_image(tmp_path / "out" / "phantom-0000.overlay.png"), read_image(source)
    mask = read_mask(tmp_path / "out" / "phantom-0000.png")
    assert drawn.shape == image.shape
    changed = (drawn != image).any(axis=0)
    near = cv2.dilate((mask > 0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    near[:24, :96] = True  # the legend
    assert changed[mask > 0].all() and not changed[~near].any()


def test_several_classes_are_written_as_labels(segkit: Command, tmp_path: Path) -> None:
    words = (
        "train --dataset phantom -o dataset.classes=2 --model unet -o dataset.cases=6 -o dataset.size=32 -o model.width=2"
    )
    assert segkit(*words.split(), "-o", "model.depth=1", "--epochs", "1", "--out", tmp_path / "run").code == 0
    picture(tmp_path / "a.png")
    assert segkit("predict", tmp_path / "run", tmp_path / "a.png", "--out", tmp_path / "out").code == 0
    assert set(np.unique(read_mask(tmp_path / "out" / "a.png"))) <= {0, 1, 2}
    pixels = json.loads((tmp_path / "out" / "predictions.json").read_text())["files"]["a.png"]["pixels"]
    assert list(pixels) == ["background", "target-1", "target-2"] and sum(pixels.values()) == 600


@pytest.mark.parametrize("words", [["nothing"], ["."]])
def test_nothing_to_predict_is_told(segkit: Command, trained: Path, tmp_path: Path, words: list[str]) -> None:
    told = segkit("predict", trained, tmp_path / words[0], "--out", tmp_path / "out")
    assert told.code == 2 and ("does not exist" in told.err or "No images below" in told.err)
    assert not (tmp_path / "out").exists()


def test_another_input_of_the_same_name_does_not_replace_a_mask(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "A" / "x.png"), picture(tmp_path / "B" / "x.png", (9, 9))
    assert segkit("predict", trained, tmp_path / "A", "--out", tmp_path / "out").code == 0
    told = segkit("predict", trained, tmp_path / "B", "--out", tmp_path / "out")
    assert told.code == 2 and "not made from this input" in told.err
    (tmp_path / "A").rename(tmp_path / "moved")  # the same content elsewhere is the same input
    assert (
        json.loads(segkit("predict", trained, tmp_path / "moved", "--out", tmp_path / "out", "--json").out)["skipped"] == 1
    )


def test_masks_of_an_earlier_call_are_no_inputs_and_hidden_folders_neither(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    picture(tmp_path / "x.png"), picture(tmp_path / ".cache" / "y.png")
    assert segkit("predict", trained, tmp_path, "--out", tmp_path / "first").code == 0
    document = json.loads(segkit("predict", trained, tmp_path, "--out", tmp_path / "second", "--json").out)
    assert list(document["files"]) == ["x.png"]


def test_two_calls_into_one_folder_keep_each_others_record(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "A" / "a.png"), picture(tmp_path / "B" / "b.png")
    for name in "AB":
        assert segkit("predict", trained, tmp_path / name, "--out", tmp_path / "out").code == 0
    assert set(json.loads((tmp_path / "out" / "predictions.json").read_text())["files"]) == {"a.png", "b.png"}


def test_a_name_that_is_no_unicode_is_predicted(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    strange = os.fsencode(tmp_path / "in") + b"/im\xff.png"
    os.link(tmp_path / "in" / "a.png", strange)
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert done.code == 0 and json.loads(done.out)["done"] == 2
    assert json.loads(segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out", "--json").out)["skipped"] == 2


def test_quiet_still_names_what_failed(segkit: Command, trained: Path, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("hello")
    done = segkit("-q", "predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert (done.code, done.out) == (3, "") and "b.png" in done.err


@pytest.mark.parametrize("content", ["{}", '{"files": 3}', '{"files": {"a.png": {"outputs": 3}}}', "not json"])
def test_a_record_that_is_none_is_told(segkit: Command, trained: Path, tmp_path: Path, content: str) -> None:
    picture(tmp_path / "in" / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.json").write_text(content)
    told = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert told.code == 2 and "is not a record of segkit predict" in told.err


def test_an_image_that_the_model_cannot_take_is_named_and_the_rest_is_done(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", PICKY)
    words = "train --dataset phantom --model picky-net -o dataset.cases=8 -o dataset.size=32 -o preprocess.fit=native"
    assert segkit(*words.split(), "--epochs", "1", "--out", tmp_path / "run").code == 0
    (tmp_path / "images").mkdir()
    for name, side in (("a", 40), ("b", 8), ("c", 24), ("d", 24)):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((side, side, 3), 100, np.uint8))
    done = segkit("predict", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "masks")
    assert done.code == 3 and "3 predicted" in done.err and "b.png" in done.err and "too small" in done.err
    again = segkit("predict", tmp_path / "run", tmp_path / "images", "--out", tmp_path / "masks")
    assert again.code == 3 and "3 already done" in again.err


PICKY = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("picky-net", "refuses small images", target="acme_module:build")]

def build(task, options):
    import torch

    class Picky(torch.nn.Conv2d):
        def forward(self, x):
            if x.shape[2] < 16:
                raise ValueError("too small")
            return super().forward(x)

    return Picky(task.channels, task.outputs, 1)
"""


def test_a_volume_of_one_modality_is_not_taken_for_three(segkit: Command, tmp_path: Path) -> None:
    import nibabel as nib

    words = "train --dataset phantom --model unet3d -o dataset.dims=3 -o dataset.cases=8 -o dataset.size=16 -o model.width=2"
    done = segkit(
        *words.split(), "-o", "model.depth=1", "-o", "preprocess.size=16", "--epochs", "1", "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err
    channels = json.loads(segkit("info", tmp_path / "run", "--json").out)["task"]["channels"]
    volume = np.random.default_rng(0).random((16, 16, 16, channels)).astype(np.float32)
    for name, values in (("whole", volume), ("more", np.concatenate([volume, volume], axis=-1))):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    assert segkit("predict", tmp_path / "run", tmp_path / "whole.nii.gz", "--out", tmp_path / "a").code == 0
    wrong = segkit("predict", tmp_path / "run", tmp_path / "more.nii.gz", "--out", tmp_path / "b")
    assert wrong.code == 2 and f"{2 * channels} channels; the model takes {channels}" in wrong.err
    assert not (tmp_path / "b").exists()


def test_gray_images_for_a_model_of_colours_are_counted(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.jpg", "c.tif"):
        picture(tmp_path / "in" / name, mode="L")
    picture(tmp_path / "in" / "colour.png")
    done = segkit("predict", trained, tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 0 and "3 gray images are given as three equal channels" in done.err
    one = segkit("predict", trained, tmp_path / "in" / "a.png", "--out", tmp_path / "one")
    assert one.code == 0 and "1 gray image is given as three equal channels" in one.err
    none = segkit("predict", trained, tmp_path / "in" / "colour.png", "--out", tmp_path / "none")
    assert "gray image" not in none.err


def test_a_model_of_gray_takes_gray_saved_as_colours_and_names_what_is_coloured(segkit: Command, tmp_path: Path) -> None:
    task = Task(1, ("background", "x"))
    weights = save_weights(tmp_path / "m.safetensors", "unet", task, Preprocess("stretch", (32, 32)), width=2, depth=1)
    picture(tmp_path / "in" / "colour.png")
    gray = picture(tmp_path / "in" / "gray.png", mode="L")
    Image.open(gray).convert("RGB").save(tmp_path / "in" / "rgb.png")
    done = segkit("predict", weights, tmp_path / "in", "--out", tmp_path / "out")
    assert done.code == 3 and "2 predicted" in done.err
    assert "colour.png has 3 channels; the model takes 1" in done.err
    assert "1 colour image of three equal channels is taken as gray" in done.err
    assert np.array_equal(read_mask(tmp_path / "out" / "rgb.png"), read_mask(tmp_path / "out" / "gray.png"))
