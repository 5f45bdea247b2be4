"""resenc-unet has the parts and the parameters of its description, halves each axis as it is told, and exports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import Command
from segkit import plugins
from segkit.config.resolve import Choice
from segkit.exporting import export
from segkit.models.build import build_model
from segkit.options import build
from segkit.task import Task

HEART = Task(1, ("background", "RV", "myocardium", "LV"), dims=2, mode="multiclass")
VOLUMES = Task(1, ("background", "RV", "myocardium", "LV"), dims=3, mode="multiclass")


def make(task: Task, **options: Any) -> nn.Module:
    found = plugins.load().find("models", "resenc-unet")
    return build_model(Choice(found, build(found.spec.options, options, "model")), task, task.dims)


@pytest.mark.parametrize(("task", "kernel", "stride"), [(HEART, 3**2, 2**2), (VOLUMES, 3**3, 2**3)])
def test_its_parameters_are_those_of_a_count_by_hand(task: Task, kernel: int, stride: int) -> None:
    """Widths 4, 8 and 16, one residual block at the top and two at each level below, one channel and four classes."""

    def convolution(inputs: int, outputs: int, size: int = kernel) -> int:
        return inputs * outputs * size + outputs + 2 * outputs  # kernel, bias, and instance norm's weight and bias

    def block(inputs: int, outputs: int) -> int:
        projected = convolution(inputs, outputs, 1) if inputs != outputs else 0  # ResNet-D: after a mean without parameters
        return convolution(inputs, outputs) + convolution(outputs, outputs) + projected

    stem = convolution(1, 4)
    encoder = block(4, 4) + block(4, 8) + block(8, 8) + block(8, 16) + block(16, 16)
    transposed = 16 * 8 * stride + 8 + 8 * 4 * stride + 4
    decoder = convolution(8 + 8, 8) + convolution(4 + 4, 4)
    heads = (8 * 4 + 4) + (4 * 4 + 4)  # both resolutions that the decoder gives see the loss
    model = make(task, width=4, depth=2, blocks=(1, 2))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == stem + encoder + transposed + decoder + heads


def test_the_smallest_in_figures() -> None:
    """Widths 1 and 2 in 2D: stem 9 + 3, blocks 24, 24 + 42 + 8; up 8 + 1; decoder 18 + 3; head 2."""
    model = make(Task(1, ("background", "polyp")), width=1, depth=1, blocks=(1,))
    assert sum(parameter.numel() for parameter in model.parameters()) == 12 + 24 + 24 + 42 + 8 + 9 + 21 + 2


def test_no_level_is_wider_than_max_width() -> None:
    model = make(HEART, width=4, max_width=10, depth=3, blocks=(1,))
    widths = [level[0].convolutions[0].out_channels for level in model.encoder]  # type: ignore[union-attr, index]
    assert widths == [4, 8, 10, 10]


@pytest.mark.parametrize(("task", "depth", "resolutions"), [(HEART, 4, [32, 16, 8]), (VOLUMES, 2, [16, 8])])
def test_coarser_logits_come_in_training_alone(task: Task, depth: int, resolutions: list[int]) -> None:
    model = make(task, width=2, depth=depth, blocks=(1,))
    images = torch.randn(1, 1, *(resolutions[0],) * task.dims)
    assert isinstance(model.train()(images), Tensor), "as built"
    model.deep_supervision = True  # type: ignore[assignment]
    assert [tuple(logits.shape) for logits in model(images)] == [(1, 4, *(side,) * task.dims) for side in resolutions]
    alone = model.eval()(images)
    assert isinstance(alone, Tensor) and alone.shape == (1, 4, *images.shape[2:])


def sizes_of_levels(model: nn.Module, images: Tensor) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for level in model.encoder:  # type: ignore[union-attr]
        level.register_forward_hook(lambda _module, _inputs, output: found.append(tuple(output.shape[2:])))
    assert model.eval()(images).shape[2:] == images.shape[2:]
    return found


def test_an_axis_keeps_its_size_at_flat_levels_and_is_not_convolved_there() -> None:
    model = make(VOLUMES, width=2, depth=(3, 3, 1), flat=(0, 0, 2), blocks=(1,))
    levels = sizes_of_levels(model, torch.randn(1, 1, 32, 24, 4))
    assert levels == [(32, 24, 4), (16, 12, 4), (8, 6, 4), (4, 3, 2)]
    kernels = [level[0].convolutions[0].kernel_size for level in model.encoder]  # type: ignore[union-attr, index]
    assert kernels == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]


@pytest.mark.parametrize("task", [HEART, VOLUMES])
def test_a_single_level_has_no_decoder_and_gives_logits(task: Task) -> None:
    model = make(task, width=2, depth=0)
    model.deep_supervision = True  # type: ignore[assignment]
    images = torch.randn(1, 1, *(7,) * task.dims)
    (logits,) = model(images)
    assert logits.shape == (1, 4, *images.shape[2:]) == model.eval()(images).shape
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.slow
def test_an_onnx_file_with_flat_levels_gives_its_logits(tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    model = make(VOLUMES, width=2, depth=(2, 2, 1), flat=(0, 0, 1), blocks=(1,)).eval()
    images = torch.randn(1, 1, 16, 8, 4)
    export.save(export.convert(export.fixed_copy(model), images, "onnx", (4, 4, 2)), tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    larger = torch.randn(2, 1, 8, 20, 6)
    (found,) = session.run(None, {session.get_inputs()[0].name: larger.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(found), model(larger), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("depth=2,2,2",), "model.depth=2,2,2 has 3 numbers; the model 'resenc-unet' sees 2 axes here."),
        (("flat=0,0,1",), "model.flat=0,0,1 has 3 numbers; the model 'resenc-unet' sees 2 axes here."),
        (("depth=2,2,2", "flat=0,0"), "depth has 3 numbers and flat 2"),
        (("depth=",), "depth has no number"),
        (("blocks=",), "blocks has no number"),
    ],
)
def test_a_number_for_each_axis_that_is_not_there_is_refused_before_torch_is_imported(
    segkit: Command, tmp_path: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    options = [word for option in words for word in ("-o", f"model.{option}")]
    done = segkit("train", "--dataset", "phantom", *options, "--out", tmp_path / "run")
    assert done.code == 2 and said in done.err
    assert not (tmp_path / "run").exists()
