"""Pictures to predict, and files that are exported once."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import save_weights
from exporting.small import COLOUR, STRETCH, TINY
from segkit.cli.app import run


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for name, size in {"a": (40, 56), "b": (33, 31), "c": (64, 64)}.items():
        cv2.imwrite(
            str(folder / f"{name}.png"), cv2.GaussianBlur(draw.integers(0, 255, (*size, 3), np.uint8), (9, 9), 3) * 2
        )
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a network with fresh weights."""
    folder = tmp_path_factory.mktemp("exported")
    weights = save_weights(folder / "model.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert run(["-q", "export", str(weights), "--out", str(folder / "m.onnx")]) == 0
    return folder / "m.onnx"


@pytest.fixture(scope="session")
def exported_run(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tested run ("run") and all that an export writes of it ("m.onnx", "m_runner.py", "m.md")."""
    folder = tmp_path_factory.mktemp("exported-run")
    shutil.copytree(trained, folder / "run")
    assert run(["-q", "evaluate", str(folder / "run")]) == 0
    assert run(["-q", "export", str(folder / "run"), "--out", str(folder / "m.onnx"), "--runner"]) == 0
    return folder
