"""Batch norm over one value is refused before anything is prepared, by the share that a process gets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Command

NO_SIZE = "train --dataset phantom -o dataset.size=32 -o split.test=0 --device cpu --epochs 1".split()
DATA = "train --dataset phantom -o dataset.size=32 -o preprocess.size=32 -o split.test=0 --device cpu --epochs 1".split()
DEEP = "--model unet -o model.width=1 -o model.depth=5".split()  # 32 / 2^5 = 1


@pytest.mark.parametrize(
    "more",
    [
        ["-o", "dataset.cases=6", "--batch-size", 1],
        ["-o", "dataset.cases=2", "-o", "split.val=0.5", "--batch-size", 8],
        ["-o", "dataset.cases=6", "--batch-size", 1, "-o", "dataset.dims=3", "--model", "unet3d", "-o", "model.norm=batch"],
    ],
    ids=["batches of one", "one case", "3D"],
)
def test_one_sample_on_a_map_of_one_pixel_is_refused_at_once(more: list[object], segkit: Command, tmp_path: Path) -> None:
    done = segkit(*DATA, *DEEP, *more, "--out", tmp_path / "run")
    assert done.code == 2 and "needs batches of at least 2 samples" in done.err, done.err
    assert "run folder" not in done.err and not (tmp_path / "run").exists()


def test_one_sample_is_enough_where_maps_are_larger_and_odd_counts_leave_none_alone(segkit: Command, tmp_path: Path) -> None:
    small = [*DATA, "--model", "unet", "-o", "model.width=1", "-o", "model.depth=2", "-o", "dataset.cases=4"]
    assert segkit(*small, "--batch-size", 1, "--out", tmp_path / "1").code == 0
    done = segkit(*DATA, *DEEP, "-o", "dataset.cases=6", "-o", "split.val=0.2", "--batch-size", 2, "--out", tmp_path / "2")
    assert done.code == 0, done.err  # five cases in batches of two: the last one joins its predecessor


POOLED = """
import torch
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("pooled", "instance norm on a map of 1 x 1", target="pooled_module:build", stride=32)]

def build(task, options):
    small = torch.nn.Sequential(torch.nn.AvgPool2d(32), torch.nn.Conv2d(task.channels, 4, 1), torch.nn.InstanceNorm2d(4))
    return torch.nn.Sequential(small, torch.nn.Conv2d(4, task.outputs, 1), torch.nn.Upsample(scale_factor=32))
"""


def test_instance_norm_on_a_map_of_one_pixel_is_refused_whatever_the_batch(
    install: Callable[..., None], segkit: Command, tmp_path: Path
) -> None:
    install("pooled", POOLED)
    for batch in (4, "auto"):
        done = segkit(*DATA, "--model", "pooled", "-o", "dataset.cases=6", "--batch-size", batch, "--out", tmp_path / "run")
        assert done.code == 2 and "pools 32 x 32 to a single value, and instance norm needs two" in done.err, done.err
        assert "run folder" not in done.err and not (tmp_path / "run").exists()


def test_a_batch_that_is_planned_is_known_before(segkit: Command, tmp_path: Path) -> None:
    one_case = "--batch-size auto -o dataset.cases=2 -o split.val=0.5 -o preprocess.size=32".split()
    done = segkit(*NO_SIZE, *DEEP, *one_case, "--out", tmp_path / "run")
    assert done.code == 2 and "batch norm needs two. Here are 1 to train on" in done.err, done.err
    assert "At least 2 training cases" in done.err and not (tmp_path / "run").exists()


def test_what_could_not_be_known_before_is_told_in_words(segkit: Command, tmp_path: Path) -> None:
    own_size = ["--batch-size", 1, "-o", "dataset.cases=3", "-o", "preprocess.fit=native"]
    done = segkit(*NO_SIZE, *DEEP, *own_size, "--out", tmp_path / "1")
    assert done.code == 1 and "pools 32 x 32 to a single value, and batch norm needs two in training" in done.err, done.err
    assert "Expected more than 1 value" not in done.err
