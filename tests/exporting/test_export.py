"""Exported files give what the model gives, or are not written."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from conftest import Command, real, save_weights
from exporting.small import COLOUR, STRETCH, TINY, VOLUMES, volume_file
from segkit import plugins
from segkit.data.images import read_image, read_mask
from segkit.data.volumes import read_volume
from segkit.settings import Preprocess
from segkit.specs import FORMATS

onnxruntime = pytest.importorskip("onnxruntime")

QUICK = ("resenc-unet", "unet3d", "resnet-classifier")  # one of each kind; the contract has the formats of all others
SPECS = {item.spec.name: item.spec for item in plugins.load().all("models") if item.plugin.builtin}


def test_all_built_in_models_are_in_the_matrix() -> None:
    assert set(TINY) == set(SPECS)


@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TINY])
def test_every_model_passes_the_gate_in_every_format_and_predicts_the_same_from_weights_and_onnx(
    segkit: Command, pictures: Path, tmp_path: Path, name: str
) -> None:
    spec = SPECS[name]
    volumes = spec.dims == (3,)
    task = VOLUMES if volumes else COLOUR
    preprocess = Preprocess("stretch", (16, 16, 16), intensity="zscore") if volumes else STRETCH
    weights = save_weights(tmp_path / "model.safetensors", name, task, preprocess, **TINY[name])
    for format in FORMATS:
        done = segkit("export", weights, "--format", format, "--out", tmp_path / f"x{FORMATS[format]}", "--json")
        assert (done.code == 0) == (format in spec.exports), done.err
        if format in spec.exports:
            parity = json.loads(done.out)["export"]["parity"]
            assert parity["difference"] < 1e-3 and parity["dice"] >= 0.999
            assert len(parity["batches"]) == 2 and len(parity["sizes"]) == 2
    if "onnx" not in spec.exports:
        return
    source = volume_file(tmp_path / "v.nii.gz") if volumes else pictures
    more = [] if spec.kind == "classification" else ["--probabilities"]
    entries = []
    for what in (weights, tmp_path / "x.onnx"):
        out = tmp_path / f"out-{what.suffix}"
        done = segkit("predict", what, source, "--out", out, *more, "--json")
        assert done.code == 0, done.err
        entries.append(json.loads(done.out)["files"])
    for key, entry in entries[0].items():
        if spec.kind == "classification":
            ours, theirs = (list(one[key]["probabilities"].values()) for one in entries)
            assert ours == pytest.approx(theirs, abs=1e-4)
            continue
        mask, probability = entry["outputs"]
        read = read_volume if volumes else read_image
        ours, theirs = (read(tmp_path / f"out-{end}" / probability) for end in (".safetensors", ".onnx"))
        ours, theirs = (getattr(one, "array", one).astype(float) for one in (ours, theirs))
        scale = 1.0 if volumes else 65535.0
        assert np.abs(ours - theirs).max() / scale < 1e-3
        masks = [
            read_volume(tmp_path / f"out-{end}" / mask).array if volumes else read_mask(tmp_path / f"out-{end}" / mask)
            for end in (".safetensors", ".onnx")
        ]
        assert (masks[0] != masks[1]).mean() < 1e-3


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_exports_on_its_own_held_out_cases_and_stays_as_it_is(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    before = hashes(trained)
    done = segkit("export", trained, "--out", tmp_path / "m.onnx")
    assert done.code == 0 and "its own held-out cases" in done.err and "Dice of masks 1.0" in done.err
    assert hashes(trained) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]  # one file, nothing beside it
    for what, out in ((trained, "a"), (trained / "model.safetensors", "b"), (tmp_path / "m.onnx", "c")):
        assert segkit("predict", what, pictures, "--out", tmp_path / out).code == 0
    for name in ("a.png", "b.png", "c.png"):
        masks = [read_mask(tmp_path / out / name) for out in "abc"]
        assert all(np.array_equal(masks[0], mask) for mask in masks[1:])


def test_half_precision_is_half_as_large_and_passes_its_own_gate(
    segkit: Command, trained: Path, exported_run: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("export", trained, "--out", tmp_path / "half.onnx", "--half").code == 0
    document = json.loads(segkit("info", tmp_path / "half.onnx", "--json").out)
    parity = document["export"]["parity"]
    assert 1e-6 < parity["difference"] < 2e-2 and parity["least_dice"] == 0.99
    assert segkit("predict", tmp_path / "half.onnx", pictures, "--out", tmp_path / "out").code == 0
    import onnx

    kinds = [
        {one.data_type for one in onnx.load(file).graph.initializer if np.prod(one.dims) > 8}
        for file in (exported_run / "m.onnx", tmp_path / "half.onnx")
    ]
    assert kinds == [{onnx.TensorProto.FLOAT}, {onnx.TensorProto.FLOAT16}]


def test_a_fixed_size_is_what_the_file_then_takes(segkit: Command, pictures: Path, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "model.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    done = segkit("export", weights, "--size", "48,64", "--out", tmp_path / "m.onnx")
    assert done.code == 0 and "masks will differ" in done.err  # than those of the size of the training
    header = json.loads(segkit("info", tmp_path / "m.onnx", "--json").out)
    assert header["preprocess"]["size"] == [48, 64] and header["export"]["size"] == [48, 64]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert session.get_inputs()[0].shape[1:] == [3, 48, 64]
    assert segkit("predict", tmp_path / "m.onnx", pictures, "--out", tmp_path / "out").code == 0
    told = segkit("export", weights, "--size", "50", "--out", tmp_path / "n.onnx")
    assert told.code == 2 and "multiples of 4, 4" in told.err
    native = save_weights(
        tmp_path / "native.safetensors", "unet", COLOUR, Preprocess("native", intensity="zscore"), **TINY["unet"]
    )
    done = segkit("export", native, "--size", "32", "--out", tmp_path / "n.onnx")
    assert done.code == 0 and "windows of 32" in done.err
    assert segkit("predict", tmp_path / "n.onnx", pictures, "--out", tmp_path / "out2").code == 0


LIAR = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    both = ("onnx", "torch-export")
    return [ModelSpec("liar", "exports something else", target="acme_module:build", exports=both),
            ModelSpec("rigid", "cannot be exported for any size", target="acme_module:build_rigid", exports=both),
            ModelSpec("silent", "finds nothing", target="acme_module:build_silent", exports=both),
            ModelSpec("walled", "claims one format", target="acme_module:build_silent", exports=("torch-export",))]

def make():
    import torch

    class Liar(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x):
            return self.conv(x)

        def for_export(self):
            self.conv.bias.data += 0.1
            return self.conv

    class Rigid(torch.nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + (1.0 if x.shape[2] == 32 else 2.0)

    return Liar, Rigid

def build(task, options):
    return make()[0]()

def build_rigid(task, options):
    return make()[1](3, 1, 1)

def build_silent(task, options):
    import torch
    model = torch.nn.Conv2d(3, 1, 1)
    model.bias.data -= 100
    return model
"""


def test_a_file_that_differs_from_its_model_is_not_written(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", LIAR)
    weights = save_weights(tmp_path / "model.safetensors", "liar", COLOUR, STRETCH)
    for format, ending in FORMATS.items():
        done = segkit("export", weights, "--format", format, "--out", tmp_path / "out" / f"m{ending}")
        assert done.code == 1 and "differs from the model" in done.err and "Nothing was written" in done.err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_of_one_size_is_told_to_fix_it(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", LIAR)
    weights = save_weights(tmp_path / "model.safetensors", "rigid", COLOUR, STRETCH)
    told = segkit("export", weights, "--out", tmp_path / "m.onnx")
    assert told.code == 1 and "--size 32,32" in told.err and not (tmp_path / "m.onnx").exists()
    done = segkit("export", weights, "--out", tmp_path / "m.onnx", "--size", "32,32")
    assert done.code == 0 and "masks will differ" not in done.err


def test_two_empty_masks_prove_nothing_so_the_threshold_is_the_median(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", LIAR)
    weights = save_weights(tmp_path / "model.safetensors", "silent", COLOUR, STRETCH)
    document = json.loads(segkit("export", weights, "--out", tmp_path / "m.onnx", "--json").out)
    assert document["export"]["parity"]["threshold"] == "median"


def test_what_cannot_be_exported_is_told(segkit: Command, install, trained: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", LIAR)
    weights = save_weights(tmp_path / "model.safetensors", "walled", COLOUR, STRETCH)
    told = segkit("export", weights, "--out", tmp_path / "m.onnx")
    assert told.code == 2 and "torch-export" in told.err
    for words, part in {
        ("--format", "tflite"): "Allowed: onnx, torch-export",
        ("--out", tmp_path / "m.pt"): "must end in .onnx",
        ("--format", "torch-export", "--runner"): "--format onnx",
        ("--size", "a"): "numbers",
        ("-o", "model.width=3"): "cannot change after training",
    }.items():
        told = segkit(
            "export", trained, *words, *(() if "--out" in words else ("--out", tmp_path / "n.onnx"))[: 2 * ("-o" in words)]
        )
        assert told.code == 2 and part in told.err, told.err
    (tmp_path / "there.onnx").write_text("mine")
    told = segkit("export", trained, "--out", tmp_path / "there.onnx")
    assert told.code == 2 and "exists already" in told.err and (tmp_path / "there.onnx").read_text() == "mine"
    assert segkit("export", trained, "--out", tmp_path / "there.onnx", "--overwrite").code == 0
    assert segkit("export", tmp_path / "there.onnx").code == 2  # an export is no model


def test_real_frames_give_the_same_masks_from_the_run_and_its_export(segkit: Command, tmp_path: Path) -> None:
    frames = real("polyp/CVC-ClinicDB")
    words = "train --dataset polyp --model resunet -o model.width=4 -o model.depth=2 -o preprocess.size=64 --epochs 2"
    assert segkit(*words.split(), "--data-dir", frames, "--out", tmp_path / "run").code == 0
    assert segkit("export", tmp_path / "run", "--out", tmp_path / "m.onnx").code == 0
    for what, out in ((tmp_path / "run", "a"), (tmp_path / "m.onnx", "b")):
        assert segkit("predict", what, frames / "Original", "--out", tmp_path / out).code == 0
    masks = sorted((tmp_path / "a").glob("*.tif"))
    assert len(masks) == 30
    differing = [np.mean(read_mask(mask) != read_mask(tmp_path / "b" / mask.name)) for mask in masks]
    assert max(differing) < 1e-4  # pixels whose probability is the threshold but for the last digits


def test_dots_in_a_runs_name_stay_in_the_files_name(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "kv-0.5.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert segkit("export", "kv-0.5.safetensors", "--runner").code == 0
    assert {"kv-0.5.onnx", "kv-0.5_runner.py", "kv-0.5.md"} <= {path.name for path in tmp_path.iterdir()}


def test_what_onnx_needs_is_named_where_it_is_missing(
    segkit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else found(name, *rest)
    )
    told = segkit("export", trained, "--out", tmp_path / "m.onnx")
    assert told.code == 2 and "onnxscript" in told.err and "pip install onnx onnxruntime onnxscript" in told.err
