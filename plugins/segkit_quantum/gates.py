"""What circuits there are, as data; PennyLane defines every gate.

A `Circuit` says which block of gates acts on which wires with which weights. `apply` runs it in PennyLane; folding.py asks
PennyLane for the blocks' matrices instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pennylane as qml

from segkit.api import UsageError

LEAST, MOST = 2, 12  # qubits
STEP = 64  # matrices (of 2 ** qubits squared complex64 numbers) that a training step holds, as measured at 10 qubits


@dataclass(frozen=True)
class Block:
    """Gates on one or two wires.

    Args:
        kind: a key of `GATES`.
        wires: where it acts.
        start: its first weight; it has as many as `ANGLES` says. Blocks that share weights share them here.
    """

    kind: str
    wires: tuple[int, ...]
    start: int = 0


@dataclass(frozen=True)
class Layer:
    """Blocks, after an upload of the data on some wires: RY by the row's own angles."""

    upload: tuple[int, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Circuit:
    """
    Args:
        qubits: wires.
        layers: in order; the first uploads on all wires.
        hadamard: a Hadamard gate on every wire before everything.
        weights: number of trainable angles.
        kept: wires that are left at the end.
    """

    qubits: int
    layers: tuple[Layer, ...]
    hadamard: bool
    weights: int
    kept: tuple[int, ...]


def _so4(angles: Sequence[Any], a: int, b: int) -> None:
    qml.RY(angles[0], a)
    qml.RY(angles[1], b)
    qml.CNOT([a, b])
    qml.RY(angles[2], a)
    qml.RZ(angles[3], b)
    qml.CNOT([b, a])
    qml.RY(angles[4], a)
    qml.RZ(angles[5], b)


def _su4(angles: Sequence[Any], a: int, b: int) -> None:
    qml.U3(*angles[0:3], a)
    qml.U3(*angles[3:6], b)
    qml.IsingXX(angles[6], [a, b])
    qml.IsingYY(angles[7], [a, b])
    qml.IsingZZ(angles[8], [a, b])
    qml.U3(*angles[9:12], a)
    qml.U3(*angles[12:15], b)


def _zx(angles: Sequence[Any], source: int, target: int) -> None:
    """Measuring `source` and rotating `target` by what was found, with the measurement deferred."""
    qml.CRZ(angles[0], [source, target])
    qml.X(source)
    qml.CRX(angles[1], [source, target])


def _u3(angles: Sequence[Any], source: int, target: int) -> None:
    """The same with any rotation of the target."""
    qml.ctrl(qml.U3(*angles, wires=target), control=source)


def _ry(angles: Sequence[Any], wire: int) -> None:
    qml.RY(angles[0], wire)


def _ryry(angles: Sequence[Any], a: int, b: int) -> None:
    """Two wires at once, which is one matrix less to apply."""
    qml.RY(angles[0], a)
    qml.RY(angles[1], b)


def _cnot(angles: Sequence[Any], a: int, b: int) -> None:
    qml.CNOT([a, b])


GATES: dict[str, Callable[..., None]] = {
    "so4": _so4,
    "su4": _su4,
    "zx": _zx,
    "u3": _u3,
    "ry": _ry,
    "ryry": _ryry,
    "cnot": _cnot,
}
ANGLES = {"so4": 6, "su4": 15, "zx": 2, "u3": 3, "ry": 1, "ryry": 2, "cnot": 0}
POOLS = {"so4": "zx", "su4": "u3"}


def qcnn(qubits: int, conv: str = "so4", reupload: bool = False) -> Circuit:
    """The quantum convolutional network (Cong 2019): convolve neighbours, pool, until two wires are left.

    Per level one set of weights acts on the pairs (0, 1), (2, 3), ..., then (1, 2), ..., and last with first; then wires at
    even positions are pooled into their right neighbours, an unpaired last one is kept. A last block joins the two left.

    Args:
        qubits: 2 to 12.
        conv: so4 (6 angles of RY and RZ about two CNOTs; pooling has 2) or su4 (15 angles, any gate on two qubits; 3).
        reupload: upload the data again before each level, on the wires that are left (Pérez-Salinas 2020).
    """
    check_qubits(qubits)
    if conv not in POOLS:
        raise UsageError(f"conv = {conv!r} is not allowed.", f"Allowed: {', '.join(POOLS)}.")
    wires, levels, weights = tuple(range(qubits)), list[Layer](), 0
    while len(wires) > 2:
        even, odd = list(zip(wires[::2], wires[1::2], strict=False)), list(zip(wires[1::2], wires[2::2], strict=False))
        blocks = [Block(conv, pair, weights) for pair in (*even, *odd, (wires[-1], wires[0]))]
        blocks += [Block(POOLS[conv], pair, weights + ANGLES[conv]) for pair in even]
        levels.append(Layer(wires, tuple(blocks)))
        weights += ANGLES[conv] + ANGLES[POOLS[conv]]
        wires = wires[1::2] + (wires[-1:] if len(wires) % 2 else ())
    levels.append(Layer(wires, (Block(conv, wires, weights),)))
    return Circuit(qubits, _uploading(levels, reupload), False, weights + ANGLES[conv], wires)


def dressed(qubits: int, depth: int = 6, reupload: bool = False) -> Circuit:
    """The circuit of PennyLane's transfer-learning tutorial (Mari 2020): entangle neighbours, rotate each wire, repeat.

    Args:
        qubits: 2 to 12.
        depth: repetitions, `qubits` weights each.
        reupload: upload the data again before each repetition.
    """
    check_qubits(qubits)
    if depth < 1:
        raise UsageError(f"depth = {depth} is not allowed.", "At least 1.")
    wires = tuple(range(qubits))
    pairs = [(wire, wire + 1) for first in (0, 1) for wire in range(first, qubits - 1, 2)]
    repetitions = []
    for number in range(depth):
        own = number * qubits
        rotations = [Block("ryry", (wire, wire + 1), own + wire) for wire in wires[: qubits - 1 : 2]]
        rotations += [Block("ry", wires[-1:], own + qubits - 1)] if qubits % 2 else []
        repetitions.append(Layer(wires, (*(Block("cnot", pair) for pair in pairs), *rotations)))
    return Circuit(qubits, _uploading(repetitions, reupload), True, depth * qubits, wires)


def _uploading(layers: Sequence[Layer], again: bool) -> tuple[Layer, ...]:
    """As they are, or all blocks after the first upload alone."""
    return tuple(layers) if again else (Layer(layers[0].upload, tuple(block for layer in layers for block in layer.blocks)),)


def check_qubits(qubits: int) -> None:
    """Raises UsageError below 2 and above 12, where the folded matrix fills the memory."""
    if LEAST <= qubits <= MOST:
        return
    gigabytes = STEP * 8 * 4.0**qubits / 1e9
    words = f" (a training step would take about {gigabytes:.3g} GB)" if qubits > MOST else ""
    raise UsageError(f"A circuit on {qubits} qubits cannot be simulated here{words}.", f"Allowed: {LEAST} to {MOST}.")


def apply(circuit: Circuit, angles: Any, weights: Any) -> None:
    """Queue all gates in PennyLane.

    Args:
        circuit: what to run.
        angles: (..., qubits) of the data.
        weights: (circuit.weights,).
    """
    if circuit.hadamard:
        for wire in range(circuit.qubits):
            qml.Hadamard(wire)
    for layer in circuit.layers:
        for wire in layer.upload:
            qml.RY(angles[..., wire], wire)
        for block in layer.blocks:
            GATES[block.kind](weights[block.start : block.start + ANGLES[block.kind]], *block.wires)


def draw(circuit: Circuit, measured: Sequence[int] | None = None) -> str:
    """As PennyLane draws it, with the wires that are measured (None: those that are kept)."""
    import numpy as np

    def run(angles: Any, weights: Any) -> Any:
        apply(circuit, angles, weights)
        return [qml.expval(qml.Z(wire)) for wire in (circuit.kept if measured is None else measured)]

    node = qml.QNode(run, qml.device("default.qubit", wires=circuit.qubits))
    drawn = qml.draw(node, decimals=None, max_length=110)
    return str(drawn(np.zeros(circuit.qubits), np.zeros(circuit.weights)))
