"""Networks with a quantum circuit: their counts, what they say of themselves, training and prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_models import POLYP, counts, make

from conftest import Command
from segkit.errors import UsageError


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, 512 * 8 + 8 + 22 + 2 * 2 + 2),
        ({"conv": "su4"}, 512 * 8 + 8 + 51 + 2 * 2 + 2),
        ({"circuit": "dressed"}, 2_086),  # 2,052 + 24 + 10
    ],
)
def test_the_classifiers_head_has_its_count(options: dict[str, Any], head: int) -> None:
    with torch.device("meta"):
        model = make("resnet-qcnn", POLYP.as_classification(), **options)
    assert counts(model)[0] == 11_176_512 + head
    twin = make("resnet-classifier", POLYP.as_classification(), head_parameters=head, encoder="resnet18").head
    assert abs(counts(twin)[0] - head) <= 515 / 2  # type: ignore[arg-type]


@pytest.mark.parametrize(("qubits", "circuit", "control"), [(4, 9_235, 9_241), (6, 13_341, 13_361), (8, 17_439, 17_489)])
def test_the_control_has_as_many_parameters_as_the_circuits_bottleneck(qubits: int, circuit: int, control: int) -> None:
    """Counts for 1,024 maps, the published ones of this comparison; resnet18's deepest have 512, resnet50's 2,048."""
    from segkit_quantum.plugin import QuantumResNetOptions
    from segkit_quantum.quantum_resnet import Bottleneck

    for core, expected in (("circuit", circuit), ("classical", control)):
        assert counts(Bottleneck(1024, QuantumResNetOptions(qubits=qubits, core=core)))[0] == expected  # type: ignore[arg-type]


def test_the_classical_core_has_as_many_qubits_as_a_circuit_may_have() -> None:
    with pytest.raises(UsageError, match="40 qubits"):
        make("quantum-resnet", POLYP, encoder="test_resnet", core="classical", qubits=40)


def test_describe_of_the_segmentation_model_measures_every_wire(segkit: Command) -> None:
    told = segkit("models", "quantum-resnet", "--describe", "-o", "model.qubits=4")
    assert told.out.count("<Z>") == 4


def test_the_circuit_acts_at_every_position_alone() -> None:
    from segkit_quantum.plugin import QuantumResNetOptions
    from segkit_quantum.quantum_resnet import Bottleneck

    torch.manual_seed(0)
    bottleneck = Bottleneck(5, QuantumResNetOptions(qubits=3))
    x = torch.randn(2, 5, 4, 3)
    with torch.no_grad():
        whole, one = bottleneck(x), bottleneck(x[1:, :, 2:3, 1:2])
        torch.testing.assert_close(whole[1:, :, 2:3, 1:2], one, rtol=1e-4, atol=1e-5)
        assert float((whole - x).abs().max()) > 0 and float(bottleneck.gain) == pytest.approx(0.1)


def test_describe_prints_pennylanes_drawing(segkit: Command) -> None:
    told = segkit("models", "resnet-qcnn", "--describe", "-o", "model.circuit=dressed", "-o", "model.depth=1")
    assert told.code == 0 and told.out.splitlines()[0].startswith("0: ──H──RY─╭●──RY")
    assert segkit("models", "quantum-resnet", "--describe", "-o", "model.core=classical").out == "1x1 convolution, tanh\n"
    without = segkit("models", "unet", "--describe")
    assert without.code == 2 and "no description" in without.err
    assert "RY" in json.loads(segkit("models", "resnet-qcnn", "--describe", "--json").out)["description"]


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from segkit.cli.app import run

    out = tmp_path_factory.mktemp("runs") / "hybrid"
    words = "train --dataset phantom --model resnet-qcnn -o model.encoder=test_resnet -o model.qubits=4 -o dataset.cases=60"
    words += " -o dataset.empty=0.5 -o dataset.size=32 -o preprocess.size=32 --epochs 20 --augment none --lr 5e-3 -q"
    assert run([*words.split(), "--out", str(out)]) == 0
    return out


def test_the_hybrid_learns_whether_there_is_a_target(segkit: Command, hybrid: Path) -> None:
    figures = json.loads(segkit("evaluate", hybrid, "--json").out)["figures"]["pooled"]
    assert figures["f1"]["mean"] > 0.8


def test_the_backend_may_change_after_training_and_the_circuit_may_not(
    segkit: Command, hybrid: Path, tmp_path: Path
) -> None:
    assert segkit("data", "synth", "phantom", "--out", tmp_path / "data", "--cases", "3").code == 0
    tables = []
    for backend in ("folded", "pennylane", "device:default.qubit"):
        words = [
            "predict",
            hybrid,
            tmp_path / "data" / "images",
            "--out",
            tmp_path / "out",
            "-o",
            f"model.backend={backend}",
        ]
        done = segkit(*words)
        assert done.code == 0 and "3 predicted" in done.err, done.err  # another backend makes everything new
        tables.append((tmp_path / "out" / "predictions.csv").read_text().splitlines())
    numbers = [[float(row.split(",")[-2]) for row in table[1:]] for table in tables]
    assert numbers[1] == pytest.approx(numbers[0], abs=1e-4) and numbers[2] == pytest.approx(numbers[0], abs=1e-4)
    shots = ["-o", "model.backend=device:default.qubit", "-o", "model.shots=50"]
    assert segkit(*words[:-2], *shots).code == 0
    assert segkit("evaluate", hybrid).code == 0
    before = (hybrid / "test" / "metrics.json").read_text()
    changed = segkit("evaluate", hybrid, "-o", "model.backend=device:null.qubit", "--out", tmp_path / "changed")
    assert changed.code == 0
    assert json.loads((tmp_path / "changed" / "metrics.json").read_text())["changes"] == {"backend": "device:null.qubit"}
    kept = segkit("evaluate", hybrid, "-o", "model.backend=device:null.qubit")
    assert kept.code == 0 and "Nothing was written" in kept.err
    assert (hybrid / "test" / "metrics.json").read_text() == before  # figures of another backend are not the run's
    for wrong, part in {
        "model.qubits=5": "cannot change after training",
        "model.backend=device:no.such": "cannot make the device",
    }.items():
        done = segkit(*words[:-1], wrong)
        assert done.code == 2 and part in done.err, done.err
    mistyped = segkit("evaluate", hybrid, "-o", "modle.backend=folded")
    assert mistyped.code == 2 and "Did you mean 'model'" in mistyped.err
    assert "backend, shots" in segkit(*words[:-1], "model.qubits=5").err
    assert "Did you mean 'backend'" in segkit(*words[:-1], "model.backendd=folded").err


def test_training_on_a_device_is_refused(segkit: Command, tmp_path: Path) -> None:
    words = "train --dataset phantom --model resnet-qcnn -o model.encoder=test_resnet -o dataset.cases=8 -o dataset.size=32"
    words += " -o preprocess.size=32 --epochs 1 -o model.backend=device:default.qubit"
    done = segkit(*words.split(), "--out", tmp_path / "run")
    assert done.code == 1 and "does not train" in done.err and not (tmp_path / "run").exists()


def test_without_pennylane_the_user_is_told_what_to_install(segkit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "pennylane" else found(name, *more))
    done = segkit("models", "resnet-qcnn", "--channels", "3")
    assert done.code == 1 and "pip install pennylane" in done.err
