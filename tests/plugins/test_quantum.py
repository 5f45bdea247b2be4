"""Folded circuits are PennyLane's: outputs, input gradients and weight gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import Tensor

from segkit.errors import SegkitError, UsageError
from segkit_quantum.circuits import QuantumLayer, circuit_of
from segkit_quantum.gates import ANGLES, GATES, apply

CIRCUITS = {
    "so4": {"circuit": "qcnn", "conv": "so4"},
    "so4-reupload": {"circuit": "qcnn", "conv": "so4", "reupload": True},
    "su4": {"circuit": "qcnn", "conv": "su4"},
    "su4-reupload": {"circuit": "qcnn", "conv": "su4", "reupload": True},
    "dressed": {"circuit": "dressed", "depth": 3},
    "dressed-reupload": {"circuit": "dressed", "depth": 3, "reupload": True},
}


def layer(qubits: int, backend: str = "folded", **options: Any) -> QuantumLayer:
    """In float64, with weights anywhere on the circle."""
    torch.manual_seed(qubits)
    made = QuantumLayer(qubits, backend=backend, **options).double()
    made.weights.data.uniform_(-math.pi, math.pi)
    return made


def gradients(outputs: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(0.5, 1.5, outputs.numel(), dtype=outputs.dtype).reshape(outputs.shape)
    return torch.autograd.grad((outputs * weights).sum(), inputs)


class Reference:
    """The circuits written a second time, from their descriptions, gate by gate with a count of weights of its own."""

    def __init__(self, qubits: int, measured: tuple[int, ...], conditioned: bool, **options: Any) -> None:
        self.qubits, self.measured, self.conditioned, self.options = qubits, measured, conditioned, options

    def __call__(self, angles: Tensor, weights: Tensor) -> Any:
        self.weights, self.used = weights, 0
        (self.convolutional if self.options["circuit"] == "qcnn" else self.dressed)(angles)
        assert self.used == len(weights)
        return [qml.expval(qml.PauliZ(wire)) for wire in self.measured]

    def take(self, count: int) -> list[Tensor]:
        self.used += count
        return [self.weights[place] for place in range(self.used - count, self.used)]

    def convolutional(self, angles: Tensor) -> None:
        small, wires, level = self.options["conv"] == "so4", list(range(self.qubits)), 0
        while True:
            if level == 0 or self.options.get("reupload"):
                for wire in wires:
                    qml.RY(angles[..., wire], wires=wire)
            w = self.take(6 if small else 15)
            if len(wires) == 2:
                return self.pair(w, *wires)
            for first in (0, 1):
                for place in range(first, len(wires) - 1, 2):
                    self.pair(w, wires[place], wires[place + 1])
            self.pair(w, wires[-1], wires[0])
            w, left = self.take(2 if small else 3), []
            for place in range(0, len(wires) - 1, 2):
                self.pool(w, wires[place], wires[place + 1])
                left.append(wires[place + 1])
            wires, level = left + ([wires[-1]] if len(wires) % 2 else []), level + 1

    def pair(self, w: list[Tensor], a: int, b: int) -> None:
        if len(w) == 6:
            for gate, angle, wire in ((qml.RY, w[0], a), (qml.RY, w[1], b)):
                gate(angle, wires=wire)
            qml.CNOT(wires=[a, b])
            for gate, angle, wire in ((qml.RY, w[2], a), (qml.RZ, w[3], b)):
                gate(angle, wires=wire)
            qml.CNOT(wires=[b, a])
            for gate, angle, wire in ((qml.RY, w[4], a), (qml.RZ, w[5], b)):
                gate(angle, wires=wire)
            return
        qml.U3(w[0], w[1], w[2], wires=a)
        qml.U3(w[3], w[4], w[5], wires=b)
        for pauli, angle in (("XX", w[6]), ("YY", w[7]), ("ZZ", w[8])):
            qml.PauliRot(angle, pauli, wires=[a, b])
        qml.U3(w[9], w[10], w[11], wires=a)
        qml.U3(w[12], w[13], w[14], wires=b)

    def pool(self, w: list[Tensor], source: int, target: int) -> None:
        """Measure the source; rotate the target by w[0] about Z if it is 1, by w[1] about X if 0; or freely if it is 1."""
        if self.conditioned:
            one = qml.measure(source)
            if len(w) == 3:
                qml.cond(one, qml.U3)(*w, wires=target)
            else:
                qml.cond(one, qml.RZ)(w[0], wires=target)
                qml.cond(~one, qml.RX)(w[1], wires=target)
        elif len(w) == 3:
            qml.ctrl(qml.U3, control=source)(*w, wires=target)
        else:
            qml.ctrl(qml.RZ, control=source)(w[0], wires=target)
            qml.ctrl(qml.RX, control=source, control_values=0)(w[1], wires=target)

    def dressed(self, angles: Tensor) -> None:
        for wire in range(self.qubits):
            qml.Hadamard(wires=wire)
        for number in range(self.options["depth"]):
            if number == 0 or self.options.get("reupload"):
                for wire in range(self.qubits):
                    qml.RY(angles[..., wire], wires=wire)
            for first in (0, 1):
                for wire in range(first, self.qubits - 1, 2):
                    qml.CNOT(wires=[wire, wire + 1])
            for wire, angle in enumerate(self.take(self.qubits)):
                qml.RY(angle, wires=wire)


@pytest.mark.parametrize("qubits", range(2, 9))
@pytest.mark.parametrize("name", CIRCUITS)
def test_the_folded_circuit_is_pennylanes(name: str, qubits: int) -> None:
    mine = layer(qubits, **CIRCUITS[name])
    reference = Reference(qubits, mine.measured, False, **CIRCUITS[name])
    node = qml.QNode(reference, qml.device("default.qubit"), interface="torch", diff_method="backprop")
    for rows in (3, 2**qubits + 1):  # block by block, and folded into matrices
        angles = torch.empty(rows, qubits, dtype=torch.float64).uniform_(-math.pi, math.pi).requires_grad_()
        theirs, found = torch.stack(node(angles, mine.weights), dim=-1), mine(angles)
        torch.testing.assert_close(found, theirs, rtol=0, atol=1e-9)
        pairs = zip(gradients(found, angles, mine.weights), gradients(theirs, angles, mine.weights), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("qubits", [3, 4, 5])
@pytest.mark.parametrize("name", ["so4", "su4", "so4-reupload", "su4-reupload"])
def test_pooling_by_measuring_and_conditioning_gives_the_same(name: str, qubits: int) -> None:
    mine = layer(qubits, **CIRCUITS[name])
    reference = Reference(qubits, mine.measured, True, **CIRCUITS[name])
    node = qml.QNode(reference, qml.device("default.qubit"), interface="torch")
    angles = torch.empty(qubits, dtype=torch.float64).uniform_(-math.pi, math.pi)
    with torch.no_grad():
        torch.testing.assert_close(mine(angles), torch.stack(node(angles, mine.weights)), rtol=0, atol=1e-9)


# the circuits are those that the literature draws


def gates(circuit: Any) -> list[tuple[str, tuple[int, ...]]]:
    with qml.queuing.AnnotatedQueue() as queue:
        apply(circuit, np.zeros(circuit.qubits), np.zeros(circuit.weights))
    tape = qml.tape.QuantumScript.from_queue(queue)
    return [(gate.name, tuple(gate.wires)) for gate in tape.operations]


def test_dressed_is_the_circuit_of_pennylanes_tutorial_on_transfer_learning() -> None:
    """Mari 2020, and the tutorial's own functions: H_layer, RY_layer, then entangling_layer and RY_layer, repeated."""
    entangling = [("CNOT", (0, 1)), ("CNOT", (2, 3)), ("CNOT", (1, 2))]
    rotations = [("RY", (wire,)) for wire in range(4)]
    expected = [("Hadamard", (wire,)) for wire in range(4)] + rotations + (entangling + rotations) * 6
    circuit = circuit_of("dressed", 4)
    assert gates(circuit) == expected and circuit.weights == 24


def test_qcnn_on_four_qubits_by_hand() -> None:
    def so4(a: int, b: int) -> list[tuple[str, tuple[int, ...]]]:
        first = [("RY", (a,)), ("RY", (b,)), ("CNOT", (a, b)), ("RY", (a,)), ("RZ", (b,))]
        return [*first, ("CNOT", (b, a)), ("RY", (a,)), ("RZ", (b,))]

    def pool(a: int, b: int) -> list[tuple[str, tuple[int, ...]]]:
        return [("CRZ", (a, b)), ("PauliX", (a,)), ("CRX", (a, b))]

    upload = [("RY", (wire,)) for wire in range(4)]
    level = so4(0, 1) + so4(2, 3) + so4(1, 2) + so4(3, 0) + pool(0, 1) + pool(2, 3)
    assert gates(circuit_of("qcnn", 4)) == upload + level + so4(1, 3)
    again = [("RY", (1,)), ("RY", (3,))]
    assert gates(circuit_of("qcnn", 4, reupload=True)) == upload + level + again + so4(1, 3)


@pytest.mark.parametrize(
    ("qubits", "conv", "weights", "kept"),
    [
        (8, "so4", 22, (3, 7)),  # 6 + 2 + 6 + 2 + 6
        (8, "su4", 51, (3, 7)),  # 3 x 15 + 2 x 3
        (6, "so4", 22, (3, 5)),  # 6 -> 3 -> 2: the unpaired last wire is kept
        (5, "so4", 22, (3, 4)),
        (3, "so4", 14, (1, 2)),
        (2, "so4", 6, (0, 1)),
    ],
)
def test_weights_and_wires_that_are_left(qubits: int, conv: str, weights: int, kept: tuple[int, ...]) -> None:
    circuit = circuit_of("qcnn", qubits, conv)
    assert (circuit.weights, circuit.kept) == (weights, kept)


@pytest.mark.parametrize("kind", ["zx", "u3"])
def test_pooling_is_measuring_and_conditioning(kind: str) -> None:
    angles = np.random.default_rng(0).uniform(-3, 3, ANGLES[kind])

    def prepare() -> None:
        for wire, angle in enumerate((0.4, 1.3)):
            qml.RY(angle, wire)
        qml.CNOT([0, 1])
        qml.RX(0.7, 1)

    def conditioned() -> None:
        measured = qml.measure(0)
        if kind == "u3":
            qml.cond(measured, qml.U3)(*angles, wires=1)
        else:
            qml.cond(measured, qml.RZ)(angles[0], wires=1)
            qml.cond(~measured, qml.RX)(angles[1], wires=1)

    def expectations(pool: Callable[[], None]) -> list[float]:
        @qml.qnode(qml.device("default.qubit"))
        def node() -> Any:
            prepare()
            pool()
            return qml.expval(qml.Z(1)), qml.expval(qml.X(1)), qml.expval(qml.Y(1))

        return [float(value) for value in node()]

    assert expectations(lambda: GATES[kind](angles, 0, 1)) == pytest.approx(expectations(conditioned), abs=1e-12)


def test_gradients_are_those_of_the_parameter_shift_rule() -> None:
    mine = layer(4, circuit="dressed", depth=2)
    angles = torch.empty(4, dtype=torch.float64).uniform_(-1, 1)

    @qml.qnode(qml.device("default.qubit"), interface="torch", diff_method="parameter-shift")
    def node(weights: Tensor) -> Any:
        apply(mine.circuit, angles, weights)
        return qml.expval(qml.Z(0))

    weights = mine.weights.detach().clone().requires_grad_()
    (shifted,) = torch.autograd.grad(node(weights), weights)
    (folded,) = torch.autograd.grad(mine(angles[None])[0, 0], mine.weights)
    torch.testing.assert_close(folded, shifted, rtol=0, atol=1e-9)


# the layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("backend", ["pennylane", "device:default.qubit", "device:lightning.qubit"])
def test_all_backends_give_the_same_for_the_same_weights(backend: str, dtype: torch.dtype) -> None:
    mine = layer(4).to(dtype)
    other = QuantumLayer(4, backend=backend).to(dtype).eval()
    other.load_state_dict(mine.state_dict())  # the names are the same
    angles = torch.randn(2, 3, 4, dtype=dtype)
    with torch.no_grad():
        found, theirs = mine(angles), other(angles)
    assert found.dtype == theirs.dtype == dtype and found.shape == (2, 3, 2)
    torch.testing.assert_close(theirs, found, rtol=0, atol=1e-5)


def test_shots_are_drawn_and_scatter_around_the_exact_value() -> None:
    mine = layer(3)
    other = QuantumLayer(3, backend="device:default.qubit", shots=4000).double()
    other.load_state_dict(mine.state_dict())
    angles = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        apart = (other(angles) - mine(angles)).abs()
    assert 0 < apart.max() < 6 / math.sqrt(4000)  # six standard errors of a value between -1 and 1


def test_it_is_left_out_of_autocast() -> None:
    mine = layer(4).float()
    angles = torch.randn(3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = mine(angles)
    assert found.dtype == torch.float32 and torch.equal(found, mine(angles))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"qubits": 1}, "1 qubits"),
        ({"qubits": 13}, "34.4 GB"),  # 64 matrices of 8 bytes x 4^13
        ({"qubits": 4, "circuit": "QCNN"}, "'QCNN' is not allowed"),
        ({"qubits": 4, "conv": "so5"}, "'so5' is not allowed"),
        ({"qubits": 4, "circuit": "dressed", "depth": 0}, "depth = 0"),
        ({"qubits": 4, "measured": [4]}, "not wires of 4 qubits"),
        ({"qubits": 4, "shots": 10}, "is exact"),
        ({"qubits": 4, "backend": "magic"}, "'magic' is not allowed"),
        ({"qubits": 4, "backend": "device:no.such"}, "cannot make the device 'no.such'"),
    ],
)
def test_wrong_use_is_told_in_words(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        QuantumLayer(**arguments)
    assert error.value.hint


def test_a_circuit_of_other_qubits_is_refused() -> None:
    with pytest.raises(UsageError, match="4 qubits"):
        QuantumLayer(3, circuit_of("qcnn", 4))


@pytest.mark.parametrize("backend", ["folded", "pennylane", "device:default.qubit"])
def test_no_rows_give_no_rows(backend: str) -> None:
    with torch.no_grad():
        assert QuantumLayer(3, backend=backend)(torch.zeros(0, 3)).shape == (0, 2)


def test_a_device_predicts_and_does_not_train() -> None:
    with pytest.raises(SegkitError, match="does not train"):
        QuantumLayer(2, backend="device:default.qubit")(torch.randn(3, 2))
    frozen = QuantumLayer(2, backend="device:default.qubit").requires_grad_(False)
    with pytest.raises(SegkitError, match="does not train"):
        frozen(torch.randn(3, 2, requires_grad=True))
