"""segkit: medical image segmentation, from the command line and from Python. Plugin authors import `segkit.api`.

import segkit

run = segkit.train("phantom", "unet", epochs=5, options={"model.width": 8})
labels = segkit.load(run).predict(image)
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.evaluation.masks import evaluate_masks
    from segkit.workflows import build_model, evaluate, export, load, plan, predict, resume, train

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "build_model",
    "evaluate",
    "evaluate_masks",
    "export",
    "load",
    "plan",
    "predict",
    "resume",
    "train",
]

logging.getLogger("segkit").addHandler(logging.NullHandler())  # whoever uses it decides what is shown
# OpenMP reads this once, when torch is loaded. By default a thread that waits for another spins, and takes the core that
# the other needs: beside a busy neighbour on two cores a training took ten times as long (tests/benchmarks/neighbour.py)
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# torch reads this with its first tensor: large ones then lie on huge pages, whose faults cost less. On two cores a training
# step of a 2D U-Net takes .93 to .96 of the time, of a 3D one .97 to 1.01
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def __getattr__(name: str) -> Any:
    """The functions of the Python API, imported when they are first asked for."""
    if name in __all__:
        from importlib import import_module

        module = "segkit.evaluation.masks" if name == "evaluate_masks" else "segkit.workflows"
        return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
