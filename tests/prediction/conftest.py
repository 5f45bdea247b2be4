"""Weights and pictures to predict from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import save_weights
from prediction.small import ECHO, ORGANS, RECORD


@pytest.fixture
def organs(install, tmp_path: Path) -> Path:  # type: ignore[no-untyped-def]
    install("acme", ECHO)
    return save_weights(tmp_path / "organs.safetensors", "echo", ORGANS, RECORD)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name, size in {"a.png": (40, 56), "b.jpg": (33, 31), "c.tif": (20, 24)}.items():
        Image.fromarray(draw.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder
