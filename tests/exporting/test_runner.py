"""The program beside an exported file does what `segkit predict` does, without segkit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import Command, save_weights
from exporting.small import COLOUR, ORGANS, TINY, VOLUMES, volume_file
from segkit.data.images import read_image, read_mask
from segkit.data.volumes import read_volume
from segkit.inference.load import load_networks
from segkit.settings import Preprocess

onnxruntime = pytest.importorskip("onnxruntime")

RECORDS = [
    (COLOUR, Preprocess("stretch", (32, 48), intensity="scale255")),
    (COLOUR, Preprocess("pad", (40, 40), intensity="imagenet")),
    (COLOUR, Preprocess("pad", (40, 40), frame=0.7, intensity="imagenet")),
    (COLOUR, Preprocess("stretch", (32, 48), frame=(0.5, 0.8), intensity="scale255")),
    (VOLUMES, Preprocess("stretch", (24, 24), frame=(0.6, 0.9), intensity="zscore")),
    (COLOUR, Preprocess("stretch", (32, 48), intensity="range", range=(20.0, 180.0))),
    (COLOUR, Preprocess("crop", (32, 48), intensity="percentile")),
    (COLOUR, Preprocess("native", intensity="max")),
    (ORGANS, Preprocess("patch", (24, 32), intensity="minmax")),
    (VOLUMES, Preprocess("stretch", (24, 24), intensity="zscore", intensity_per="slice")),
    (VOLUMES, Preprocess("patch", (8, 12, 8), intensity="zscore", spacing=(1.5, 1.2, 2.0))),
    (VOLUMES, Preprocess("crop", (16, 16, 12), intensity="none")),
]


OFTEN = (0, 4, 5, 6)  # a whole image, windows, slices, windows of a volume; the others are slow


@pytest.mark.parametrize(
    "number", [pytest.param(own, marks=() if own in OFTEN else pytest.mark.slow) for own in range(len(RECORDS))]
)
def test_the_runner_gives_segkits_masks_without_segkit(segkit: Command, pictures: Path, tmp_path: Path, number: int) -> None:
    task, record = RECORDS[number]
    three = task.dims == 3 and (record.size is not None and len(record.size) == 3)  # type: ignore[arg-type]
    name = "unet3d" if three else "unet"
    weights = save_weights(tmp_path / "model.safetensors", name, task, record, **TINY[name])
    assert segkit("export", weights, "--out", tmp_path / "m.onnx", "--runner").code == 0
    runner = load(tmp_path / "m_runner.py")
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    header = json.loads(session.get_modelmeta().custom_metadata_map["segkit"])
    if task.dims == 3:
        volume = read_volume(volume_file(tmp_path / "in" / "v.nii.gz" if (tmp_path / "in").mkdir() is None else tmp_path))
        image, spacing, source = volume.array, volume.spacing, tmp_path / "in" / "v.nii.gz"
    else:
        cv2.imwrite(
            str(tmp_path / "a.png"),
            read_image(pictures / "a.png")[1] if task is ORGANS else cv2.imread(str(pictures / "a.png")),
        )
        image, spacing, source = read_image(tmp_path / "a.png"), None, tmp_path / "a.png"
    found = runner.segment(session, header, image, spacing)
    ours = next(np.asarray(one) for one in predicted(tmp_path / "m.onnx", image, spacing))
    assert found.shape == ours.shape and np.abs(found - ours).max() < 1e-4
    assert segkit("predict", tmp_path / "m.onnx", source, "--out", tmp_path / "out").code == 0


def predicted(path: Path, image: np.ndarray, spacing: Any) -> Any:  # type: ignore[type-arg]
    from segkit.inference.predictor import predict_images

    return (found for _, found in predict_images(load_networks([path], "cpu", None), [(0, image, spacing)]))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("runner", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_runner_is_a_program_that_imports_no_segkit(
    segkit: Command, exported_run: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("predict", exported_run / "run", pictures / "a.png", "--out", tmp_path / "out").code == 0
    words = [sys.executable, "-X", "importtime", exported_run / "m_runner.py", pictures / "a.png", tmp_path / "mask.png"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = {line.split("|")[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"numpy", "cv2", "onnxruntime"} <= imported and not imported & {"segkit", "torch"}
    assert np.array_equal(read_mask(tmp_path / "mask.png"), read_mask(tmp_path / "out" / "a.png"))
