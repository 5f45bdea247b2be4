"""The models are the papers', to the parameter."""

from __future__ import annotations

import json

import pytest
import torch

from conftest import Command
from segkit import plugins
from segkit.config import Choice
from segkit.engine.backends import build_model, padded
from segkit.options import build
from segkit.task import Task

POLYP = Task(3, ("background", "polyp"))
HEART = Task(1, ("background", "RV", "myocardium", "LV"), mode="multiclass")
NAMES = ("unet", "resunet")


def make(name: str, task: Task, **options: object) -> torch.nn.Module:
    found = plugins.load().find("models", name)
    return build_model(Choice(found, build(found.spec.options, options, "model")), task, 2)


# Ehab & Li: 31,402,501 and 31,401,556, 33,157,140 are the totals their Keras printed for 3->1 and 1->4.
@pytest.mark.parametrize(
    ("name", "channels", "classes", "parameters", "buffers"),
    [
        ("unet", 3, 1, 31_390_723, 11_778),
        ("unet", 1, 4, 31_389_772, 11_784),
        ("resunet", 3, 1, 33_140_547, 17_666),
        ("resunet", 1, 4, 33_139_468, 17_672),
    ],
)
def test_the_counts_are_the_papers(
    segkit: Command, name: str, channels: int, classes: int, parameters: int, buffers: int
) -> None:
    counted = json.loads(segkit("models", name, "--channels", channels, "--classes", classes, "--json").out)
    assert (counted["parameters"], counted["buffers"]) == (parameters, buffers)


@pytest.mark.parametrize(
    ("name", "parameters", "buffers"), [("unet", 38_976, 256), ("resunet", 38_976 + 3 * 64 + 3 * 64, 384)]
)
def test_the_first_stage_is_the_papers(name: str, parameters: int, buffers: int) -> None:
    # conv block 3 -> 64: 38,976 / 256 (fidelity table); the shortcut adds i*o + 3o and 2o
    stage = make(name, POLYP).encoder[0]  # type: ignore[index]
    assert sum(p.numel() for p in stage.parameters()) == parameters
    assert sum(b.numel() for b in stage.buffers() if b.is_floating_point()) == buffers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", [POLYP, HEART])
@pytest.mark.parametrize("depth", [1, 3])
def test_logits_have_the_images_size_and_every_parameter_learns(name: str, task: Task, depth: int) -> None:
    torch.manual_seed(0)
    model = make(name, task, width=4, depth=depth)
    logits = model(torch.randn(2, task.channels, 16, 24))
    assert logits.shape == (2, task.outputs, 16, 24)
    (logits * torch.randn_like(logits)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    # a bias before a batch norm has no effect, so only kernels must have a gradient that is not zero
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.ndim > 1)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(1, 1), (17, 31), (16, 16), (33, 5)])
def test_any_size_goes_in_and_comes_out(name: str, size: tuple[int, int]) -> None:
    model = make(name, POLYP, width=2).eval()
    assert padded(model, torch.randn(2, 3, *size), (16, 16), 1).shape == (2, 1, *size)


def test_padding_changes_nothing_for_sizes_that_fit() -> None:
    model, x = make("unet", POLYP, width=2).eval(), torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(padded(model, x, (16, 16), 1), model(x))


def test_torchs_own_constants_are_the_default_and_keras_come_by_name() -> None:
    norm = make("unet", POLYP, width=2).head[1]  # type: ignore[index]
    assert (norm.eps, norm.momentum) == (1e-5, 0.1)
    model = make("unet", POLYP, width=2, init="keras")
    norm = model.head[1]  # type: ignore[index]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)
    biases = [module.bias for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert biases and all(bias is not None and not bias.any() for bias in biases)
    weight = make("unet", POLYP, width=64, init="keras").encoder[1][0].weight.detach()  # type: ignore[index]
    limit = (6 / (9 * 64 + 9 * 128)) ** 0.5  # Glorot & Bengio 2010, eq. 16
    assert weight.abs().max() <= limit and weight.std() == pytest.approx(limit / 3**0.5, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_four_phantoms_are_learned_by_heart(name: str) -> None:
    catalogue = plugins.load()
    dataset = catalogue.find("datasets", "phantom").spec
    opened = dataset.load()(None, build(dataset.options, {"cases": 4, "size": 32}, "dataset"))
    samples = [opened.read(case) for case in opened.cases]
    images = torch.stack([torch.from_numpy(sample.image) / 255 for sample in samples])
    masks = torch.stack([torch.from_numpy(sample.mask) for sample in samples])
    torch.manual_seed(0)
    model = make(name, opened.task, width=8, depth=2)
    loss = catalogue.find("losses", "dice-focal").spec
    criterion = loss.load()(opened.task, loss.options())
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        criterion(model(images), masks).backward()
        optimizer.step()
    with torch.inference_mode():
        found = model.eval()(images)[:, 0] > 0
    assert 2 * (found & (masks == 1)).sum() / (found.sum() + (masks == 1).sum()) > 0.95
