"""The quantum classifier (Baizhan, sections 2.3.7 and 3.1.2): a pooled trunk, a few angles, a circuit, the classes.

image -> trunk -> linear to one angle per qubit -> tanh, times pi/2 -> circuit -> linear to the classes
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_encoders.encoder import Trunk
from segkit_quantum.circuits import QuantumLayer, circuit_of
from segkit_quantum.gates import Circuit, draw
from segkit_quantum.plugin import ResNetQCNNOptions

QUBITS = {"qcnn": 8, "dressed": 4}


class ResNetQCNN(nn.Module):
    """(B, channels, H, W) -> logits (B, outputs)."""

    def __init__(self, task: Task, options: ResNetQCNNOptions) -> None:
        super().__init__()
        circuit = _circuit(options)
        self.encoder = Trunk(options.encoder, task.channels, options.freeze)
        self.project = nn.Linear(self.encoder.width, circuit.qubits)
        self.circuit = QuantumLayer(circuit.qubits, circuit, options.backend, shots=options.shots)
        self.head = nn.Linear(len(circuit.kept), task.outputs)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.tanh(self.project(self.encoder(x))) * (math.pi / 2)  # (B, qubits)
        return self.head(self.circuit(angles))  # type: ignore[no-any-return]


def build(task: Task, options: ResNetQCNNOptions) -> nn.Module:
    return ResNetQCNN(task, options)


def describe(options: ResNetQCNNOptions) -> str:
    return draw(_circuit(options))


def _circuit(options: ResNetQCNNOptions) -> Circuit:
    qubits = QUBITS[options.circuit] if options.qubits is None else options.qubits
    return circuit_of(options.circuit, qubits, options.conv, options.depth, options.reupload)
