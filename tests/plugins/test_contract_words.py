"""A contract that a plugin does not keep says what was found, not only that something was."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segkit import plugins
from segkit.config.resolve import Choice
from segkit.testing import DatasetContract, LossContract, MetricContract, ModelContract

PLUGIN = """
import numpy as np
from segkit.api import Case, Dataset, DatasetSpec, LossSpec, Metric, MetricSpec, ModelSpec, Sample, Task, hookimpl
HEAD

@hookimpl
def segkit_models():
    return [ModelSpec(name, "a model", target=f"acme_module:{name}") for name in ("halving", "pair", "least")]

@hookimpl
def segkit_losses(): return [LossSpec("two", "a loss", target="acme_module:two", modes=("binary",))]

@hookimpl
def segkit_metrics(): return [MetricSpec("row", "a metric", target="acme_module:row", modes=("binary",))]

@hookimpl
def segkit_datasets(): return [DatasetSpec("eager", "data", target="acme_module:eager", needs_root=False)]

def _net(task, forward):
    import torch
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(task.channels, task.outputs, 1)
        def forward(self, x):
            return forward(self.conv, torch.nn.functional, x)
    return Net()

def _halve(conv, functional, x):
    small = functional.max_pool2d(conv(x), 8)
    return conv(x) + functional.interpolate(small, scale_factor=8.0)

def halving(task, options): return _net(task, _halve)
def pair(task, options): return _net(task, lambda conv, functional, x: (conv(x), conv(x)))

def _mirrored(conv, functional, x):
    return conv(functional.pad(x, (3, 3, 3, 3), "reflect"))[..., 3:-3, 3:-3]

def least(task, options): return _net(task, _mirrored)

def two(task, options):
    import torch
    class Two(torch.nn.Module):
        def forward(self, logits, target):
            return logits.mean(), target.float().mean()
    return Two()

def row(task, options): return Metric(lambda result: (1, 2), lambda counts: {"": 1.0})

def eager(root, options, labelled=True):
    cases = tuple(Case(str(number), str(number)) for number in range(4 if labelled else 3))
    read = lambda case: Sample(np.zeros((1, 8, 8), np.uint8), np.ones((8, 8), np.uint8))
    return Dataset(Task(1, ("background", "target")), cases, read)
"""


def made(group: str, name: str) -> Choice:
    found = plugins.load().find(group, name)
    return Choice(found, found.spec.options())


@pytest.fixture(autouse=True)
def acme(install: Callable[..., Path]) -> None:
    install("acme", PLUGIN.replace("HEAD", ""))


@pytest.mark.parametrize(("model", "proposed"), [("halving", "stride=8"), ("least", "minimum=4")])
def test_a_stride_or_minimum_that_is_missing_is_proposed(model: str, proposed: str) -> None:
    with pytest.raises(AssertionError, match=f"{proposed} in its spec would help"):
        ModelContract().test_any_size_goes_in_and_comes_out(made("models", model))


def test_a_tuple_is_called_one() -> None:
    with pytest.raises(AssertionError, match=r"the model gave a tuple of 2 \(Tensor, Tensor\); one tensor of logits"):
        ModelContract().test_any_size_goes_in_and_comes_out(made("models", "pair"))
    with pytest.raises(AssertionError, match=r"the loss gave a tuple of 2 \(Tensor, Tensor\); a tensor without axes"):
        LossContract().test_it_is_a_finite_number_with_finite_gradients_whatever_is_predicted(made("losses", "two"), 1)
    with pytest.raises(AssertionError, match=r"measure gave a tuple of 2 \(int, int\); counts by name"):
        MetricContract().test_counts_add_up(made("metrics", "row"))


def test_what_labelled_false_asks_for_is_said() -> None:
    contract, choice = DatasetContract(), made("datasets", "eager")
    with pytest.raises(AssertionError, match=r"lists every image, also those with a mask; missing: \['3'\]"):
        contract.test_unlabelled_it_lists_and_reads_images_alone(choice, Path(), contract.open(choice, Path()))


def test_the_heavy_module_is_named(install: Callable[..., Path]) -> None:
    install("heavy", "import numpy\n" + PLUGIN.replace("HEAD", ""))

    class Heavy(ModelContract):
        name = "heavy/pair"

    with pytest.raises(AssertionError, match="listing the plugin 'heavy' imports numpy: import it inside the function"):
        Heavy().test_its_plugin_imports_nothing_heavy(made("models", "heavy/pair"))


def test_assertions_show_their_values_in_an_authors_own_tests(tmp_path: Path) -> None:
    """As pytest shows them for a test of one's own: a value on each side of the comparison."""
    (tmp_path / "test_it.py").write_text(
        "from segkit.testing import MetricContract\n"
        "class Deaf(MetricContract):\n"
        "    def wrong(self, task, truth, share, seed=1):\n"
        "        return truth if share == 0.5 else 1 - truth\n"
        "class TestDice(Deaf):\n"
        "    name = 'precision'\n"
        "    undefined = ()\n"
    )
    words: list[Any] = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "undefined", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert "where" in done.stdout and "isnan" in done.stdout and "nan" in done.stdout, done.stdout
