"""What this plugin offers; light, imports neither torch nor PennyLane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segkit.api import ModelSpec, hookimpl, option

CIRCUIT = "qcnn: convolution and pooling of qubits (Cong 2019); dressed: entangle and rotate (Mari 2020)"
CONV = "qcnn: block on two qubits, so4 (6 angles of RY and RZ) or su4 (15 angles, any gate on two qubits)"
DEPTH = "dressed: how often"
REUPLOAD = "the data enters again before each level or repetition"
BACKEND = "folded: fast; pennylane: its TorchLayer, the reference; device:NAME: any PennyLane device, to predict"
SHOTS = "of device:NAME, how often a circuit is measured (auto: exact expectation values)"
SUPPORTS = ("mixed-precision", "channels-last", "compile", "checkpointing")
EXPORTS = ("onnx", "torch-export")
PARTS = {
    "pennylane": "pip install pennylane",
    "segkit_encoders": "It is a part of segkit: pip install --force-reinstall segkit-med",
}


@dataclass(frozen=True)
class ResNetQCNNOptions:
    encoder: str = option("resnet18", "any timm model that takes images of any size")
    freeze: bool = option(False, "the encoder is not trained and its batch norm stays in eval mode (--freeze-encoder)")
    circuit: Literal["qcnn", "dressed"] = option("qcnn", CIRCUIT)
    qubits: int | None = option(None, "2 to 12 (auto: 8, dressed 4)")
    conv: Literal["so4", "su4"] = option("so4", CONV)
    depth: int = option(6, DEPTH, minimum=1)
    reupload: bool = option(False, REUPLOAD)
    backend: str = option("folded", BACKEND, runtime=True)
    shots: int | None = option(None, SHOTS, minimum=1, runtime=True)


@dataclass(frozen=True)
class QuantumResNetOptions:
    encoder: str = option("resnet50", "any timm model with feature maps at strides 4, 8, 16 and 32")
    freeze: bool = option(False, "the encoder is not trained and its batch norm stays in eval mode (--freeze-encoder)")
    widths: tuple[int, int, int, int, int] = option((512, 256, 128, 64, 32), "maps after each of five steps up", minimum=1)
    core: Literal["circuit", "classical"] = option("circuit", "classical: a 1x1 convolution and tanh in the circuit's place")
    circuit: Literal["qcnn", "dressed"] = option("qcnn", CIRCUIT)
    qubits: int = option(8, "2 to 12; the classical core has as many maps")
    conv: Literal["so4", "su4"] = option("so4", CONV)
    depth: int = option(6, DEPTH, minimum=1)
    reupload: bool = option(False, REUPLOAD)
    gain: float = option(0.1, "what the core's result is multiplied by at first; trained")
    backend: str = option("folded", BACKEND, runtime=True)
    shots: int | None = option(None, SHOTS, minimum=1, runtime=True)


@hookimpl
def segkit_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            "resnet-qcnn",
            "ResNet-18 or another timm trunk and a quantum circuit: does the image hold any foreground? (Baizhan)",
            target="segkit_quantum.resnet_qcnn:build",
            options=ResNetQCNNOptions,
            requires=PARTS,
            describe="segkit_quantum.resnet_qcnn:describe",
            kind="classification",
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
        ModelSpec(
            "quantum-resnet",
            "resnet-seg with a quantum 1x1 convolution at its deepest maps, or its classical control (Baizhan)",
            target="segkit_quantum.quantum_resnet:build",
            options=QuantumResNetOptions,
            requires=PARTS,
            describe="segkit_quantum.quantum_resnet:describe",
            stride=32,
            supports=SUPPORTS,
            exports=EXPORTS,
        ),
    ]
