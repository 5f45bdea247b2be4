"""ONNX files carry the header of the weights, run without torch, and are refused in words where they are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Command
from segkit.errors import SegkitError
from segkit.inference.load import load_networks
from segkit.runs.onnx_metadata import read_metadata

onnxruntime = pytest.importorskip("onnxruntime")


def test_the_header_says_what_the_weights_said_and_how_the_file_compares(segkit: Command, exported_run: Path) -> None:
    weights, file = exported_run / "run" / "model.safetensors", exported_run / "m.onnx"
    of_weights, of_file = (json.loads(segkit("info", path, "--json").out) for path in (weights, file))
    for fact in ("model", "task", "preprocess", "metrics"):
        assert of_file[fact] == of_weights[fact]
    assert of_file["export"]["format"] == "onnx" and of_file["export"]["parity"]["dice"] == 1.0
    ours = json.loads(read_metadata(file).properties["segkit"])
    theirs = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map["segkit"]
    assert ours == json.loads(theirs)


def test_predicting_from_onnx_imports_no_torch(exported_run: Path, pictures: Path, tmp_path: Path) -> None:
    file = exported_run / "m.onnx"
    for words in (["predict", file, pictures, "--out", tmp_path / "out"], ["info", file]):
        script = (
            f"import sys\nfrom segkit.cli.app import run\ncode = run({[str(word) for word in words]!r})\n"
            "print(code, 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == f"0 False {words[0] == 'predict'}"


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_onnx_file_is_refused_in_our_words(exported: Path, tmp_path_factory: pytest.TempPathFactory, data) -> None:  # type: ignore[no-untyped-def]
    content = bytearray(exported.read_bytes())
    kind = data.draw(st.sampled_from(["cut", "changed", "noise"]))
    if kind == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    elif kind == "changed":
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    else:
        content = bytearray(data.draw(st.binary(max_size=300)))
    path = tmp_path_factory.mktemp("damaged") / "m.onnx"
    path.write_bytes(content)
    try:
        (network,) = load_networks([path], "cpu", None)
        network.forward(np.zeros((1, network.task.channels, 32, 32), np.float32))
    except SegkitError as error:
        assert str(path) in error.message or "onnxruntime failed" in error.message or "The network gave" in error.message


def test_an_onnx_file_that_segkit_did_not_write_is_refused(
    segkit: Command, exported: Path, pictures: Path, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(exported)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").touch()
    for name, part in (
        ("foreign", "not one that segkit wrote"),
        ("text", "is not an ONNX file"),
        ("empty", "is not an ONNX file"),
    ):
        told = segkit("predict", tmp_path / f"{name}.onnx", pictures, "--out", tmp_path / "out")
        assert told.code == 1 and part in told.err
    told = segkit("predict", exported, pictures, "-o", "model.backend=default.qubit", "--out", tmp_path / "out")
    assert told.code == 2 and "its options (backend) are fixed" in told.err
    (tmp_path / "m.pt2").write_text("")
    told = segkit("predict", tmp_path / "m.pt2", pictures, "--out", tmp_path / "out")
    assert told.code == 2 and "may hold code" in told.err
