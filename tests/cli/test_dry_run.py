"""--dry-run says what would be done, imports no torch and writes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from conftest import Command

WORDS = "train --dataset phantom --model unet -o dataset.cases=16 -o model.width=8 --epochs 1 --dry-run".split()


def test_a_training_is_described_and_not_begun(segkit: Command, tmp_path: Path) -> None:
    told = segkit(*WORDS, "--out", tmp_path / "run", "--json")
    document = json.loads(told.out)
    assert told.code == 0 and document["settings"]["model"]["width"] == 8 and document["settings"]["train"]["epochs"] == 1
    assert sum(document["split"].values()) == 16 and document["run"] == str(tmp_path / "run")
    assert "width 8" in told.err and "up to 1 epoch," in told.err and str(tmp_path / "run") in told.err
    assert not (tmp_path / "run").exists()
    assert segkit(*WORDS, "-o", "model.widht=3").code == 2
    assert "about a new training" in segkit("train", "--resume", tmp_path, "--dry-run").err


def test_it_needs_no_torch(tmp_path: Path) -> None:
    script = f"import sys\nfrom segkit.cli.app import run\nprint(run({WORDS!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.splitlines()[-1] == "0 False" and list(tmp_path.iterdir()) == []


def test_a_prediction_names_what_is_to_do_and_what_is_done(segkit: Command, trained: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), np.full((32, 32, 3), 90, np.uint8))
    words = ["predict", trained, tmp_path / "in", "--out", tmp_path / "out"]
    told = segkit(*words, "--dry-run")
    assert told.code == 0 and f"{tmp_path / 'in/a.png'} -> {tmp_path / 'out/a.png'}" in told.err
    assert "2 would be predicted, 0 already done" in told.err and not (tmp_path / "out").exists()
    assert segkit("predict", trained, tmp_path / "in/a.png", "--out", tmp_path / "out").code == 0
    before = (tmp_path / "out/predictions.json").read_bytes()
    told = segkit(*words, "--dry-run", "--json")
    files = json.loads(told.out)["files"]
    assert {key: entry["status"] for key, entry in files.items()} == {"a.png": "done", "b.png": "to do"}
    assert (tmp_path / "out/predictions.json").read_bytes() == before and not (tmp_path / "out/b.png").exists()
