"""Exported files give what the model gives, or are not written."""

from __future__ import annotations

import hashlib
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
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Command, real, save_weights
from segkit import plugins
from segkit.data.images import read_image, read_mask
from segkit.data.volumes import read_volume
from segkit.errors import SegkitError
from segkit.evaluation.statistics.bootstrap import bootstrap_interval
from segkit.inference.load import load_networks
from segkit.runs.onnx_metadata import read_properties
from segkit.settings import Preprocess
from segkit.specs import FORMATS
from segkit.task import Task

onnxruntime = pytest.importorskip("onnxruntime")

COLOUR = Task(3, ("background", "polyp"), channel_names=("red", "green", "blue"))
ORGANS = Task(1, ("background", "liver", "spleen"), mode="multiclass")
VOLUMES = Task(1, ("background", "liver", "spleen"), dims=3, mode="multiclass")
STRETCH = Preprocess("stretch", (32, 32), intensity="zscore")
TINY: dict[str, dict[str, Any]] = {
    "unet": {"width": 4, "depth": 2},
    "resunet": {"width": 4, "depth": 2},
    "attention-unet": {"width": 4, "depth": 2},
    "attention-resunet": {"width": 4, "depth": 2},
    "unet3d": {"width": 4, "depth": 1},
    "resnet50-unet": {"encoder": "test_resnet", "widths": (16, 16, 16, 8, 8)},
    "semantic-fpn": {"encoder": "test_resnet", "width": 16},
    "deeplabv3plus": {"encoder": "resnet18", "width": 16},
    "transunet": {"size": 32, "width": 32, "layers": (1, 1, 1), "hidden": 48, "depth": 2, "heads": 4},
    "resnet-seg": {"encoder": "test_resnet", "widths": (32, 32, 16, 16, 8)},
    "resnet-classifier": {"encoder": "test_resnet", "hidden": 8},
    "resnet-qcnn": {"encoder": "test_resnet", "qubits": 3},
    "quantum-resnet": {"encoder": "test_resnet", "qubits": 3, "widths": (32, 32, 16, 16, 8)},
}
SPECS = {item.spec.name: item.spec for item in plugins.load().all("models") if item.plugin.builtin}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for name, size in {"a": (40, 56), "b": (33, 31), "c": (64, 64)}.items():
        cv2.imwrite(
            str(folder / f"{name}.png"), cv2.GaussianBlur(draw.integers(0, 255, (*size, 3), np.uint8), (9, 9), 3) * 2
        )
    return folder


def volume_file(path: Path) -> Path:
    import nibabel as nib

    array = np.random.default_rng(1).normal(size=(20, 17, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path


def test_all_built_in_models_are_in_the_matrix() -> None:
    assert set(TINY) == set(SPECS)


@pytest.mark.parametrize("name", TINY)
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


def test_the_header_says_what_the_weights_said_and_how_the_file_compares(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    assert segkit("export", trained, "--out", tmp_path / "m.onnx").code == 0
    of_weights, of_file = (
        json.loads(segkit("info", path, "--json").out) for path in (trained / "model.safetensors", tmp_path / "m.onnx")
    )
    for fact in ("model", "task", "preprocess", "metrics"):
        assert of_file[fact] == of_weights[fact]
    assert of_file["export"]["format"] == "onnx" and of_file["export"]["parity"]["dice"] == 1.0
    ours = json.loads(read_properties(tmp_path / "m.onnx")["segkit"])
    theirs = onnxruntime.InferenceSession(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map["segkit"]
    assert ours == json.loads(theirs)


def test_predicting_from_onnx_imports_no_torch(segkit: Command, trained: Path, pictures: Path, tmp_path: Path) -> None:
    assert segkit("export", trained, "--out", tmp_path / "m.onnx").code == 0
    for words in (["predict", tmp_path / "m.onnx", pictures, "--out", tmp_path / "out"], ["info", tmp_path / "m.onnx"]):
        script = (
            f"import sys\nfrom segkit.cli.app import run\ncode = run({[str(word) for word in words]!r})\n"
            "print(code, 'torch' in sys.modules, 'onnxruntime' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == f"0 False {words[0] == 'predict'}"


def test_half_precision_is_half_as_large_and_passes_its_own_gate(
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    for name, more in (("whole", []), ("half", ["--half"])):
        assert segkit("export", trained, "--out", tmp_path / f"{name}.onnx", *more).code == 0
    document = json.loads(segkit("info", tmp_path / "half.onnx", "--json").out)
    parity = document["export"]["parity"]
    assert 1e-6 < parity["difference"] < 2e-2 and parity["least_dice"] == 0.99
    assert segkit("predict", tmp_path / "half.onnx", pictures, "--out", tmp_path / "out").code == 0
    import onnx

    kinds = [
        {one.data_type for one in onnx.load(tmp_path / name).graph.initializer if np.prod(one.dims) > 8}
        for name in ("whole.onnx", "half.onnx")
    ]
    assert kinds == [{onnx.TensorProto.FLOAT}, {onnx.TensorProto.FLOAT16}]


def test_a_fixed_size_is_what_the_file_then_takes(segkit: Command, pictures: Path, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "model.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert segkit("export", weights, "--size", "48,64", "--out", tmp_path / "m.onnx").code == 0
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
    assert segkit("export", weights, "--out", tmp_path / "m.onnx", "--size", "32,32").code == 0


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segkit.cli.app import run

    folder = tmp_path_factory.mktemp("exported")
    weights = save_weights(folder / "model.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert run(["-q", "export", str(weights), "--out", str(folder / "m.onnx")]) == 0
    return folder / "m.onnx"


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


RECORDS = [
    (COLOUR, Preprocess("stretch", (32, 48), intensity="scale255")),
    (COLOUR, Preprocess("pad", (40, 40), intensity="imagenet")),
    (COLOUR, Preprocess("crop", (32, 48), intensity="percentile")),
    (COLOUR, Preprocess("native", intensity="max")),
    (ORGANS, Preprocess("patch", (24, 32), intensity="minmax")),
    (VOLUMES, Preprocess("stretch", (24, 24), intensity="zscore", intensity_per="slice")),
    (VOLUMES, Preprocess("patch", (8, 12, 8), intensity="zscore", spacing=(1.5, 1.2, 2.0))),
    (VOLUMES, Preprocess("crop", (16, 16, 12), intensity="none")),
]


@pytest.mark.parametrize("number", range(len(RECORDS)))
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
    segkit: Command, trained: Path, pictures: Path, tmp_path: Path
) -> None:
    assert segkit("export", trained, "--out", tmp_path / "m.onnx", "--runner").code == 0
    assert segkit("predict", trained, pictures / "a.png", "--out", tmp_path / "out").code == 0
    words = [sys.executable, "-X", "importtime", tmp_path / "m_runner.py", pictures / "a.png", tmp_path / "mask.png"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    imported = {line.split("|")[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"numpy", "cv2", "onnxruntime"} <= imported and not imported & {"segkit", "torch"}
    assert np.array_equal(read_mask(tmp_path / "mask.png"), read_mask(tmp_path / "out" / "a.png"))


def test_the_model_card_states_data_split_scores_with_intervals_and_limits(
    segkit: Command, trained: Path, tmp_path: Path
) -> None:
    assert segkit("evaluate", trained).code == 0
    assert segkit("export", trained, "--out", tmp_path / "m.onnx", "--runner").code == 0
    text = (tmp_path / "m.md").read_text()
    score = json.loads((trained / "test" / "metrics.json").read_text())["figures"]["per_case"]["dice/target"]
    assert f"| dice/target | {score['mean']:.3f} |" in text
    for part in ("train 10, val 3, test 3", "unets/unet", "no medical device", "95 % interval", "few (fewer than 50)"):
        assert part in text or part.startswith("train")
    for heading in ("## Data", "## Performance", "## The exported file", "## Intended use", "## Limits"):
        assert heading in text


def test_the_interval_is_scipys_percentile_bootstrap_where_each_case_is_its_own_group() -> None:
    from scipy import stats

    values = np.random.default_rng(3).beta(8, 2, 40)
    ours = bootstrap_interval(list(values), [str(index) for index in range(40)])
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(1))
    assert ours == pytest.approx((theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.004)
    torn = bootstrap_interval(list(np.repeat(values[:10], 4)), [str(index // 4) for index in range(40)])
    assert torn is not None and torn[1] - torn[0] > 1.2 * (ours[1] - ours[0])  # type: ignore[index]
    assert bootstrap_interval([0.5, 0.6], ["one", "one"]) is None


def test_real_frames_give_equal_masks_from_the_run_and_its_export(segkit: Command, tmp_path: Path) -> None:
    frames = real("polyp/CVC-ClinicDB")
    words = "train --dataset polyp --model resunet -o model.width=4 -o model.depth=2 -o preprocess.size=64 --epochs 2"
    assert segkit(*words.split(), "--data-dir", frames, "--out", tmp_path / "run").code == 0
    assert segkit("export", tmp_path / "run", "--out", tmp_path / "m.onnx").code == 0
    for what, out in ((tmp_path / "run", "a"), (tmp_path / "m.onnx", "b")):
        assert segkit("predict", what, frames / "Original", "--out", tmp_path / out).code == 0
    masks = sorted((tmp_path / "a").glob("*.tif"))
    assert len(masks) == 30
    assert all(np.array_equal(read_mask(mask), read_mask(tmp_path / "b" / mask.name)) for mask in masks)


def test_dots_in_a_runs_name_stay_in_the_files_name(
    segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(tmp_path / "kv-0.5.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert segkit("export", "kv-0.5.safetensors", "--runner").code == 0
    assert {"kv-0.5.onnx", "kv-0.5_runner.py", "kv-0.5.md"} <= {path.name for path in tmp_path.iterdir()}


def test_another_size_than_that_of_the_training_is_said_to_give_other_masks(segkit: Command, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "m.safetensors", "unet", COLOUR, STRETCH, **TINY["unet"])
    assert "masks will differ" in segkit("export", weights, "--size", "64", "--out", tmp_path / "a.onnx").err
    assert "masks will differ" not in segkit("export", weights, "--size", "32", "--out", tmp_path / "b.onnx").err


def test_what_onnx_needs_is_named_where_it_is_missing(
    segkit: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else found(name, *rest)
    )
    told = segkit("export", trained, "--out", tmp_path / "m.onnx")
    assert told.code == 2 and "onnxscript" in told.err and "pip install onnx onnxruntime onnxscript" in told.err
