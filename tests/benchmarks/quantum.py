"""Forward and backward of the folded circuit against PennyLane's TorchLayer, and its share of a training step.

python tests/benchmarks/quantum.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import time
from collections.abc import Callable

import pennylane as qml
import torch

from segkit import plugins
from segkit.models import cost
from segkit.models.build import build_model
from segkit.models.device import layout, to_device
from segkit_quantum.circuits import QuantumLayer

WARM_UP = 2  # rounds before the first that counts
SIZES = [(qubits, rows) for rows in (32, 8192) for qubits in (4, 6, 8)]


def timed(step: Callable[[], None]) -> float:
    gc.collect()  # or one would pay for taking away what the other left behind
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def compare(circuit: str, qubits: int, rows: int, rounds: int) -> str:
    """Both in every round, one after the other, each warm."""
    angles = torch.randn(rows, qubits, requires_grad=True)
    layers = {backend: QuantumLayer(qubits, circuit, backend) for backend in ("folded", "pennylane")}
    seconds: dict[str, list[float]] = {backend: [] for backend in layers}
    for number in range(-WARM_UP, rounds):
        for backend, layer in layers.items():
            for again in (False, True):  # the first brings back the memory that the other one took
                taken = timed(lambda layer=layer: layer(angles).sum().backward())  # type: ignore[misc]
                if number >= 0 and again:
                    seconds[backend].append(taken)
    ratio = statistics.median(theirs / mine for mine, theirs in zip(seconds["folded"], seconds["pennylane"], strict=True))
    mine, theirs = (1000 * statistics.median(seconds[backend]) for backend in ("folded", "pennylane"))
    about = f"{circuit:>8}  {qubits} qubits  {rows:>5} rows"
    return f"{about}  folded {mine:8.1f} ms  TorchLayer {theirs:8.1f} ms  ratio {ratio:5.1f}"


def share(qubits: int, rounds: int) -> str:
    """Of a training step of quantum-resnet, batch 8, 256 x 256: 8 x 8 positions an image."""
    choice = cost.choose(plugins.load().find("models", "quantum-resnet"), [f"model.qubits={qubits}"])
    task = cost.task_for(choice, 3, 1)
    model = to_device(build_model(choice, task, 2), torch.device("cpu"), 2, choice.spec).train()
    optimizer = torch.optim.AdamW(model.parameters())
    images = layout(torch.rand(8, 3, 256, 256), choice.spec)
    layer: QuantumLayer = model.bottleneck.core.layer  # type: ignore[assignment, union-attr]
    angles = torch.rand(8 * 8 * 8, qubits, requires_grad=True)

    def step() -> None:
        optimizer.zero_grad()
        model(images).square().mean().backward()
        optimizer.step()

    whole, part = [], []
    for number in range(rounds + 1):
        taken = timed(step), timed(lambda: layer(angles).sum().backward())
        if number:
            whole.append(taken[0])
            part.append(taken[1])
    percent = 100 * statistics.median(mine / total for mine, total in zip(part, whole, strict=True))
    return (
        f"quantum-resnet, {qubits} qubits: step {1000 * statistics.median(whole):.0f} ms, "
        f"circuit {1000 * statistics.median(part):.1f} ms, {percent:.2f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, PennyLane {qml.__version__}, {torch.get_num_threads()} threads, {platform.machine()}")
    for circuit in ("qcnn", "dressed"):
        for qubits, rows in SIZES:
            print(compare(circuit, qubits, rows, rounds if rows < 1000 else max(3, rounds // 5)), flush=True)
    for qubits in (4, 6, 8):
        print(share(qubits, max(3, rounds // 3)), flush=True)


if __name__ == "__main__":
    main()
