"""What the tests of predict share: a model whose channels are its logits, and readers of what is written."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from segkit.settings import Preprocess
from segkit.task import Task

ORGANS = Task(3, ("background", "liver", "spleen"), mode="multiclass")


RECORD = Preprocess("stretch", (32, 32), intensity="zscore")


ECHO = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("echo", "its channels are its logits", target="acme_module:build")]

def build(task, options):
    import torch

    class Echo(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            return self.scale * x

    return Echo()
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def record(out: Path) -> dict[str, Any]:
    files: dict[str, Any] = json.loads((out / "predictions.json").read_text())["files"]
    return files
