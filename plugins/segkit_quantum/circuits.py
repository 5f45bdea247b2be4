"""A circuit as one torch layer: rows of angles in, expectation values out.

Three ways to run it, with the same weights:

folded       PennyLane gives the matrices of each kind of block, once per step; they become one matrix per upload of the
             data when there are more rows than amplitudes, else they act one by one
pennylane    qml.qnn.TorchLayer on default.qubit, differentiated by backpropagation: the reference
device:NAME  any PennyLane device, with shots or without, for inference
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pennylane as qml
import torch
from torch import Tensor, nn

from segkit.api import SegkitError, UsageError
from segkit_quantum import folding
from segkit_quantum.gates import Circuit, apply, dressed, qcnn

__all__ = ["QuantumLayer", "circuit_of"]

DEVICE = "device:"
SMALL = 0.1  # standard deviation of fresh weights: larger ones flatten the gradients (McClean 2018)


def circuit_of(name: str, qubits: int, conv: str = "so4", depth: int = 6, reupload: bool = False) -> Circuit:
    """The circuit that the options of a model mean. Raises UsageError."""
    if name not in ("qcnn", "dressed"):
        raise UsageError(f"circuit = {name!r} is not allowed.", "Allowed: qcnn, dressed.")
    return qcnn(qubits, conv, reupload) if name == "qcnn" else dressed(qubits, depth, reupload)


class QuantumLayer(nn.Module):
    """(..., qubits) angles in radians -> (..., outputs) expectation values of Z, between -1 and 1.

    Runs on its weights' device and in their precision, float32 or float64, and is left out of autocast.

    Args:
        qubits: 2 to 12.
        circuit: "qcnn", "dressed", or a Circuit of that many qubits.
        backend: folded, pennylane, or device:NAME.
        measured: wires whose Z is measured; None: those that the circuit keeps.
        shots: for device:NAME, how often to measure; None: exactly.
        options: of the circuit, see `circuit_of`.

    Raises:
        UsageError: too few or too many qubits, an unknown backend or device.
        SegkitError: a gradient is requested from a device.
    """

    def __init__(
        self,
        qubits: int,
        circuit: str | Circuit = "qcnn",
        backend: str = "folded",
        measured: Sequence[int] | None = None,
        shots: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.circuit = circuit if isinstance(circuit, Circuit) else circuit_of(circuit, qubits, **options)
        self.measured = tuple(self.circuit.kept if measured is None else measured)
        if self.circuit.qubits != qubits or (isinstance(circuit, Circuit) and options):
            raise UsageError(f"The circuit is one of {self.circuit.qubits} qubits, made with its own options.")
        if not self.measured or not set(self.measured) <= set(range(qubits)):
            raise UsageError(f"measured = {self.measured} are not wires of {qubits} qubits.", f"Allowed: 0 to {qubits - 1}.")
        self.backend, self.shots = backend, shots
        self.weights = nn.Parameter(SMALL * torch.randn(self.circuit.weights))
        self.register_buffer("signs", folding.signs_of(qubits, self.measured), persistent=False)
        if backend not in ("folded", "pennylane") and not backend.startswith(DEVICE):
            raise UsageError(f"model.backend = {backend!r} is not allowed.", "Allowed: folded, pennylane, device:NAME.")
        if shots and not backend.startswith(DEVICE):
            raise UsageError(f"model.shots = {shots}: model.backend={backend} is exact.", "Shots go with device:NAME.")
        if backend.startswith(DEVICE):
            self._node()  # a device that does not exist is reported now

    @torch.compiler.disable  # PennyLane is asked within; what is around it is compiled
    def forward(self, angles: Tensor) -> Tensor:
        place = angles.device.type
        with torch.autocast(place, enabled=False) if torch.amp.is_autocast_available(place) else nullcontext():
            rows = angles.reshape(-1, self.circuit.qubits).to(self.weights.dtype)
            found = self._folded(rows) if self.backend == "folded" or not len(rows) else self._by_pennylane(rows)
            return found.reshape(*angles.shape[:-1], len(self.measured))

    def for_export(self) -> nn.Module:
        """This layer with its weights fixed: linear algebra on real pairs, without PennyLane."""
        with torch.no_grad():
            folded = folding.fold(self.circuit, folding.matrices_of(self.circuit, self.weights))
        return FixedCircuit(self.circuit, folded, self.signs.to(self.weights.dtype))

    def _folded(self, rows: Tensor) -> Tensor:
        matrices, signs = folding.matrices_of(self.circuit, self.weights), self.signs.to(rows.dtype)
        if len(rows) > 2**self.circuit.qubits:
            return folding.expectations_folded(self.circuit, rows, folding.fold(self.circuit, matrices), signs)
        return folding.expectations_by_blocks(self.circuit, rows, matrices, signs)

    def _by_pennylane(self, rows: Tensor) -> Tensor:
        if self.backend == "pennylane":
            layer = qml.qnn.TorchLayer(self._node(), {"weights": len(self.weights)})
            layer.qnode_weights["weights"] = self.weights
            return layer(rows).to(rows.dtype)  # type: ignore[no-any-return]
        if torch.is_grad_enabled() and (self.weights.requires_grad or rows.requires_grad):
            raise SegkitError(f"model.backend={self.backend} predicts; it does not train.", "Train with backend=folded.")
        found = self._node()(rows.detach().cpu().double().numpy(), self.weights.detach().cpu().double().numpy())
        return torch.stack([torch.as_tensor(value) for value in found], dim=-1).reshape(len(rows), -1).to(rows)

    def _node(self) -> qml.QNode:
        circuit, measured = self.circuit, self.measured

        def run(inputs: Any, weights: Any) -> Any:
            apply(circuit, inputs, weights)
            return [qml.expval(qml.Z(wire)) for wire in measured]

        if not self.backend.startswith(DEVICE):
            return qml.QNode(
                run, qml.device("default.qubit", wires=circuit.qubits), interface="torch", diff_method="backprop"
            )
        name = self.backend.removeprefix(DEVICE)
        try:
            device = qml.device(name, wires=circuit.qubits)
        except Exception as error:  # DeviceError of an unknown name, or whatever a plugin raises
            raise UsageError(
                f"model.backend={self.backend}: PennyLane cannot make the device {name!r} ({str(error).splitlines()[0]}).",
                f"It knows {', '.join(sorted(qml.plugin_devices))}.",
            ) from error
        node = qml.QNode(run, device, diff_method=None)
        return qml.set_shots(node, self.shots) if self.shots else node


class FixedCircuit(nn.Module):
    """A circuit whose weights are fixed: (..., qubits) -> (..., outputs)."""

    def __init__(self, circuit: Circuit, folded: Sequence[folding.Pair], signs: Tensor) -> None:
        super().__init__()
        self.circuit = circuit
        self.register_buffer("signs", signs)
        for number, (real, imaginary) in enumerate(folded):
            self.register_buffer(f"real_{number}", real)
            self.register_buffer(f"imaginary_{number}", imaginary)

    def forward(self, angles: Tensor) -> Tensor:
        pairs = [
            (self.get_buffer(f"real_{number}"), self.get_buffer(f"imaginary_{number}"))
            for number in range(len(self.circuit.layers))
        ]
        rows = angles.reshape(-1, self.circuit.qubits)
        found = folding.expectations_folded(self.circuit, rows, pairs, self.signs)
        return found.reshape(*angles.shape[:-1], self.signs.shape[1])
