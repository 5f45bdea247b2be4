"""A ResNet for masks with a circuit at its deepest maps: one circuit at every position, a quantum 1x1 convolution.

    encoder, stride 32 -> x + gain * [1x1 to n maps -> tanh, times pi/2 -> circuit -> 1x1 back] -> decoder of resnet-seg

Every wire is measured. Its control has a 1x1 convolution and tanh in the circuit's place, and about as many parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from segkit.api import Task
from segkit_encoders.resnet_seg import ResNetSeg
from segkit_quantum.circuits import QuantumLayer, circuit_of
from segkit_quantum.gates import Circuit, check_qubits, draw
from segkit_quantum.plugin import QuantumResNetOptions


class Bottleneck(nn.Module):
    """(B, width, h, w) -> the same: the maps plus gain times what the core makes of them.

    Args:
        width: of the maps.
        options: of the model.
    """

    def __init__(self, width: int, options: QuantumResNetOptions) -> None:
        super().__init__()
        qubits = options.qubits
        check_qubits(qubits)
        self.reduce, self.expand = nn.Conv2d(width, qubits, 1), nn.Conv2d(qubits, width, 1)
        self.gain = nn.Parameter(torch.tensor(options.gain))
        self.core: nn.Module = nn.Sequential(nn.Conv2d(qubits, qubits, 1), nn.Tanh())
        if options.core == "circuit":
            wires = tuple(range(qubits))
            self.core = Pointwise(QuantumLayer(qubits, _circuit(options), options.backend, wires, options.shots))

    def forward(self, x: Tensor) -> Tensor:
        found = self.core(torch.tanh(self.reduce(x)))
        return x + self.gain * self.expand(found.to(x.dtype))  # type: ignore[no-any-return]


class Pointwise(nn.Module):
    """A quantum layer at every position: (B, qubits, h, w) between -1 and 1 -> (B, qubits, h, w) expectation values."""

    def __init__(self, layer: QuantumLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.movedim(1, -1) * (math.pi / 2)).movedim(-1, 1)  # type: ignore[no-any-return]


def build(task: Task, options: QuantumResNetOptions) -> nn.Module:
    return ResNetSeg(task, options, lambda width: Bottleneck(width, options))


def describe(options: QuantumResNetOptions) -> str:
    return draw(_circuit(options), range(options.qubits)) if options.core == "circuit" else "1x1 convolution, tanh"


def _circuit(options: QuantumResNetOptions) -> Circuit:
    return circuit_of(options.circuit, options.qubits, options.conv, options.depth, options.reupload)
