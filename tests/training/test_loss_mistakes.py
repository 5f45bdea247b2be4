"""What a loss, a model or a dataset does wrong in a step is told as its own mistake, with what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import Command

PLUGIN = """
import numpy as np
from segkit.api import Case, Dataset, DatasetSpec, LossSpec, ModelSpec, Sample, Task, hookimpl

LOSSES = ("raises", "per_case", "detached", "pair", "number", "nothing", "whole", "endless", "inplace")
MODELS = ("plain", "frozen", "endless_logits")
DATASETS = {
    "nan": "(image * float('nan'), mask)",
    "loose": "None",
    "torn": "(image, mask[None])",
    "listed": "(image.tolist(), mask)",
}

@hookimpl
def segkit_losses():
    return [LossSpec(name.replace("_", "-"), "a loss", target=f"acme_module:loss_{name}") for name in LOSSES]

@hookimpl
def segkit_models():
    return [ModelSpec(name.replace("_", "-"), "a model", target=f"acme_module:{name}") for name in MODELS]

@hookimpl
def segkit_datasets():
    return [DatasetSpec(name, "data", target=f"acme_module:open_{name}", needs_root=False) for name in DATASETS]

def _loss(compute):
    import torch
    class Loss(torch.nn.Module):
        def forward(self, logits, target):
            return compute(torch, logits, target)
    return lambda task, options: Loss()

loss_raises = _loss(lambda torch, logits, target: logits @ target)
loss_per_case = _loss(lambda torch, logits, target: (logits[:, 0] - target).square().flatten(1).mean(1))
loss_detached = _loss(lambda torch, logits, target: (logits.detach()[:, 0] - target).square().mean())
loss_pair = _loss(lambda torch, logits, target: (logits.mean(), logits.mean()))
loss_number = _loss(lambda torch, logits, target: logits.mean().item())
loss_nothing = _loss(lambda torch, logits, target: None)
loss_whole = _loss(lambda torch, logits, target: (logits[:, 0] > 0).ne(target).sum())
loss_endless = _loss(lambda torch, logits, target: logits.square().mean() / 0)

def _inplace(torch, logits, target):
    roots = logits.exp()
    value = (roots * roots).mean()
    roots += 1
    return value

loss_inplace = _loss(_inplace)

def plain(task, options):
    import torch
    return torch.nn.Conv2d(task.channels, task.outputs, 1)

def _changed(task, change):
    import torch
    class Changed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = plain(task, None)
        def forward(self, x):
            return change(self.conv(x))
    return Changed()

def frozen(task, options):
    return _changed(task, lambda y: y.detach())

def endless_logits(task, options):
    return _changed(task, lambda y: y / 0 * 0)

def _dataset(words):
    def read(case):
        draw = np.random.default_rng(int(case.id))
        image, mask = draw.random((3, 16, 16)).astype(np.float32), draw.integers(0, 2, (16, 16))
        made = eval(words)
        return made if made is None else Sample(*made)
    cases = tuple(Case(str(number), str(number)) for number in range(12))
    return lambda root, options, labelled=True: Dataset(Task(3, ("background", "target")), cases, read)

globals().update({f"open_{name}": _dataset(words) for name, words in DATASETS.items()})
"""
EXPECTED = "gives one number: a tensor without axes, made of the logits"
PHANTOM = "--dataset phantom -o dataset.cases=12 -o dataset.size=16 -o preprocess.size=16"
SAMPLE = "gives a segkit.api.Sample of NumPy arrays"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--loss raises", ["The loss acme/raises failed on logits of shape (8, 1, 16, 16) and a target of shape", EXPECTED]),
        (
            "--loss per-case",
            ["The loss acme/per-case gave a tensor of shape (8,) and type float32, not one number", ".mean()"],
        ),
        ("--loss detached", ["The loss acme/detached is detached from the logits", ".detach()"]),
        ("--loss pair", ["The loss acme/pair gave a tuple of 2, not a tensor", EXPECTED]),
        ("--loss number", ["The loss acme/number gave a float, not a tensor", EXPECTED]),
        ("--loss nothing", ["The loss acme/nothing gave nothing (None)", EXPECTED]),
        ("--loss whole", ["The loss acme/whole gave a tensor of shape () and type int64", EXPECTED]),
        ("--loss endless", ["The loss became inf in epoch 1, step 1", "it is the loss acme/endless that is not", "divides"]),
        (
            "--loss inplace",
            ["The gradients of the model acme/plain and the loss acme/inplace cannot be computed", "in place"],
        ),
        ("--model frozen", ["The logits of the model acme/frozen are detached from its weights"]),
        ("--model endless-logits", ["images are finite, the logits of the model acme/endless-logits are not", "own code"]),
        ("--dataset nan", ["case '", "its image holds values that are not finite numbers (NaN or infinite)"]),
        ("--dataset loose", ["the dataset gave a NoneType, not a Sample", SAMPLE]),
        ("--dataset torn", ["mask of shape (1, 16, 16); that of a binary task is (16, 16)"]),
        ("--dataset listed", ["its image is a list, not a NumPy array", SAMPLE]),
    ],
)
def test_a_mistake_of_a_plugin_is_told_as_its_own(
    segkit: Command, install: Any, tmp_path: Path, words: str, told: list[str]
) -> None:
    install("acme", PLUGIN)
    more = ("" if "--dataset" in words else PHANTOM) + ("" if "--model" in words else " --model plain")
    done = segkit("train", *words.split(), *more.split(), "--epochs", "1", "--batch-size", "8", "--out", tmp_path / "run")
    assert done.code == 1, done.err
    for part in told:
        assert part in " ".join(done.err.split()), done.err
    assert "Traceback" not in done.err and "segkit itself" not in done.err and not (tmp_path / "run").exists()


def test_a_loss_that_fails_in_validation_alone_is_told_too(segkit: Command, install: Any, tmp_path: Path) -> None:
    body = "lambda torch, logits, target: logits.mean() if logits.requires_grad else None"
    install("acme", PLUGIN.replace("lambda torch, logits, target: None", body))
    words = f"{PHANTOM} --model plain --loss nothing --epochs 1".split()
    done = segkit("train", *words, "--out", tmp_path / "run")
    assert done.code == 1 and "The loss acme/nothing gave nothing (None)" in done.err and "Traceback" not in done.err


def test_a_batch_size_that_is_tried_tells_the_same(segkit: Command, install: Any, tmp_path: Path) -> None:
    install("acme", PLUGIN)
    words = f"{PHANTOM} --model plain --loss detached --epochs 1 --batch-size auto".split()
    done = segkit("train", *words, "--out", tmp_path / "run")
    assert done.code == 1 and "The loss acme/detached is detached" in done.err and "segkit itself" not in done.err
