"""The whole tool from Python: train on generated images, score, predict, export, and use the network on an array.

python examples/python_api.py OUT
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np

import segkit
from segkit.api import Task


def main(out: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # one line per epoch; without it nothing is shown

    run = segkit.train(
        "phantom",
        "unet",
        epochs=4,
        batch_size=4,
        lr=3e-3,
        out=out / "run",
        options={"model.width": 4, "model.depth": 2, "dataset.cases": 24, "dataset.size": 32, "preprocess.size": 32},
    )
    print(f"trained: epoch {run.best_epoch} is kept, in {run.weights}")

    evaluation = segkit.evaluate(run)
    for name, figure in evaluation.figures["per_case"].items():
        if "/" not in name:
            print(f"test {name}: {figure.mean:.3f} over {figure.n} cases")

    model = segkit.load(run)
    image = np.random.default_rng(0).integers(0, 255, (3, 100, 80), dtype=np.uint8)  # (C, H, W) of any size
    print(f"labels: {model.predict(image).shape}, probabilities: {model.probabilities(image).shape}")

    exported = segkit.export(run, out=out / "model.onnx")
    print(f"exported: {exported.files[0].name}, largest difference {exported.header.export['parity']['difference']:.1e}")

    network = segkit.build_model("resunet", Task(channels=3, classes=("background", "polyp")), width=16)
    print(f"a fresh resunet has {sum(parameter.numel() for parameter in network.parameters()):,} parameters")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
