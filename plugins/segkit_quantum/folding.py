"""Circuits as linear algebra: matrices of the blocks from PennyLane, everything else in torch.

A state of n qubits is a row of 2^n amplitudes, the first wire being the most significant bit, as in PennyLane. After the
first upload it is a real product state; matrices act on rows from the right, so they are stored transposed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pennylane as qml
import torch
from torch import Tensor

from segkit_quantum.gates import ANGLES, GATES, Circuit, Layer

Matrices = Mapping[tuple[str, int], Tensor]
Pair = tuple[Tensor, Tensor]  # real and imaginary part


def matrices_of(circuit: Circuit, weights: Tensor) -> Matrices:
    """The matrix of every block by its kind and its first weight, (2, 2) or (4, 4) complex; differentiable.

    One question per kind: PennyLane broadcasts over all weights of it.
    """
    kinds: dict[str, dict[int, int]] = {}  # kind -> first weight -> number of wires
    for layer in circuit.layers:
        for block in layer.blocks:
            kinds.setdefault(block.kind, {})[block.start] = len(block.wires)
    dtype = torch.complex128 if weights.dtype == torch.float64 else torch.complex64
    found: dict[tuple[str, int], Tensor] = {}
    for kind, starts in kinds.items():
        wires = range(next(iter(starts.values())))
        side = 2 ** len(wires)
        if weights.is_meta:  # only shapes are asked for
            together = torch.empty(len(starts), side, side, dtype=dtype, device="meta")
        else:
            angles = [torch.stack([weights[start + place] for start in starts]) for place in range(ANGLES[kind])]
            together = torch.as_tensor(
                qml.matrix(GATES[kind], wire_order=list(wires))(angles, *wires), device=weights.device
            )
            together = together.to(dtype).reshape(-1, side, side).expand(len(starts), side, side)
        found |= {(kind, start): matrix for start, matrix in zip(starts, together, strict=True)}
    return found


def fold(circuit: Circuit, matrices: Matrices) -> list[Pair]:
    """One matrix per layer, (2^n, 2^n), transposed."""
    some = next(iter(matrices.values()))
    identity = torch.eye(2**circuit.qubits, dtype=some.dtype, device=some.device)
    folded = [_through_blocks(identity, layer, matrices, circuit.qubits) for layer in circuit.layers]
    return [(matrix.real.contiguous(), matrix.imag.contiguous()) for matrix in folded]


def expectations_folded(circuit: Circuit, angles: Tensor, folded: Sequence[Pair], signs: Tensor) -> Tensor:
    """(rows, qubits) angles -> (rows, outputs) expectation values, by one matrix per layer, on real pairs."""
    start, (a, b) = product_state(angles, circuit.hadamard), folded[0]
    real, imaginary = start @ a, start @ b
    for layer, (a, b) in zip(circuit.layers[1:], folded[1:], strict=True):
        real, imaginary = (_upload(part, angles, layer.upload) for part in (real, imaginary))
        real, imaginary = real @ a - imaginary @ b, real @ b + imaginary @ a
    return (real.square() + imaginary.square()) @ signs


def expectations_by_blocks(circuit: Circuit, angles: Tensor, matrices: Matrices, signs: Tensor) -> Tensor:
    """The same block by block, which is less work for few rows."""
    state = product_state(angles, circuit.hadamard).to(next(iter(matrices.values())).dtype)
    for number, layer in enumerate(circuit.layers):
        if number:
            state = _upload(state, angles, layer.upload)
        state = _through_blocks(state, layer, matrices, circuit.qubits)
    return (state.real.square() + state.imag.square()) @ signs


def product_state(angles: Tensor, hadamard: bool) -> Tensor:
    """(rows, qubits) -> (rows, 2^n): RY of every wire by its angle, on |0> or on the Hadamard gate's |+>."""
    cosine, sine = torch.cos(angles / 2), torch.sin(angles / 2)
    if hadamard:
        cosine, sine = (cosine - sine) / math.sqrt(2), (cosine + sine) / math.sqrt(2)
    state = torch.stack([cosine[:, 0], sine[:, 0]], dim=1)
    for wire in range(1, angles.shape[1]):
        own = torch.stack([cosine[:, wire], sine[:, wire]], dim=1)
        state = (state[:, :, None] * own[:, None, :]).flatten(1)
    return state


def signs_of(qubits: int, measured: Sequence[int]) -> Tensor:
    """(2^n, outputs): 1 where a wire's bit is 0, else -1."""
    states = torch.arange(2**qubits)
    return torch.stack([1.0 - 2.0 * ((states >> (qubits - 1 - wire)) & 1) for wire in measured], dim=1)


def _upload(state: Tensor, angles: Tensor, wires: Sequence[int]) -> Tensor:
    """RY on each of the wires, by each row's own angles."""
    qubits = angles.shape[1]
    cosine, sine = torch.cos(angles / 2)[:, :, None, None], torch.sin(angles / 2)[:, :, None, None]
    for wire in wires:
        halves = state.unflatten(1, (2**wire, 2, 2 ** (qubits - 1 - wire)))
        zero, one = halves[:, :, 0], halves[:, :, 1]
        c, s = cosine[:, wire], sine[:, wire]
        state = torch.stack([c * zero - s * one, s * zero + c * one], dim=2).flatten(1)
    return state


def _through_blocks(state: Tensor, layer: Layer, matrices: Matrices, qubits: int) -> Tensor:
    """(rows, 2^n) complex through the blocks of a layer."""
    for block in layer.blocks:
        matrix = matrices[block.kind, block.start]
        axes, last = [wire + 1 for wire in block.wires], list(range(-len(block.wires), 0))
        turned = state.unflatten(1, [2] * qubits).movedim(axes, last)
        moved = (turned.reshape(-1, len(matrix)) @ matrix.mT).reshape(turned.shape)
        state = moved.movedim(last, axes).flatten(1)
    return state
