"""`segkit plan`, and what a training does with it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pytest

from conftest import Command

TINY = ("-o", "model.width=2", "-o", "model.blocks=1")


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Eight volumes of 20 x 24 x 6 voxels of 1 x 1 x 5 mm, in nnU-Net's layout; no case holds the third class."""
    folder, draw = tmp_path / "volumes", np.random.default_rng(0)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    for number in range(8):
        mask = np.zeros((20, 24, 6), np.uint8)
        mask[4:10, 5:15, 1:4], mask[10:16, 5:15, 1:4] = 1, 2
        image = mask * 100.0 + draw.normal(size=mask.shape)
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.float32), affine), folder / "imagesTr" / f"case_{number}_0000.nii.gz"
        )
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "labelsTr" / f"case_{number}.nii.gz")
    labels = {"background": 0, "left": 1, "right": 2, "tumour": 3}
    description = {"channel_names": {"0": "MRI"}, "labels": labels, "numTraining": 8, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def decided(segkit: Command, *words: Any) -> dict[str, Any]:
    done = segkit("plan", *words, "--json")
    assert done.code == 0, done.err
    return {one["key"]: one["value"] for one in json.loads(done.out)["decisions"]}


def test_anisotropic_volumes_are_seen_in_slices_and_sides_are_not_exchanged(segkit: Command, volumes: Path) -> None:
    found = decided(segkit, "--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1")
    assert found["preprocess.slices"] is True and found["preprocess.fit"] == "stretch"
    assert found["preprocess.size"] == [20, 24] and found["augment.flip"] == 0
    assert found["model.depth"] == [2, 2] and found["train.batch_size"] == 8


def test_what_is_typed_is_not_planned(segkit: Command, volumes: Path) -> None:
    words = ("--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1", "-o", "preprocess.slices=false")
    found = decided(segkit, *words, "-o", "train.batch_size=3", "-o", "augment.flip=0.1")
    assert not found.keys() & {"preprocess.slices", "train.batch_size", "augment.flip", "train.epochs"}
    assert found["preprocess.fit"] == "patch" and found["preprocess.size"] == [20, 24, 6]
    assert found["model.flat"] == [0, 0, 0] or found["model.depth"][2] == 0


@pytest.mark.parametrize("typed", ["model.depth=2,2,0", "model.flat=0,0,1", "augment.flip=0,0.5,0.5"])
def test_what_is_typed_for_three_axes_keeps_volumes_whole(segkit: Command, volumes: Path, typed: str) -> None:
    found = decided(segkit, "--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1", "-o", typed)
    assert "preprocess.slices" not in found and found["preprocess.fit"] == "patch"


def test_a_spacing_typed_for_volumes_that_are_seen_in_slices_is_planned_with(segkit: Command, volumes: Path) -> None:
    words = ("--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1", "-o", "preprocess.spacing=2,1,5")
    found = decided(segkit, *words, "-o", "preprocess.slices=true")
    assert len(found["preprocess.size"]) == len(found["model.depth"]) == 2


def test_volumes_are_not_flipped_and_images_along_both_axes(segkit: Command) -> None:
    words = ("--dataset", "phantom", *TINY, "-o", "train.epochs=1")
    assert decided(segkit, *words, "-o", "dataset.dims=3")["augment.flip"] == 0
    assert "augment.flip" not in decided(segkit, *words)


def test_a_short_training_takes_the_models_smaller_form_and_a_long_one_its_usual_form(segkit: Command) -> None:
    words = ("--dataset", "phantom", "-o", "preprocess.size=16", "-o", "train.batch_size=1")
    short, long = decided(segkit, *words, "--time", "15s"), decided(segkit, *words, "--time", "1h")
    assert (short["model.width"], short["model.blocks"]) == (16, [1])
    assert (long["model.width"], long["model.blocks"]) == (32, [1, 2])
    typed = decided(segkit, *words, "--time", "15s", "-o", "model.width=4")
    assert "model.width" not in typed and typed["model.blocks"] == [1]


def test_what_was_found_out_before_is_not_measured_again(segkit: Command, volumes: Path) -> None:
    words = ("--dataset", "nnunet", "--data-dir", volumes, *TINY, "--time", "1m", "--json")
    first, second = (json.loads(segkit("plan", *words).out) for _ in range(2))
    assert first["measured"]["trials"][0] == second["measured"]["trials"][0]  # to the last digit
    assert first["measured"]["trials"][-1] != second["measured"]["trials"][-1]  # the step that is planned with, it is


FITTING = """
from dataclasses import dataclass
from segkit.api import ModelSpec, hookimpl, option

@dataclass(frozen=True)
class Options:
    depth: int = option(1, "levels")
    def fitted(self, size, spacing):
        BODY

@hookimpl
def segkit_models():
    return [ModelSpec("fitting", "a model", target="acme_module:build", options=Options)]
"""


@pytest.mark.parametrize(("body", "said"), [("return size[5]", "IndexError"), ("return None", "TypeError")])
def test_a_model_whose_options_fail_to_fit_is_named(
    segkit: Command, install: Callable[..., Path], body: str, said: str
) -> None:
    install("acme", FITTING.replace("BODY", body))
    done = segkit("train", "--dataset", "phantom", "--model", "fitting", "--dry-run")
    assert done.code == 1 and "The options of acme/fitting failed in fitted(128, 128)" in done.err and said in done.err


def test_a_class_that_no_training_case_holds_and_constant_images_are_said(segkit: Command, volumes: Path) -> None:
    empty = nibabel.load(volumes / "imagesTr" / "case_0_0000.nii.gz")
    for path in (volumes / "imagesTr").iterdir():
        nibabel.save(nibabel.Nifti1Image(np.ones(empty.shape, np.float32), empty.affine), path)
    done = segkit("plan", "--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1")
    assert "no training case holds the class tumour" in done.err
    assert "training images hold a single value" in done.err


def test_a_run_holds_the_plan_and_its_settings_repeat_it_without_planning(
    segkit: Command, volumes: Path, tmp_path: Path
) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    done = segkit("train", "--dataset", "nnunet", "--data-dir", volumes, *TINY, "--epochs", 1, "--out", run)
    assert done.code == 0, done.err
    assert "plan        " in done.err and "slices true: one axis has a spacing of 5 mm, the next 1 mm" in done.err
    settings = tomllib.loads((run / "run.toml").read_text())
    left_open = {f"{section}.{key}" for section in settings for key, value in settings[section].items() if value == "auto"}
    chosen = {one["key"] for one in json.loads((run / "manifest.json").read_text())["plan"]["decisions"]}
    assert {"preprocess.size", "preprocess.slices", "augment.flip", "model.depth", "train.precision"} <= chosen
    assert not left_open & {*chosen, "train.epochs", "train.batch_size", "train.lr", "preprocess.fit"}
    assert segkit("train", "--config", run, "--out", again).code == 0
    assert json.loads((again / "manifest.json").read_text())["plan"]["decisions"] == []
    assert tomllib.loads((again / "run.toml").read_text()) == settings


def test_a_time_fixes_the_number_of_steps_from_what_a_step_takes(segkit: Command, volumes: Path) -> None:
    done = segkit("plan", "--dataset", "nnunet", "--data-dir", volumes, *TINY, "--time", "1m", "--json")
    document = json.loads(done.out)
    found = {one["key"]: one["value"] for one in document["decisions"]}
    assert document["measured"]["trials"] and all(trial["step_seconds"] > 0 for trial in document["measured"]["trials"])
    assert found["train.epochs"] >= 1 and found["train.epoch_steps"] >= 1 and 0 < document["seconds"] <= 60


def test_a_time_that_is_too_short_for_one_step_is_refused_before_anything_is_written(
    segkit: Command, volumes: Path, tmp_path: Path
) -> None:
    done = segkit("train", "--dataset", "nnunet", "--data-dir", volumes, *TINY, "--time", "1s", "--out", tmp_path / "run")
    assert done.code == 2 and "too short for one step" in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("words", "model"), [((), "unets/resenc-unet"), (("--pretrained", "imagenet"), "resnet50-unet")])
def test_a_model_may_be_left_out(segkit: Command, words: tuple[str, ...], model: str) -> None:
    done = segkit("train", "--dataset", "phantom", "--epochs", 1, *words, "--dry-run", "--json")
    assert json.loads(done.out)["settings"]["model"]["name"].endswith(model)


LONG_ENOUGH = ("-o", "train.epoch_steps=110", "-o", "train.epochs=1")  # for trials to be worth their time


@pytest.mark.parametrize("model", ["unet", "unet3d"])
def test_images_at_their_own_size_are_tried_at_the_median_one(segkit: Command, volumes: Path, model: str) -> None:
    words = ("--dataset", "nnunet", "--data-dir", volumes, "--model", model, "-o", "model.width=2", "-o", "model.depth=1")
    found = decided(segkit, *words, "-o", "preprocess.fit=native", *LONG_ENOUGH)
    assert "preprocess.size" not in found and found["train.precision"] in ("fp32", "bf16")


def test_steps_of_an_epoch_that_were_typed_stay_and_epochs_fill_the_time(segkit: Command, volumes: Path) -> None:
    words = ("plan", "--dataset", "nnunet", "--data-dir", volumes, *TINY, "--time", "1m", "-o", "train.epoch_steps=2")
    document = json.loads(segkit(*words, "--json").out)
    chosen = {one["key"]: one["value"] for one in document["decisions"]}
    trials = [one for one in document["measured"]["trials"] if one["layout"] == chosen["train.layout"]]
    assert 2 * chosen["train.epochs"] * trials[-1]["step_seconds"] < 60


def test_a_layout_that_the_model_does_not_claim_is_refused(segkit: Command) -> None:
    done = segkit(
        "train", "--dataset", "phantom", "-o", "dataset.dims=3", "--model", "unet3d", "-o", "train.layout=channels-last"
    )
    assert done.code == 2 and "does not support channels-last (train.layout)" in done.err


def test_a_plan_leaves_the_random_numbers_of_the_process_alone(volumes: Path) -> None:
    import torch

    import segkit

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    options = {"model.width": 2, "model.blocks": 1, "train.epoch_steps": 110, "train.epochs": 1}
    assert segkit.plan("nnunet", data_dir=volumes, options=options).measured["trials"]
    assert torch.equal(torch.rand(1), expected)


def test_balanced_weights_of_classes_are_counted_in_the_training_cases(segkit: Command, volumes: Path) -> None:
    """By hand: of 20 x 24 x 6 voxels the first two classes fill 6 x 10 x 3 each, the third none; weights 1 / (4 x share)."""
    words = ("--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1", "-o", "loss.balanced=true")
    found = decided(segkit, *words, "-o", "loss.name=cross-entropy")
    share = 6 * 10 * 3 / (20 * 24 * 6)
    assert found["loss.weights"] == pytest.approx([1 / (4 * (1 - 2 * share)), 1 / (4 * share), 1 / (4 * share), 0], abs=1e-6)
    typed = decided(segkit, *words, "-o", "loss.name=cross-entropy", "-o", "loss.weights=1,2,3,4")
    assert "loss.weights" not in typed


def test_upright_images_and_lying_ones_are_shrunk_alike(segkit: Command, tmp_path: Path) -> None:
    for number in range(16):
        shape = (48, 64) if number % 2 else (64, 48)
        for name in ("images", "masks"):
            (tmp_path / name).mkdir(exist_ok=True)
            pixels = np.zeros(shape, np.uint8)
            pixels[10:20, 10:20] = 255
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), pixels)
    found = decided(segkit, "--dataset", "folder", "--data-dir", tmp_path, *TINY, "-o", "train.epochs=1")
    assert found["preprocess.fit"] == "pad" and found["preprocess.size"] == [64, 64]


@pytest.mark.parametrize("boxes", [True, False])
def test_images_whose_masks_are_boxes_are_not_turned(segkit: Command, tmp_path: Path, boxes: bool) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
        for number in range(12):
            pixels = np.zeros((48, 48), np.uint8)
            pixels[10 + number : 20 + number, 10:24] = pixels[2:6, 40:44] = 255
            pixels[10 + number, 10] = 255 if boxes else 0  # a corner is missing
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), pixels)
    found = decided(segkit, "--dataset", "folder", "--data-dir", tmp_path, *TINY, "-o", "train.epochs=1")
    turned = {key: found.get(key) for key in ("augment.rotate", "augment.elastic")}
    assert turned == dict.fromkeys(turned, 0 if boxes else None)


def test_a_size_of_two_numbers_means_slices(segkit: Command, volumes: Path) -> None:
    words = ("--dataset", "nnunet", "--data-dir", volumes, *TINY, "-o", "train.epochs=1", "-o", "preprocess.size=16,24")
    found = decided(segkit, *words)
    assert len(found["model.depth"]) == 2 and found["train.batch_size"] == 8


def test_other_options_of_a_dataset_are_other_facts(segkit: Command) -> None:
    words = ("--dataset", "phantom", *TINY, "-o", "train.epochs=1", "-o", "loss.balanced=true", "-o", "loss.name=bce")
    few = decided(segkit, *words, "-o", "dataset.seed=1")["loss.weights"]
    assert decided(segkit, *words, "-o", "dataset.seed=1")["loss.weights"] == few
    assert decided(segkit, *words, "-o", "dataset.seed=2")["loss.weights"] != few
