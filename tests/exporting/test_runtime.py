"""Which onnxruntime a file needs is said by info, by the card and, where it is too new, by predict and the runner."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Command
from segkit.runs.onnx_metadata import OnnxMetadata, read_metadata

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("ir", "opset", "needed"),
    [
        (8, 15, "onnxruntime 1.10 or newer"),
        (8, 17, "onnxruntime 1.12 or newer"),
        (9, 20, "onnxruntime 1.17 or newer"),
        (10, 20, "onnxruntime 1.18 or newer"),  # 1.17.3: "Unsupported model IR version: 10, max supported IR version: 9"
        (99, 20, "newer than 1.21"),
    ],
)
def test_the_first_runtime_that_knows_format_and_operators(ir: int, opset: int, needed: str) -> None:
    assert needed in OnnxMetadata(ir, opset, {}).runtime


def test_the_versions_are_read_as_onnx_reads_them(exported: Path) -> None:
    theirs = onnx.load(exported)
    ours = read_metadata(exported)
    assert (ours.ir, ours.opset) == (theirs.ir_version, theirs.opset_import[0].version)


def test_info_and_card_name_it(segkit: Command, exported_run: Path) -> None:
    words = read_metadata(exported_run / "m.onnx").runtime
    assert words.startswith("onnxruntime 1.")
    assert words in segkit("info", exported_run / "m.onnx").out
    assert json.loads(segkit("info", exported_run / "m.onnx", "--json").out)["runtime"] == words
    assert words in (exported_run / "m.md").read_text()


def test_a_file_for_a_newer_runtime_is_told_by_predict_and_by_the_runner(
    segkit: Command, exported_run: Path, pictures: Path, tmp_path: Path
) -> None:
    shutil.copy(exported_run / "m_runner.py", tmp_path)
    model = onnx.load(exported_run / "m.onnx")
    model.ir_version = 99
    onnx.save(model, tmp_path / "m.onnx")
    told = segkit("predict", tmp_path / "m.onnx", pictures, "--out", tmp_path / "masks")
    assert told.code == 1 and "IR 99" in told.err and "pip install --upgrade onnxruntime" in told.err
    words = [sys.executable, str(tmp_path / "m_runner.py"), str(pictures / "a.png"), str(tmp_path / "a.png")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "onnxruntime" in done.stderr and "Traceback" not in done.stderr
