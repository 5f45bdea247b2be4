"""FLOPs and memory are counted as by hand; checkpointing takes less; `segkit benchmark` measures side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import Command, history
from segkit.errors import SegkitError
from segkit.models.activation_checkpointing import blocks_of, checkpoint_blocks
from segkit.models.cost import LiveTensors

MIB = 2**20


def test_flops_are_two_for_each_multiplication_and_addition_by_hand(segkit: Command) -> None:
    told = json.loads(segkit("models", "unet", "--size", 8, "-o", "model.width=2", "-o", "model.depth=1", "--json").out)
    first, last = 3 * 2 + 2 * 2, (4 + 2) * 2 + 2 * 2  # products of widths at full size: 3 -> 2 -> 2, and 6 -> 2 -> 2
    below = 2 * 4 + 4 * 4  # 2 -> 4 -> 4 at half size
    assert told["flops"] == 2 * (9 * (first + last) * 64 + 9 * below * 16 + 2 * 64)  # and the 1x1 head


def test_the_size_is_rounded_up_to_the_stride_as_the_engine_pads(segkit: Command) -> None:
    costs = [
        json.loads(segkit("models", "unet", "--size", size, "-o", "model.width=2", "--json").out) for size in ("33", "48,48")
    ]
    assert costs[0]["flops"] == costs[1]["flops"]
    wrong = segkit("models", "unet", "--size", "32,32,32")
    assert wrong.code == 2 and "2 axes" in wrong.err
    assert segkit("models", "unet", "--size", "0").code == 2


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_live_tensors_are_followed_from_their_making_to_their_end(device: str) -> None:
    x = torch.zeros(MIB // 4, device=device)  # 1 MiB, made before
    with LiveTensors() as live:
        y = x + 1
        z = y.view(2, -1) * 2  # a view is no new memory
        assert (live.now, live.peak) == (2 * MIB, 2 * MIB)
        del y
        assert (live.now, live.peak) == (MIB, 2 * MIB)
        z.mul_(3)
        assert (live.now, live.peak) == (MIB, 2 * MIB)
        z = z + z
        assert (live.now, live.peak) == (MIB, 2 * MIB)


def test_checkpointing_keeps_the_inputs_of_blocks_only(segkit: Command) -> None:
    told = json.loads(segkit("models", "unet3d", "--channels", 3, "--classes", 4, "--size", 128, "--json").out)
    assert told["training_bytes_checkpointed"] < 0.75 * told["training_bytes"] < 0.75 * 4e9
    assert told["activation_bytes"] < told["training_bytes_checkpointed"]


def test_a_checkpointed_training_is_the_ordinary_one(segkit: Command, tmp_path: Path) -> None:
    words = "train --dataset phantom --model attention-resunet -o dataset.cases=8 -o dataset.size=32 -o preprocess.size=32"
    words += " -o model.width=4 -o model.depth=2 --epochs 2 --batch-size 4"
    assert segkit(*words.split(), "--out", tmp_path / "plain").code == 0
    assert segkit(*words.split(), "-o", "train.checkpointing=true", "--out", tmp_path / "less").code == 0
    plain, less = history(tmp_path / "plain"), history(tmp_path / "less")
    assert [float(row["val_loss"]) for row in less] == pytest.approx([float(row["val_loss"]) for row in plain], rel=1e-5)


def test_batch_norm_moves_once_a_step_whatever_its_momentum() -> None:
    def net() -> nn.Module:
        torch.manual_seed(0)
        blocks = [nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, momentum=momentum)) for momentum in (0.1, None)]
        return nn.Sequential(*blocks)

    plain, less, x = net(), net(), torch.randn(4, 2, 8, 8)
    checkpoint_blocks(less)
    for _ in range(3):
        for model in (plain, less):
            model(x).square().sum().backward()
    for one, other in zip(plain.state_dict().values(), less.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(plain.parameters(), less.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_model_without_blocks_is_told() -> None:
    for model in (nn.Conv2d(1, 1, 1), nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU())):
        with pytest.raises(SegkitError, match="no blocks"):
            checkpoint_blocks(model)


def test_blocks_are_the_outermost_in_a_list_or_else_the_parts_that_have_parts() -> None:
    inner, outer = nn.Sequential(nn.Conv2d(1, 1, 1)), nn.Module()
    outer.blocks = nn.ModuleList([nn.Sequential(inner, inner), nn.Conv2d(1, 1, 1)])
    outer.head = nn.Sequential(nn.Conv2d(1, 1, 1))
    assert blocks_of(outer) == [outer.blocks[0]]
    del outer.blocks
    assert blocks_of(outer) == [outer.head]


REFUSING = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("plain-net", "one convolution", target="acme_module:build", supports=())]

def build(task, options):
    import torch
    return torch.nn.Conv2d(task.channels, task.outputs, 1)
"""


@pytest.mark.parametrize("asked", ["train.checkpointing=true", "train.compile=true", "train.precision=bf16"])
def test_what_a_spec_does_not_claim_is_refused_in_words(segkit: Command, install, tmp_path: Path, asked: str) -> None:  # type: ignore[no-untyped-def]
    install("acme", REFUSING)
    words = (
        "train --dataset phantom --model plain-net -o dataset.cases=8 -o dataset.size=32 -o preprocess.size=32 --epochs 1"
    )
    done = segkit(*words.split(), "-o", asked, "--out", tmp_path / "run")
    assert done.code == 2 and "'plain-net' does not support" in done.err and not (tmp_path / "run").exists()
    assert segkit(*words.split(), "--out", tmp_path / "run").code == 0
    assert "training_bytes_checkpointed" not in json.loads(segkit("models", "plain-net", "--size", 8, "--json").out)


def test_a_spec_that_claims_something_unknown_is_no_good_spec(segkit: Command, install) -> None:  # type: ignore[no-untyped-def]
    install("acme", REFUSING.replace("supports=()", 'supports=("flying",)'))
    assert "flying" in segkit("plugins", "--check").out


def test_a_compiled_training_is_the_ordinary_one(segkit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = nn.Module.compile
    asked = []

    def compile(self: nn.Module) -> None:  # without the need for a C++ compiler
        asked.append(self)
        compiled(self, backend="aot_eager")

    monkeypatch.setattr(nn.Module, "compile", compile)
    words = "train --dataset phantom --model unet -o dataset.cases=8 -o dataset.size=32 -o preprocess.size=32"
    words += " -o model.width=4 -o model.depth=2 --epochs 2 --batch-size 4"
    assert segkit(*words.split(), "--out", tmp_path / "plain").code == 0
    done = segkit(*words.split(), "-o", "train.compile=true", "--out", tmp_path / "fast")
    assert done.code == 0, done.err
    plain, fast = history(tmp_path / "plain"), history(tmp_path / "fast")
    assert [float(row["val_loss"]) for row in fast] == pytest.approx([float(row["val_loss"]) for row in plain], rel=1e-2)
    assert len(asked) == 1
    assert segkit("evaluate", tmp_path / "fast").code == 0  # the weights have the names they always have


def test_benchmark_compares_models_side_by_side(segkit: Command) -> None:
    words = "benchmark --model unet --model resunet --size 32 --batch 1,2 --rounds 3 -o model.width=4 -o model.depth=2"
    document = json.loads(segkit(*words.split(), "--json").out)
    entries = document["entries"]
    assert [(entry["model"], entry["batch"]) for entry in entries] == [
        ("unet", 1),
        ("unet", 2),
        ("resunet", 1),
        ("resunet", 2),
    ]
    for entry in entries:
        assert 0 < entry["low_ms"] <= entry["latency_ms"] <= entry["high_ms"]
        assert entry["images_per_second"] == pytest.approx(1000 * entry["batch"] / entry["latency_ms"])
        told = json.loads(
            segkit("models", entry["model"], "--size", 32, "-o", "model.width=4", "-o", "model.depth=2", "--json").out
        )
        assert (entry["parameters"], entry["flops"]) == (told["parameters"], told["flops"])
        assert entry["peak_bytes"] > 4 * told["parameters"] + told["activation_bytes"] - 1
    assert document["memory"] == "counted" and document["device"].startswith("cpu")
    shown = segkit(*words.split()).out
    assert "images/s" in shown and "GFLOPs/image" in shown and "counted for float32" in shown


def test_benchmark_takes_volumes_classifiers_and_wrong_words(segkit: Command) -> None:
    words = "benchmark --size 32 --rounds 1 --json --model".split()
    volume = json.loads(segkit(*words, "unet3d", "-o", "model.width=2").out)
    assert volume["entries"][0]["size"] == [32, 32, 32]
    classifier = segkit(*words, "resnet-classifier", "-o", "model.encoder=test_resnet", "--precision", "bf16")
    assert json.loads(classifier.out)["precision"] == "bf16"
    for wrong in (["unte"], ["unet", "--batch", "one"], ["unet", "--precision", "fp16"], ["unet", "-o", "model.widht=2"]):
        assert segkit(*words, *wrong).code == 2


MEASURE = """
import torch
from segkit import plugins
from segkit.models import cost
choice = cost.choose(plugins.load().find("models", "unet3d"), ["model.width=8", "model.depth=2"])
task = cost.task_for(choice, 1, 1)
from segkit.models.build import build_model
model, peaks = build_model(choice, task, 3).train(), []
for side in (48, 80):
    model(torch.zeros(1, 1, side, side, side)).sum().backward()
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # ru_maxrss knows parents too
    peaks.append(int(peak.split()[1]) * 1024)
small, large = (cost.count_activations(choice, task, (side,) * 3, training=True) for side in (48, 80))
print((peaks[1] - peaks[0]) / (large - small))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc, which Linux has")
def test_the_counted_memory_is_what_a_process_takes() -> None:
    """From one size to another, so that what does not grow with the images does not count."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert 0.6 < float(done.stdout.split()[-1]) < 2.0  # the kernels' own working memory is not counted


@pytest.mark.parametrize(("model", "size"), [("deeplabv3plus", 64), ("unet", 16)])
def test_where_batch_norm_needs_two_images_training_is_counted_with_two(segkit: Command, model: str, size: int) -> None:
    told = json.loads(segkit("models", model, "--size", size, "--json").out)
    assert told["training_batch"] == 2 and told["training_bytes"] > told["activation_bytes"] and told["flops"] > 0
    assert json.loads(segkit("models", "unet", "--size", 32, "--json").out)["training_batch"] == 1


def test_compiling_and_checkpointing_exclude_each_other(segkit: Command, tmp_path: Path) -> None:
    words = "train --dataset phantom --model unet --epochs 1 -o train.compile=true -o train.checkpointing=true"
    done = segkit(*words.split(), "--out", tmp_path / "run")
    assert done.code == 2 and "exclude each other" in done.err


def test_what_is_too_large_is_told(segkit: Command) -> None:
    assert segkit("models", "unet", "--size", "99999999999").code == 2
    done = segkit("benchmark", "--model", "unet3d", "-o", "model.width=1", "--size", "100000", "--rounds", "1")
    assert done.code == 1 and "memory is too small" in done.err
