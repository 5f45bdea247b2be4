"""The benchmark of a GPU runs, in small, where there is none."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("gpu.py")
TINY = "--device cpu --models unet --size 32 --volume 24 --batch-size 2 --width 4 --cases 4"
SHORT = "--rounds 1 --epochs 2 --window 0.05 --loaders 0,1"
STEP = {"waiting for data", "transfer", "augmentation", "forward", "backward", "optimiser", "counting"}


@pytest.mark.slow
def test_every_figure_of_the_gpu_benchmark_is_a_positive_number_or_says_why_not(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    words = [sys.executable, str(SCRIPT), *TINY.split(), *SHORT.split(), "--json", str(out)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    assert {figure["part"] for figure in figures} == set("abcde")
    for figure in figures:
        assert f"({figure['part']}) {figure['name']}" in done.stdout
        assert figure["note"] if figure["value"] is None else math.isfinite(figure["value"]) and figure["value"] > 0
        assert all(math.isfinite(value) and value > 0 for value in figure["more"].values()), figure
    measured = {figure["name"] for figure in figures if figure["value"] is not None}
    assert {"segkit train", "segkit train, augmented and validated", "unet, fp32", "unet, bf16"} <= measured
    assert all(any(name.startswith(f"segkit, {dims}") for name in measured) for dims in ("2D", "3D"))
    (calls,) = (figure["value"] for figure in figures if figure["part"] == "e")
    assert 0.9 < calls < 1.1, "something loops over the cases of a batch"
    steps = [figure for figure in figures if figure["name"].endswith("part by part")]
    assert steps and all(set(figure["more"]) == STEP and "slowest: " in figure["note"] for figure in steps)
    said = [figure["name"] for figure in figures if "no-such-compiler" in figure["note"]]
    assert said == ["unet, bf16, compiled"], "a missing compiler is said, and the rest goes on"
