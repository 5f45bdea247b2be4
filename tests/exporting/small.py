"""What the tests of exported files share: every built-in model in small, tasks and records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segkit.settings import Preprocess
from segkit.task import Task

COLOUR = Task(3, ("background", "polyp"), channel_names=("red", "green", "blue"))
ORGANS = Task(1, ("background", "liver", "spleen"), mode="multiclass")
VOLUMES = Task(1, ("background", "liver", "spleen"), dims=3, mode="multiclass")
STRETCH = Preprocess("stretch", (32, 32), intensity="zscore")
TINY: dict[str, dict[str, Any]] = {
    "unet": {"width": 4, "depth": 2},
    "resunet": {"width": 4, "depth": 2},
    "attention-unet": {"width": 4, "depth": 2},
    "attention-resunet": {"width": 4, "depth": 2},
    "unet3d": {"width": 4, "depth": 1},
    "resenc-unet": {"width": 4, "depth": (2,), "blocks": (1,)},
    "resnet50-unet": {"encoder": "test_resnet", "widths": (16, 16, 16, 8, 8)},
    "semantic-fpn": {"encoder": "test_resnet", "width": 16},
    "deeplabv3plus": {"encoder": "resnet18", "width": 16},
    "transunet": {"size": 32, "width": 32, "layers": (1, 1, 1), "hidden": 48, "depth": 2, "heads": 4},
    "resnet-seg": {"encoder": "test_resnet", "widths": (32, 32, 16, 16, 8)},
    "resnet-classifier": {"encoder": "test_resnet", "hidden": 8},
    "resnet-qcnn": {"encoder": "test_resnet", "qubits": 3},
    "quantum-resnet": {"encoder": "test_resnet", "qubits": 3, "widths": (32, 32, 16, 16, 8)},
}


def volume_file(path: Path) -> Path:
    import nibabel as nib

    array = np.random.default_rng(1).normal(size=(20, 17, 9)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 3.0, 1.0])), path)
    return path
