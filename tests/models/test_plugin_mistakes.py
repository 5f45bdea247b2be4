"""Whatever a plugin does wrong at run time is told with its name, and spoils nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Command, history

SMALL = (
    "train --dataset phantom -o dataset.cases=12 -o dataset.size=24 -o preprocess.size=24 --batch-size 4 --epochs 1 "
    "--model resunet -o model.width=2 -o model.depth=2"
).split()


PLUGIN = """
from segkit.api import Case, Dataset, DatasetSpec, Metric, MetricSpec, ModelSpec, Sample, Task, hookimpl

@hookimpl
def segkit_models():
    names = ("lost_stride", "tied", "crash", "leave", "chatty", "bad_shape", "pair", "raises", "empty", "no_stride")
    strides = {"no_stride": 0, "lost_stride": lambda options: options.depth}
    return [ModelSpec(n.replace("_", "-"), "a model", target=f"acme_module:{n}", stride=strides.get(n, 1)) for n in names]

@hookimpl
def segkit_metrics():
    half = MetricSpec("dice", "half", target="acme_module:half", default=True)
    failing = ("broken", "stutter", "words", "bare")
    return [half, *(MetricSpec(name, "fails", target=f"acme_module:{name}") for name in failing)]

@hookimpl
def segkit_datasets():
    specs = {"twice": "two cases of one id", "nothing": "no dataset"}
    return [DatasetSpec(name, words, target=f"acme_module:{name}", needs_root=False) for name, words in specs.items()]

def tied(task, options):
    import torch
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(task.channels, task.outputs, 1)
            self.second = torch.nn.Conv2d(task.channels, task.outputs, 1)
            self.second.weight = self.first.weight
        def forward(self, x):
            return self.first(x) + self.second(x)
    return Tied()

def crash(task, options):
    return 1 / 0

def leave(task, options):
    raise SystemExit(0)

def _with(task, change):
    model = tied(task, None)
    forward = model.forward
    model.forward = lambda x: change(forward(x))
    return model

def chatty(task, options):
    print("hello from the plugin")
    return _with(task, lambda y: print("forward!") or y)

def bad_shape(task, options):
    return _with(task, lambda y: y[..., :-1])

def pair(task, options):
    return _with(task, lambda y: (y, y))

def raises(task, options):
    return _with(task, lambda y: [][0])

def no_stride(task, options):
    return tied(task, options)

def empty(task, options):
    import torch
    return torch.nn.Identity()

def half(task, options):
    return Metric(lambda result: {"n": 1}, lambda counts: {"target": 0.5})

def broken(task, options):
    return Metric(lambda result: {"confusion": 1}, lambda counts: {"broken": 1 / 0})

def stutter(task, options):
    return Metric(lambda result: {"n": 1}, lambda counts: {"stutter/target": 1.0})

def words(task, options):
    return Metric(lambda result: {"n": {}}, lambda counts: {"": 1.0})

def bare(task, options):
    return lambda result: 1.0

lost_stride = tied

def twice(root, options, labelled=True):
    return Dataset(Task(3, ("background", "target")), (Case("a", "a"), Case("a", "b")), lambda case: None)

def nothing(root, options, labelled=True):
    return None
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--model crash", "acme/crash of acme 1.2.3 failed: ZeroDivisionError"),
        ("--model leave", "acme/leave of acme 1.2.3 failed: SystemExit"),
        ("--model bad-shape", "logits of size (16, 15) for images of size (16, 16)"),
        ("--model pair", "returned tuple"),
        ("--model raises", "The model acme/raises failed on images of shape (8, 3, 16, 16): IndexError"),
        ("--model no-stride", "The stride 0 of the model 'no-stride'"),
        ("--model lost-stride", "The stride of the model 'lost-stride' failed: AttributeError"),
        ("--model empty", "no parameters to train"),
        ("--model tied --metric broken", "The metric 'broken' failed: ZeroDivisionError"),
        ("--model tied --metric stutter", "gave a value called 'stutter/target'; it is called 'target' alone"),
        ("--model tied --metric bare", "The metric acme/bare is not a segkit.api.Metric but a function"),
        ("--model tied --metric acme/dice", "share a name"),
        ("--model tied --dataset twice", "returned 1 case ids twice: a"),
        ("--model tied --dataset nothing", "returned NoneType, not a segkit.api.Dataset"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_told_and_leaves_no_folder(
    segkit: Command,
    install,
    tmp_path: Path,
    words: str,
    told: str,  # type: ignore[no-untyped-def]
) -> None:
    install("acme", PLUGIN)
    data = "" if "--dataset" in words else "--dataset phantom -o dataset.cases=12 -o dataset.size=16 -o preprocess.size=16"
    done = segkit("train", *words.split(), *data.split(), "--epochs", "1", "--out", tmp_path / "run")
    assert done.code in (1, 2) and told in done.err and "Traceback" not in done.err and "segkit itself" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_plugin_that_is_installed_changes_no_result(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert segkit(*SMALL, "--out", tmp_path / "without").code == 0
    install("acme", PLUGIN)
    assert segkit(*SMALL, "--out", tmp_path / "with").code == 0
    columns = [key for key in history(tmp_path / "with")[0] if "seconds" not in key]
    assert {key: history(tmp_path / "with")[0][key] for key in columns} == {
        key: history(tmp_path / "without")[0][key] for key in columns
    }


def test_a_plugin_that_prints_does_not_spoil_json(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", PLUGIN)
    words = "train --dataset phantom --model chatty -o dataset.cases=8 -o dataset.size=16 --epochs 1 --json".split()
    assert json.loads(segkit(*words, "--out", tmp_path / "run").out)["epochs"] == 1
    assert json.loads(segkit("evaluate", tmp_path / "run", "--json").out)["cases"] == 1


def test_a_model_that_shares_weights_is_saved_and_loaded(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", PLUGIN)
    words = "train --dataset phantom --model tied -o dataset.cases=8 -o dataset.size=16 --epochs 1".split()
    assert segkit(*words, "--out", tmp_path / "run").code == 0
    assert segkit("evaluate", tmp_path / "run").code == 0


GROWING = """
from segkit.api import ModelSpec, hookimpl

@hookimpl
def segkit_models():
    return [ModelSpec("growing-net", "rounds sizes up to multiples of 16", target="acme_module:build", stride=4)]

def build(task, options):
    import torch

    class Growing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(task.channels, task.outputs, 1)

        def forward(self, x):
            more = [-side % 16 for side in x.shape[2:]]
            return torch.nn.functional.pad(self.conv(x), (0, more[1], 0, more[0]))

    return Growing()
"""


@pytest.mark.parametrize("size", [35, 36])
def test_logits_of_another_size_are_refused_also_where_the_engine_pads(  # type: ignore[no-untyped-def]
    segkit: Command, install, tmp_path: Path, size: int
) -> None:
    install("acme", GROWING)
    words = f"train --dataset phantom --model growing-net -o dataset.cases=8 -o dataset.size=32 -o preprocess.size={size}"
    done = segkit(*words.split(), "--epochs", "1", "--out", tmp_path / "run")
    assert done.code == 1 and "(48, 48)" in done.err


def test_counts_that_cannot_be_added_up_are_told(segkit: Command, install, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("acme", PLUGIN)
    words = "train --dataset phantom --model tied -o dataset.cases=16 -o dataset.size=16 --epochs 1 --metric words"
    assert segkit(*words.split(), "--out", tmp_path / "run").code == 0  # means over cases need no sum
    told = segkit("evaluate", tmp_path / "run")
    assert told.code == 1 and "The counts 'n' of the metric 'words' cannot be added up" in told.err
