"""Whatever is typed and would not be used is refused, on every way in, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import segkit as library
from conftest import Command, save_weights
from segkit.config.unused import CONDITIONS
from segkit.errors import UsageError
from segkit.settings import Preprocess
from segkit.task import Task

POLYP = Task(3, ("background", "polyp"))
PHANTOM = ["train", "--dataset", "phantom", "--model", "unet", "--device", "nonsense"]  # so that none of these trains


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--dataset", "phantom", "--model", "unet"],
        ["data", "check", "phantom"],
        ["data", "explore", "phantom", "--out", "page"],
    ],
)
def test_a_folder_for_a_dataset_that_takes_none_is_refused(
    segkit: Command, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = segkit(*words, "--data-dir", "elsewhere")
    assert done.code == 2 and "'phantom' takes no folder" in done.err and "elsewhere" in done.err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_and_predict_refuse_such_a_folder_and_leave_old_figures(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    assert segkit("evaluate", trained).code == 0
    before = (trained / "test/metrics.json").stat().st_mtime_ns
    assert "takes no folder" in segkit("evaluate", trained, "--data-dir", tmp_path).err
    assert "takes no folder" in segkit("predict", trained, tmp_path, "--dataset", "phantom", "--out", tmp_path / "masks").err
    assert (trained / "test/metrics.json").stat().st_mtime_ns == before and not (tmp_path / "masks").exists()
    with pytest.raises(UsageError, match="takes no folder"):
        library.train("phantom", "unet", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("--fold 2", "fold 2"),
        ("-o split.fold=2", "fold 2"),
        ("--folds 3 --fold 3", "fold 3 of 3"),
        ("--folds 3 -o split.test=0.3", "split.test"),
        ("-o train.momentum=0.5", "train.momentum"),
        ("-o train.nesterov=true", "train.nesterov"),
        ("--optimizer sgd -o train.eps=1e-7", "train.eps"),
        ("-o train.schedule=cosine -o train.plateau_patience=3", "train.plateau_patience"),
        ("-o train.poly_power=2", "train.poly_power"),
        ("-o train.step_every=2", "train.step_every"),
        ("-o train.schedule=none -o train.min_lr=1e-4", "train.min_lr"),
        ("-o train.validate=false --patience 3", "train.patience"),
        ("-o train.validate=false --monitor iou", "train.monitor"),
        ("-o preprocess.fit=native -o preprocess.size=64", "preprocess.size"),
        ("-o preprocess.slice_axis=0", "preprocess.slice_axis"),
        ("-o preprocess.intensity_per=slice", "preprocess.intensity_per"),
        ("-o preprocess.mean=0.5,0.5,0.5", "preprocess.mean"),
        ("--augment light -o augment.chance=0.9", "augment.chance"),
        ("--augment light -o augment.elastic_grid=9", "augment.elastic_grid"),
    ],
)
def test_a_setting_that_nothing_uses_is_refused_by_name(segkit: Command, words: str, key: str) -> None:
    done = segkit(*PHANTOM, *words.split())
    assert done.code == 2 and key in done.err and "--device nonsense" not in done.err


@pytest.mark.parametrize(
    "words",
    [
        "--folds 3 --fold 2",
        "--optimizer sgd -o train.momentum=0.5 -o train.nesterov=true",
        "-o train.schedule=plateau -o train.eps=1e-7 -o train.plateau_patience=3 -o train.min_lr=1e-4",
        "-o preprocess.size=64 --patience 3 --monitor iou -o augment.chance=0.9",
        "-o split.test=0.3 -o split.seed=4",
        "-o dataset.dims=3 -o preprocess.slice_axis=0 -o preprocess.intensity_per=slice",
    ],
)
def test_a_setting_that_is_used_is_taken(segkit: Command, words: str) -> None:
    assert "--device nonsense" in segkit(*PHANTOM, *words.split()).err


def test_a_default_may_be_typed_and_a_run_toml_may_hold_what_is_not_used(tmp_path: Path) -> None:
    assert all(key.partition(".")[0] in ("preprocess", "augment", "split", "train") for key in CONDITIONS)
    base = tmp_path / "run.toml"
    base.write_text('[train]\nmomentum = 0.5\noptimizer = "sgd"\n')
    with pytest.raises(UsageError, match="--device nonsense"):
        library.train("phantom", "unet", config=base, optimizer="adam", device="nonsense")
    with pytest.raises(UsageError, match=r"train\.momentum = 0.4 would not be used"):
        library.train("phantom", "unet", config=base, optimizer="adam", device="nonsense", options={"train.momentum": 0.4})


def test_flags_of_models_and_evaluate_that_nothing_would_use_are_refused(segkit: Command, trained: Path) -> None:
    for words in ("models --channels 3", "models --size 64", "models --describe", "models -o model.width=8"):
        assert "about one model" in segkit(*words.split()).err
    assert "--describe counts nothing" in segkit("models", "resnet-qcnn", "--describe", "--size", "64").err
    done = segkit("evaluate", trained, "--json", "--aggregate", "pooled")
    assert done.code == 2 and "--aggregate" in done.err and not done.out


def test_flags_of_predict_that_nothing_would_use_are_refused(segkit: Command, trained: Path, tmp_path: Path) -> None:
    image = np.full((32, 32, 3), 90, np.uint8)
    for name in ("a.png", "a.tif"):
        cv2.imwrite(str(tmp_path / name), image)
    out = ["--out", tmp_path / "masks"]
    assert "no list is given" in segkit("predict", trained, tmp_path / "a.png", "--null", *out).err
    assert "no list is given" in segkit("predict", trained, "--dataset", "phantom", "--null", *out).err
    assert "--palette" in segkit("predict", trained, tmp_path / "a.tif", "--palette", *out).err
    with pytest.raises(UsageError, match="stdin"):
        library.predict(trained, tmp_path / "a.png", tmp_path / "masks", stdin=b"a.png")
    assert not (tmp_path / "masks").exists()


def test_a_threshold_is_proposed_for_a_class_that_the_model_has_and_none_for_a_classifier(
    segkit: Command, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((32, 32, 3), 90, np.uint8))
    task = Task(3, ("background", "liver", "spleen"), mode="multiclass")
    weights = save_weights(tmp_path / "m.safetensors", "unet", task, Preprocess("stretch", (32, 32)), width=4, depth=1)
    told = segkit("predict", weights, tmp_path / "a.png", "--threshold", "2", "--out", tmp_path / "masks").err
    assert "spleen=0.4" in told and "polyp" not in told
    classes = save_weights(
        tmp_path / "c.safetensors", "resnet-classifier", POLYP, Preprocess("stretch", (32, 32)), encoder="test_resnet"
    )
    told = segkit("predict", classes, tmp_path / "a.png", "--threshold", "2", "--out", tmp_path / "masks").err
    assert "about masks" in told and "=0.4" not in told
